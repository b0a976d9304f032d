"""Every kind of question, asked of PARI/GP too: an oracle that shares nothing with the engines."""

import asyncio
import json
import random
import shutil
import subprocess
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from primesvc import PrimeService, Range, Selection
from primesvc.kinds.primes import Primes
from primesvc.sieve.range import MAX_NUMBER
from tests.helpers import WAIT_S
from tests.oracles import statistics_from

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gp") is None, reason="needs PARI/GP (Debian: pari-gp)"),
]

random_ = random.Random(29)  # noqa: S311 - any places will do

HEIGHTS = [10**4, 10**8, 10**12, 10**15, 10**18, MAX_NUMBER - 10**4]

PLACES = [height + random_.randrange(10**4) for height in HEIGHTS]

RANGES = [Range(start, min(start + 3000, MAX_NUMBER)) for start in (0, *PLACES)]


async def pari(expressions: Iterable[str]) -> list[Any]:
    """What PARI finds for each expression, which makes a number or a list of them."""
    program = "\n".join(f"print({expression})" for expression in expressions)
    gp = await asyncio.to_thread(
        subprocess.run, ["gp", "-q", "--stacksize", "100M"],
        input=program, capture_output=True, text=True, timeout=WAIT_S, check=True,
    )  # fmt: skip
    assert gp.stderr == ""
    return [json.loads(line) for line in gp.stdout.splitlines()]


async def listed(service: PrimeService, question: Primes) -> list[int]:
    """The primes that a job gives to read."""
    job = await (await service.submit(question)).wait()
    arrays = [array async for array in service.primes(job)]
    found: list[int] = np.concatenate([np.empty(0, np.uint64), *arrays]).tolist()
    return found


async def test_primes_and_counts(service: PrimeService) -> None:
    """At all heights the same primes, and as many."""
    expected = await pari(f"primes([{range_.start}, {range_.end}])" for range_ in RANGES)
    for range_, primes in zip(RANGES, expected, strict=True):
        assert await listed(service, Primes(range_)) == primes
        assert await service.count(range_) == len(primes)


async def test_counts_and_the_nth_prime(service: PrimeService) -> None:
    """π, its inverse, neighbours, and counts between two places, without a sieve and with one."""
    places = sorted(random_.sample(range(2, 10**9), 5))
    found = await pari(f"[primepi({n}), precprime({n}), nextprime({n} + 1)]" for n in places)
    for place, (count, below, above) in zip(places, found, strict=True):
        assert await service.count(Range(0, place)) == count
        assert await service.nth(count) == await service.nth(-1, place + 1) == below
        assert await service.nth(1, place) == above
    for (start, end), (before, until) in zip(pairwise(places), pairwise(found), strict=True):
        assert await service.count(Range(start + 1, end)) == until[0] - before[0]


@pytest.mark.parametrize(
    ("selection", "condition"),
    [
        (Selection("twins"), "isprime(p + 2)"),
        (Selection("sexy"), "isprime(p + 6)"),
        (Selection("triplets"), "isprime(p + 6) && (isprime(p + 2) || isprime(p + 4))"),
        (Selection("0,6,12,18"), "isprime(p + 6) && isprime(p + 12) && isprime(p + 18)"),
        (Selection(modulus=30, residue=7), "p % 30 == 7"),
        (Selection("cousins", 4, 3), "p % 4 == 3 && isprime(p + 4)"),
    ],
    ids=str,
)
async def test_selections(service: PrimeService, selection: Selection, condition: str) -> None:
    """Constellations and classes are those for which PARI finds the condition true."""
    expected = await pari(
        f"select(p -> {condition}, primes([{range_.start}, {range_.end - selection.reach}]))"
        for range_ in RANGES
    )
    for range_, primes in zip(RANGES, expected, strict=True):
        assert await listed(service, Primes(range_, selection)) == primes


async def test_statistics(service: PrimeService) -> None:
    """What follows from PARI's primes, one by one, in bins and by residues of every kind."""
    expected = await pari(f"primes([{range_.start}, {range_.end}])" for range_ in RANGES)
    for at, (range_, primes) in enumerate(zip(RANGES, expected, strict=True)):
        modulus, bins = [4, 10, 30, 1][at % 4], [7, 500, 1][at % 3]
        found = await service.statistics(range_, modulus=modulus, bins=bins)
        assert found == statistics_from(primes, range_.start, range_.end, modulus, bins)


async def test_numbers(service: PrimeService) -> None:
    """Factors, verdicts and neighbours of random numbers at all heights."""
    numbers = [random_.randrange(2**bits) for bits in range(2, 65) for _ in range(3)]
    found = await pari(
        f"[isprime({n}), nextprime({n} + 1), precprime({n} - 1), "
        f"if({n} < 2, [], apply(r -> [r[1], r[2]], Vec(factor({n})~)))]"
        for n in numbers
    )
    for number, (prime, above, below, factors) in zip(numbers, found, strict=True):
        facts = await service.number(number)
        assert facts.is_prime == bool(prime)
        assert facts.next == (above if above <= MAX_NUMBER else None)
        assert facts.previous == (below or None)
        assert facts.factors == tuple(map(tuple, factors))
