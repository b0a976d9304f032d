"""Statistics as jobs: exact by either engine, shown as they grow, bounded, kept in the journal."""

import asyncio
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from primesvc import PrimeService, Range, Settings, State, service_of
from primesvc.errors import InvalidParameter, RangeNotAllowed
from primesvc.kinds.statistics import BINS, MAX_COUNTS, MODULUS, Statistics
from primesvc.sieve.engine import load_engine
from tests.helpers import WAIT_S, eventually, naive_primes
from tests.oracles import PI_OF_POWERS, primes_between, statistics_of
from tests.web.api import Api

TOP = 2**64 - 1

RANGES = [
    (0, 0), (0, 1), (2, 2), (0, 2), (2, 3), (0, 3), (3, 7), (5, 11), (0, 13), (24, 28), (90, 96),
    (0, 3000), (2**22 - 1000, 2**22 + 1000), (2**32 - 1500, 2**32 + 1500), (10**15, 10**15 + 2000),
    (TOP - 2000, TOP), (TOP, TOP), (TOP - 58, TOP - 58),
]  # fmt: skip
"""With none, one and two primes, across cuts between segments, and at the ends of the line."""

Client = TestClient[web.Request, web.Application]


@pytest.mark.parametrize("engine", ["primesieve", "numpy"])
async def test_as_counted_one_by_one(engine: str) -> None:
    """Wherever the range lies, in few bins and more bins than numbers, by any modulus."""
    async with PrimeService(Settings(workers=1, engine=engine)) as service:
        for at, (start, end) in enumerate(RANGES):
            modulus, bins = [1, 2, 3, 4, 10, 30, 60][at % 7], [1, 7, 50, 400][at % 4]
            async with asyncio.timeout(WAIT_S):
                found = await service.statistics(Range(start, end), modulus=modulus, bins=bins)
            assert found == statistics_of(start, end, modulus, bins)


async def test_chunks_and_segments_make_one_whole() -> None:
    """Of a range that takes several calls everything follows from its primes."""
    start, end = 10**9 + 12_345, 10**9 + 16 * 10**7
    async with PrimeService(Settings(workers=2, engine="numpy")) as service:
        async with asyncio.timeout(WAIT_S):
            found = await service.statistics(Range(start, end), modulus=4, bins=10)
        assert service.runtime.dispatcher.calls > 2
    primes = load_engine("primesieve").primes(start, end)
    gaps = np.diff(primes).astype(np.int64)
    counts = np.bincount(gaps)
    assert found["count"] == len(primes)
    assert (found["first"], found["last"]) == (primes[0], primes[-1])
    assert found["gaps"] == [[gap, counts[gap]] for gap in np.flatnonzero(counts)]
    after = int(primes[np.argmax(gaps)])
    assert found["largest_gap"] == {"gap": len(counts) - 1, "after": after}
    residues = (primes % np.uint64(4)).astype(np.int64) // 2
    pairs = np.bincount(2 * residues[:-1] + residues[1:]).reshape(2, 2)
    assert (found["residues"]["classes"], found["pairs"]) == ([1, 3], pairs.tolist())
    edges = np.array(found["bins"]["edges"], np.uint64)
    assert found["bins"]["counts"] == np.histogram(primes, edges)[0].tolist()
    assert sum(map(sum, found["residues"]["by_bin"])) == len(primes)
    # A constellation across a cut that counted twice, or not at all, would show.
    sexy = np.count_nonzero(gaps[1:] + gaps[:-1] == 6) + counts[6]
    totals = [pattern["count"] for pattern in found["patterns"].values()]
    assert totals == [counts[2], counts[4], sexy]


@pytest.mark.slow
async def test_published_statistics(service: PrimeService) -> None:
    """Below 10^9: twins (A007508), the largest gap (A002386), the race modulo 4 (A091098)."""
    async with asyncio.timeout(120):
        found = await service.statistics(Range(0, 10**9), modulus=4, bins=100)
    assert found["count"] == PI_OF_POWERS[9]
    assert found["patterns"]["twins"]["count"] == 3_424_506
    assert found["largest_gap"] == {"gap": 282, "after": 436_273_009}
    assert found["residues"]["classes"] == [1, 2, 3]
    assert found["residues"]["counts"] == [25_423_491, 1, 25_424_042]


async def test_while_it_runs_it_tells_how_far_it_is(service: PrimeService) -> None:
    """What is shown are the statistics of the numbers that are done; cancelled it stops."""
    job = await service.submit(Statistics(Range(10**9, 10**12), bins=3))
    await eventually(lambda: job.progress > 0)
    findings, done = job.work.findings, job.work.done_numbers
    assert job.progress == done / (10**12 - 10**9 + 1)
    count = load_engine("primesieve").count(10**9, 10**9 + done - 1)
    assert findings["count"] == findings["result"]["count"] == count == job.count
    assert findings["result"]["bins"]["counts"] == [count, 0, 0]
    assert sum(many for _, many in findings["result"]["gaps"]) == count - 1
    calls = service.runtime.dispatcher.calls
    service.cancel(job)
    assert job.state is State.CANCELLED
    await eventually(lambda: not service.runtime.dispatcher._running)
    assert service.runtime.dispatcher.calls == calls
    assert not (await service.submit(Statistics(Range(10**9, 10**12), bins=3))).state.final


async def test_over_http(client: Client) -> None:
    """Asked, estimated, shown, watched and listed as `openapi.json` tells; numbers as strings."""
    api = Api(client)
    wish = {"kind": "statistics", "start": 0, "end": "1e4", "bins": 20}
    document = await api.finish(**wish)
    assert (document["modulus"], document["bins"], document["count"]) == (MODULUS, 20, 1229)
    expected = statistics_of(0, 10**4, 10, 20)
    assert document["result"] == expected
    assert set(document["links"]) == {"self", "events"}
    path = f"/jobs/{document['id']}"
    strings = (await api.get(f"{path}?numbers=string")).document

    def as_strings(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: as_strings(member) for name, member in value.items()}
        if isinstance(value, list):
            return [as_strings(member) for member in value]
        return value if value is None else str(value)

    assert strings["result"] == as_strings(expected)
    assert (strings["modulus"], strings["count"]) == ("10", "1229")
    (told,) = (await api.get("/jobs")).document["jobs"]
    assert told == {name: value for name, value in document.items() if name != "result"}
    dry = (await api.post("/jobs", json=wish | {"bins": None, "dry_run": True})).document
    assert (dry["modulus"], dry["bins"]) == (MODULUS, BINS)
    assert dry["estimate"]["count"] == pytest.approx(1229, rel=0.02)
    assert 0 < dry["estimate"]["seconds"] < 1
    events = (await api.get(f"{path}/events")).body.decode()
    assert json.loads(events.split("data: ")[1])["result"] == expected
    other = await api.finish(**wish | {"modulus": 4})
    assert other["id"] != document["id"]
    (await api.get(f"{path}/primes")).problem(400, "invalid-parameter", says="no primes to read")


async def test_a_large_result_arrives_whole(client: Client) -> None:
    """One that does not fit into what is sent at a time, as a document and as an event."""
    query = "kind=statistics&start=0&end=1e6&bins=2000&modulus=30"
    async with client.post(f"/jobs?{query}", headers={"Prefer": "wait=30"}) as response:
        body = await response.read()
    assert len(body) > 2**16
    document = json.loads(body)
    assert document["state"] == "succeeded"
    counts = document["result"]["residues"]
    assert counts["classes"] == [1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
    assert [sum(row) for row in counts["by_bin"]] == counts["counts"]
    async with client.get(document["links"]["self"]) as response:
        assert await response.read() == body
    async with client.get(document["links"]["events"]) as response:
        events = await response.text()
    assert json.loads(events.split("data: ")[1]) == document
    assert client.app is not None
    assert service_of(client.app).buffers.taken_bytes == 0


async def test_what_cannot_be_asked(client: Client) -> None:
    """It is refused, with the limit and what would work."""
    api = Api(client)
    for wrong, status, says in (
        ({"modulus": 0}, 400, "modulus: it must be from 1 to 10000, not 0"),
        ({"modulus": 10_001}, 400, "from 1 to 10000"),
        ({"modulus": -1}, 400, "negative"),
        ({"modulus": 1.5}, 400, "not whole"),
        ({"modulus": [10]}, 400, "an array"),
        ({"bins": 0}, 400, "bins: it must be from 1 to 2000, not 0"),
        ({"bins": "2001"}, 400, "from 1 to 2000"),
        ({"bins": True}, 400, "a boolean"),
        ({"modulus": 9973}, 400, "ask for up to 2 bins"),
        ({"modulus": 211, "bins": 119}, 400, "up to 118 bins, or for a smaller modulus"),
        ({"end": None}, 400, "end: it is missing"),
        ({"start": 8}, 400, "not be below start"),
        ({"end": "2^64"}, 422, "2^64 - 1"),
        ({"end": "1e13+1"}, 400, "not a whole number"),
        ({"end": "10**13+1"}, 422, "the limit is 10000000000000"),
    ):
        wish: dict[str, Any] = {"kind": "statistics", "start": 0, "end": 7}
        answer = await api.post("/jobs", json=wish | wrong)
        type_ = "invalid-parameter" if status == 400 else "range-not-allowed"
        answer.problem(status, type_, says=says)


async def test_any_modulus_has_bins_that_fit(service: PrimeService) -> None:
    """The largest has some too, and its residues are counted without pairs; one bin has all."""
    async with asyncio.timeout(WAIT_S):
        found = await service.statistics(Range(0, 10**5), modulus=10_000, bins=6)
    assert found["pairs"] is None
    primes = naive_primes(0, 10**5)
    assert sum(found["residues"]["counts"]) == found["count"] == len(primes)
    assert found["residues"]["classes"] == sorted({prime % 10_000 for prime in primes})
    for modulus in (1, 2, 10, 2310, 9973, 10_000):
        assert Statistics(Range(0, 1), modulus, 1).bins == 1
    with pytest.raises(InvalidParameter, match=str(MAX_COUNTS)):
        Statistics(Range(0, 1), 10_000, 7)


async def test_more_than_there_is_memory_for_is_refused() -> None:
    """What cannot be kept account of is not begun, and is no failure of the service."""
    async with PrimeService(Settings(workers=1, max_job_bytes=10**5)) as service:
        await service.submit(Statistics(Range(0, 10**4), bins=10))
        with pytest.raises(RangeNotAllowed, match="fewer bins"):
            await service.submit(Statistics(Range(0, 10**4), bins=2000))


# --- the journal ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [Statistics(Range(start, end), 30, 7) for start, end in RANGES]
    + [Statistics(Range(0, 10**5), 9973, 2)],
    ids=str,
)
def test_a_record_is_read_as_it_was_written(question: Statistics) -> None:
    """After a restart all is known again, whatever the range."""
    work = question.recall(b"", complete=False)
    assert (work.progress, work.record(complete=False)) == (0.0, b"")
    work.tally.add(np.array(primes_between(question.range.start, question.range.end), np.uint64))
    again = question.recall(work.record(complete=True), complete=True)
    assert again.progress == 1
    assert again.findings == work.findings
    for record, complete in ((b"", True), (b"x", False), (work.record(complete=True), False)):
        with pytest.raises(ValueError, match=r"early|missing"):
            question.recall(record, complete=complete)


QUESTION = Statistics(Range(0, 1000), 4, 3)
"""168 primes, from 2 to 997."""

BY_BIN, PATTERNS, GAPS, PAIRS = 4, 13, 22, -9
"""Where its counts begin in its record, behind the first and last prime and the largest gap: by
bin those of 1, 2 and 3 modulo 4, of twins, cousins and sexy primes those of each bin."""


def numbers_of(question: Statistics) -> Any:
    """The numbers in the record of a question's statistics."""
    work = question.recall(b"", complete=False)
    work.tally.add(np.array(naive_primes(question.range.start, question.range.end), np.uint64))
    return np.frombuffer(zlib.decompress(work.record(complete=True)), "<u8").copy()


@pytest.mark.parametrize(
    "changes",
    [
        {0: 1}, {1: -6}, {0: -2, 1: -997}, {2: 2}, {3: 1}, {BY_BIN: 1}, {PATTERNS: 1},
        {PATTERNS + 3: 1}, {GAPS + 2: 1}, {GAPS + 50: 1}, {PAIRS: 1}, {-1: -1},
        # Below 0, and so large that sums run over.
        {GAPS + 16: -100, GAPS + 18: 200, GAPS + 20: -100},
        {BY_BIN: 2**63 - 1000, BY_BIN + 3: 2**63 - 1000, BY_BIN + 6: 2000},
        # The last prime beyond the range; the largest gap behind it, or none.
        {1: 12, GAPS + 8: -2, GAPS + 14: 2}, {3: 997 - 887}, {2: -20, 3: -887},
        # An odd gap; neighbours of other residues; sexy primes that are missing, or too many.
        {GAPS + 1: -1, GAPS + 3: 1, GAPS + 10: -1, GAPS + 8: 1}, {PAIRS: 1, PAIRS + 6: -1},
        {PAIRS: 1, PAIRS + 2: -1}, {PATTERNS + 6: -37}, {PATTERNS + 6: 37, PATTERNS + 7: -22},
        # Gaps that do not reach from the first prime to the last, or are too few.
        {GAPS + 8: -1, GAPS + 10: 1}, {GAPS + 8: -3, GAPS + 12: 2},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_cannot_be_true_is_refused(changes: dict[int, int]) -> None:
    """Numbers that contradict each other, or what is known of all primes."""
    numbers = numbers_of(QUESTION)
    for at, change in changes.items():
        numbers[at] = (int(numbers[at]) + change) % 2**64
    with pytest.raises(ValueError, match="cannot be true"):
        QUESTION.recall(zlib.compress(numbers.tobytes()), complete=True)


def test_a_record_of_too_few_is_refused() -> None:
    """No wide range is without primes, and only one prime is a multiple of 211."""
    question = Statistics(Range(10**4, 2 * 10**4))
    numbers = numbers_of(question)
    with pytest.raises(ValueError, match="cannot be true"):
        question.recall(zlib.compress(bytes(numbers.nbytes)), complete=True)
    question = Statistics(Range(0, 1000), 211, 1)
    numbers = numbers_of(question)
    assert question.recall(zlib.compress(numbers.tobytes()), complete=True).progress == 1
    numbers[4:8] += np.array([1, 0, 0, -1]).astype("<u8")
    with pytest.raises(ValueError, match="cannot be true"):
        question.recall(zlib.compress(numbers.tobytes()), complete=True)


def test_a_record_that_is_damaged_is_refused() -> None:
    """Cut, longer, moved, or of far more numbers than there are."""
    record = zlib.compress(numbers_of(QUESTION).tobytes())
    for damaged in (record[:-1], record + b"x", b"\0" + record, zlib.compress(bytes(10**7))):
        with pytest.raises(ValueError, match="damaged"):
            QUESTION.recall(damaged, complete=True)


async def test_the_journal_keeps_it(tmp_path: Path) -> None:
    """After a restart what was finished is known, and what was not begins again."""
    settings = Settings(workers=1, journal=str(tmp_path / "journal"))
    long = Statistics(Range(0, 10**12))
    async with PrimeService(settings) as service, asyncio.timeout(WAIT_S):
        job = await (await service.submit(QUESTION)).wait()
        unfinished = await service.submit(long)
        await eventually(lambda: unfinished.progress > 0)
    async with PrimeService(settings) as service, asyncio.timeout(WAIT_S):
        again = service.job(job.id)
        assert again.work.findings == job.work.findings
        assert again.work.findings["result"] == statistics_of(0, 1000, 4, 3)
        unfinished = service.job(unfinished.id)
        await eventually(lambda: unfinished.progress > 0)
        service.forget(unfinished)
