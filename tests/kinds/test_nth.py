"""The n-th prime, near and far, above and below."""

import asyncio
import random
from pathlib import Path

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import PrimeService, Settings, create_app
from primesvc.errors import InvalidParameter, JobFailed, RangeNotAllowed
from primesvc.kinds.nth import Nth
from primesvc.sieve.engine import load_engine
from primesvc.sieve.primecount import PRIMES_BELOW_2_64
from tests.helpers import WAIT_S, assert_problem
from tests.oracles import PI_OF_POWERS, primes_between

TOP = 2**64 - 1
LAST = 18446744073709551557

PUBLISHED = [
    (1, 2), (10, 29), (100, 541), (10**4, 104_729), (10**6, 15_485_863), (10**7, 179_424_673),
    (10**9, 22_801_763_489), (10**12, 29_996_224_275_833),
]  # fmt: skip
"""OEIS A006988."""


@pytest.mark.parametrize(("n", "prime"), PUBLISHED)
async def test_published_primes(n: int, prime: int) -> None:
    """The primes of round indices are as published, and have their index."""
    async with PrimeService(Settings(workers=2)) as service, asyncio.timeout(WAIT_S):
        job = await (await service.submit(Nth(n))).wait()
    assert job.work.findings == {"progress_is": "estimated", "result": {"prime": prime, "index": n}}
    assert job.progress == 1


@pytest.mark.parametrize(("n", "prime"), PUBLISHED[:6])
async def test_by_sieving_alone(n: int, prime: int) -> None:
    """The NumPy engine finds the same."""
    async with PrimeService(Settings(workers=2, engine="numpy")) as service:
        async with asyncio.timeout(WAIT_S):
            assert await service.nth(n) == prime


@pytest.mark.parametrize("name", ["primesieve", "numpy"])
async def test_neighbours(name: str) -> None:
    """From anywhere upwards and downwards, with a start that is a prime itself or none."""
    random_ = random.Random(7)  # noqa: S311 - any numbers will do
    async with PrimeService(Settings(workers=1, engine=name)) as service:
        for _ in range(30):
            middle = random_.randrange(10**4, 10 ** random_.randrange(5, 19))
            primes = primes_between(middle - 4000, middle + 4000)
            start = random_.choice([middle, random_.choice(primes)])
            above = [prime for prime in primes if prime > start]
            below = [prime for prime in primes if prime < start]
            n = random_.randrange(1, min(len(above), len(below)) + 1)
            async with asyncio.timeout(WAIT_S):
                assert await service.nth(n, start) == above[n - 1]
                assert await service.nth(-n, start) == below[-n]


@pytest.mark.parametrize("n", [10**8, -(10**8), 3 * 10**7, -(3 * 10**7), 12_345, -12_345])
@pytest.mark.parametrize("start", [10**11, 10**11 + 3, 99_999_999_977])
async def test_between_the_two_are_so_many(n: int, start: int) -> None:
    """Whatever way it is found: counted by the sieve there are n primes up to it, and it is one."""
    engine = load_engine("primesieve")
    async with PrimeService(Settings(workers=2)) as service, asyncio.timeout(WAIT_S):
        prime = await service.nth(n, start)
    assert engine.count(prime, prime) == 1
    low, high = sorted((prime, start + (1 if n > 0 else -1)))
    assert engine.count(low, high) == abs(n)


@pytest.mark.parametrize(
    ("n", "start", "prime"),
    [(1, 1, 2), (1, 2, 3), (2, 2, 5), (-1, 3, 2), (-2, 4, 2), (-1, TOP, LAST), (1, LAST - 1, LAST)],
)
async def test_at_the_ends_of_the_line(n: int, start: int, prime: int) -> None:
    """The first primes and the last one below 2^64 are found."""
    async with PrimeService(Settings(workers=1)) as service, asyncio.timeout(WAIT_S):
        assert await service.nth(n, start) == prime


@pytest.mark.parametrize(
    ("n", "start"),
    [
        (PRIMES_BELOW_2_64 + 1, 0), (-1, 0), (-1, 1), (1, TOP), (-PI_OF_POWERS[9], 10**8),
        (PRIMES_BELOW_2_64, 10**18), (10**39, 0), (-(10**39), TOP), (-4, 4), (600, TOP - 1000),
    ],
)  # fmt: skip
async def test_primes_that_do_not_exist(n: int, start: int) -> None:
    """Beyond what there is it is refused at once, with the limit."""
    async with PrimeService(Settings(workers=1)) as service:
        with pytest.raises(RangeNotAllowed, match="does not exist") as caught:
            await service.submit(Nth(n, start))
        assert 0 <= caught.value.limit < abs(n)


async def test_one_that_turns_out_not_to_exist() -> None:
    """Where an estimate cannot tell, the job does, and says how many there are."""
    async with PrimeService(Settings(workers=1)) as service, asyncio.timeout(WAIT_S):
        with pytest.raises(JobFailed, match="does not exist"):
            await service.nth(1, LAST)
        with pytest.raises(JobFailed, match="4 below 10"):
            await service.nth(-5, 10)


async def test_what_cannot_be_asked() -> None:
    """There is no 0th prime, and no start beyond the line."""
    with pytest.raises(InvalidParameter, match="0th"):
        Nth(0)
    with pytest.raises(RangeNotAllowed):
        Nth(1, TOP + 1)


async def test_what_is_sieved_is_bounded() -> None:
    """`max_span` holds where there is nothing but a sieve."""
    settings = Settings(workers=1, engine="numpy", max_span=10**6)
    async with PrimeService(settings) as service:
        with pytest.raises(RangeNotAllowed, match="max_span"):
            await service.nth(10**6)


async def test_over_http(aiohttp_client: AiohttpClient) -> None:
    """Asked, estimated and refused as any question; numbers in any form."""
    client = await aiohttp_client(create_app(Settings(workers=1)))
    wait = {"Prefer": "wait=30"}
    async with client.post("/jobs?kind=nth&n=1e6&numbers=string", headers=wait) as response:
        document = await response.json()
    assert (response.status, document["n"], document["start"]) == (200, "1000000", "0")
    assert document["result"] == {"prime": "15485863", "index": "1000000"}
    assert set(document["links"]) == {"self", "events"}
    body = {"kind": "nth", "n": -1, "start": 100}
    async with client.post("/jobs", json=body, headers=wait) as response:
        assert (await response.json())["result"] == {"prime": 97}
    async with client.post("/jobs", json=body | {"dry_run": True}) as response:
        assert set((await response.json())["estimate"]) == {"seconds"}
    for wrong, status, says in (
        ({"n": 0}, 400, "0th"), ({}, 400, "n: it is missing"), ({"n": 1.5}, 400, "not whole"),
        ({"n": True}, 400, "a boolean"), ({"n": 1, "start": -1}, 400, "negative"),
        ({"n": "1e18"}, 422, str(PRIMES_BELOW_2_64)), ({"n": 1, "start": "2^64"}, 422, "2^64 - 1"),
    ):  # fmt: skip
        async with client.post("/jobs", json={"kind": "nth"} | wrong) as response:
            kind = "invalid-parameter" if status == 400 else "range-not-allowed"
            await assert_problem(response, status, f"urn:primesvc:problem:{kind}", says=says)


async def test_the_journal_keeps_it(tmp_path: Path) -> None:
    """After a restart the prime is known."""
    settings = Settings(workers=1, journal=str(tmp_path / "journal"))
    async with PrimeService(settings) as service, asyncio.timeout(WAIT_S):
        job = await (await service.submit(Nth(1000, 5))).wait()
    async with PrimeService(settings) as service:
        assert service.job(job.id).work.findings == job.work.findings
    for record, complete in ((b"", True), (b"7", False), (b"x", True), (b"5", True)):
        with pytest.raises(ValueError, match=r"."):
            Nth(1000, 5).recall(record, complete=complete)
