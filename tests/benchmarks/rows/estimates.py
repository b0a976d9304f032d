"""Estimates of jobs against what they take, over a random sample of questions."""

import asyncio
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from primesvc import PrimeService, Settings
from primesvc.errors import RangeNotAllowed
from primesvc.kinds.base import Question
from primesvc.kinds.count import Count
from primesvc.kinds.nth import Nth
from primesvc.kinds.primes import Primes
from primesvc.sieve.grid import SEGMENTS
from primesvc.sieve.range import MAX_NUMBER, Range
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.rows.base import Outcome, Row, Sizes
from tests.benchmarks.samples import duration, percentile

FACTOR = 3.0
"""How far an estimate may be off, to either side."""

_LEAST_S = 2e-3
"""What takes less counts as so many seconds, on both sides: there the round trip to a worker and
the turns of the event loop are what is measured, and nobody plans by it."""

_LONGEST_S = 3.0
"""Seconds of the longest jobs by their estimates: a sample takes minutes with them already."""

_GIVE_UP_S = 60.0
"""Seconds after which an estimate is wrong anyway."""

_WORST = 6
"""How many are told of."""


@dataclass(frozen=True, slots=True)
class _Tried:
    question: Question
    estimate_s: float
    seconds: float

    @property
    def ratio(self) -> float:
        """The estimate by the truth."""
        return max(self.estimate_s, _LEAST_S) / max(self.seconds, _LEAST_S)

    @property
    def off(self) -> float:
        """By which factor the estimate is off, at least 1."""
        return max(self.ratio, 1 / self.ratio)

    def __str__(self) -> str:
        question = self.question
        what = ", ".join(f"{name} {value}" for name, value in question.parameters.items())
        return f"{question.kind} {what}: {duration(self.estimate_s)}, took {duration(self.seconds)}"


def _questions(seed: int) -> Iterator[Question]:
    """Questions without end: as many low as high ones, and narrow as wide ones, by logarithm."""
    chance = random.Random(seed)  # noqa: S311 - places on a line, no secret
    while True:
        start = int(2 ** chance.uniform(8, 64))
        span = int(2 ** chance.uniform(4, 36))
        kind = chance.choice((Primes, Count, None))
        if kind is not None:
            yield kind(Range(start, min(start + span - 1, MAX_NUMBER)))
        elif chance.random() < 0.5:
            yield Nth(max(int(start / math.log(start)), 1))
        else:
            yield Nth(chance.choice((1, -1)) * max(int(span / math.log(start)), 1), start)


def _rounds(questions: Sequence[Question]) -> list[list[Question]]:
    """The questions shared out so that none of a round finds what another one left in the cache."""
    rounds: list[tuple[list[Question], set[int]]] = []
    for question in questions:
        range_ = getattr(question, "range", None)
        pieces = set() if range_ is None else set(SEGMENTS.cover(range_))
        for members, taken in rounds:
            if taken.isdisjoint(pieces):
                members.append(question)
                taken |= pieces
                break
        else:
            rounds.append(([question], pieces))
    return [members for members, _ in rounds]


async def _round(questions: Sequence[Question]) -> dict[Question, _Tried]:
    """What came of those that have an answer, in a service that knows nothing."""
    tried = {}
    async with PrimeService(Settings()) as service:
        await service.warm_up()
        # All workers have the libraries loaded, and their tables.
        first: list[Question] = [
            Primes(Range(2**52, 2**52 + 2**30)),
            Primes(Range(2**63, 2**63 + 2**19)),
        ]
        first += [Count(Range(0, 10**11 + number)) for number in range(2 * service.workers)]
        for job in [await service.submit(question) for question in first]:
            await job.wait()
        for question in questions:
            _, estimate_s = service.estimate(question)
            began = time.perf_counter()
            job = await service.submit(question)
            try:
                async with asyncio.timeout(_GIVE_UP_S):
                    await job.wait()
                job.check()
            except TimeoutError:
                service.cancel(job)
            except RangeNotAllowed:  # there is no such prime
                continue
            tried[question] = _Tried(question, estimate_s, time.perf_counter() - began)
    return tried


async def _pick(count: int) -> list[Question]:
    """So many questions whose jobs are let in, and not too long."""
    questions: list[Question] = []
    async with PrimeService(Settings()) as service:
        for question in _questions(count):
            try:
                _, estimate_s = service.estimate(question)
            except RangeNotAllowed:
                continue
            if estimate_s <= _LONGEST_S:
                questions.append(question)
            if len(questions) == count:
                break
    return questions


async def _try(count: int) -> list[_Tried]:
    tried = []
    for questions in _rounds(await _pick(count)):
        # Twice, each time cold: what else the machine has to do is not to be estimated.
        one, other = [await _round(questions) for _ in range(2)]
        tried += [min(one[q], other[q], key=lambda t: t.seconds) for q in one.keys() & other]
    return tried


def _measure(sizes: Sizes) -> Outcome:
    tried = asyncio.run(_try(sizes.estimates))
    if not tried:
        raise BenchmarkError("no question of the sample has an answer")
    shares = []
    for kind in ("primes", "count", "nth", ""):
        off = [one.off for one in tried if one.question.kind.startswith(kind)]
        shares.append(f"{kind or 'all'} {sum(o <= FACTOR for o in off)} of {len(off)}")
    ratios = [one.ratio for one in tried]
    worst = sorted(tried, key=lambda one: one.off, reverse=True)[:_WORST]
    return Outcome(
        ours=shares.pop(),
        peer="",
        figure=100 * sum(one.off <= FACTOR for one in tried) / len(tried),
        notes=[
            ", ".join(shares),
            "estimate by truth: "
            + ", ".join(f"{p} % up to {percentile(ratios, p):.2g}" for p in (5, 50, 95)),
            f"what takes less than {duration(_LEAST_S)} counts as that",
            *(f"{one}" for one in worst),
        ],
    )


ESTIMATES = Row(
    name="estimates",
    work="estimates of random jobs within a factor of 3 of what they take, cold",
    peer="",
    target=95,
    unit=" %",
    measure=_measure,
)
