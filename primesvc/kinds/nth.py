"""The n-th prime above a number, or below it."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple, Self

from primesvc.collect.plan import first_plan, plan_cost_s
from primesvc.compute.dispatcher import Call, Queue
from primesvc.compute.worker import count_range, find_nth_prime
from primesvc.errors import InvalidParameter, RangeNotAllowed
from primesvc.kinds.base import Limits, Question, Resources, Work
from primesvc.kinds.parameters import read_number, read_selection, read_signed_number
from primesvc.kinds.pi import PiValues, estimated_share, pi_cost_s
from primesvc.kinds.ranges import check_span
from primesvc.sieve.engine import Engine, counting_s, listing_s
from primesvc.sieve.grid import SEGMENTS
from primesvc.sieve.nth import expected_pi, expected_prime
from primesvc.sieve.primecount import PRIMES_BELOW_2_64, pi_s
from primesvc.sieve.range import MAX_NUMBER, Range

_CHUNK_S: Final = 0.1
"""Seconds of one core for which numbers are counted in one call, if one segment takes less."""

_SPARE: Final = 2000
"""Numbers to look at beyond those expected: more than the longest gap below 2^64, of 1550."""


class _Way(NamedTuple):
    """How a prime is looked for."""

    values: list[int]
    """The numbers of which π is asked for, the last one near the prime; none if all is sieved."""
    sieved: Range
    """About what is sieved."""


@dataclass(frozen=True)
class Nth(Question):
    """Asks for the n-th prime above `start`, or for a negative n below it."""

    n: int
    start: int = 0

    kind: ClassVar[str] = "nth"

    def __post_init__(self) -> None:
        if self.n == 0:
            raise InvalidParameter("n", "there is no 0th prime; the first above `start` is 1")
        if not 0 <= self.start <= MAX_NUMBER:
            raise RangeNotAllowed(
                f"start lies from 0 to 2^64 - 1 = {MAX_NUMBER}, not at {self.start}",
                limit=MAX_NUMBER,
            )

    @classmethod
    def read(cls, values: Mapping[str, object]) -> Self:
        """The question about `n` and `start`, which is 0 if it is not given."""
        start = values.get("start")
        if read_selection(values):
            raise InvalidParameter(
                "kind", "nth is about all primes; a pattern or residue class is of primes and count"
            )
        return cls(
            read_signed_number("n", values.get("n")),
            0 if start is None else read_number("start", start),
        )

    @property
    def parameters(self) -> Mapping[str, int | str]:
        """Which one, and from where on."""
        return {"n": self.n, "start": self.start}

    def __str__(self) -> str:
        if self.n < 0:
            return f"prime number {-self.n} below {self.start}"
        return f"prime number {self.n} above {self.start}" if self.start else f"prime {self.n}"

    def check(self, limits: Limits, engine: Engine) -> None:
        """Raise `RangeNotAllowed` if there are not so many, or too much would be sieved."""
        most = self._most()
        if abs(self.n) > most:
            raise self.missing(most)
        way = _way(self, engine)
        if not way.values:
            check_span(str(self), way.sieved, limits)

    def cost_s(self, engine: Engine, workers: int) -> float:
        """About how long it takes to count up to near the prime, and to sieve from there."""
        way = _way(self, engine)
        counting = pi_cost_s(way.values, workers) if way.values else 0.0
        return counting + _sieving_s(way.sieved, engine, workers)

    async def plan(self, resources: Resources) -> "Finding":
        """Begin with nothing."""
        return Finding(self)

    def recall(self, record: bytes, *, complete: bool) -> "Finding":
        """Begin again, or know the prime."""
        if bool(record) != complete:
            raise ValueError(f"{self} is {'missing' if complete else 'known too early'}")
        work = Finding(self)
        if complete:
            prime, side = int(record), self.side
            if side is None or not side.start <= prime <= side.end:
                raise ValueError(f"{self} cannot be {prime}")
            work.prime = prime
        return work

    def _most(self) -> int:
        """How many primes there are on that side at the most, without work."""
        if self.side is None:
            return 0
        # Nowhere below 2^64 are there twice the root more than expected (Schoenfeld 1976).
        below, doubt = int(expected_pi(self.start)), 2 * math.isqrt(self.start)
        if self.n < 0:
            return min(below + doubt, self.start // 2 if self.start > 2 else 0)
        if self.start < 2:
            return PRIMES_BELOW_2_64
        return min(PRIMES_BELOW_2_64 - below + doubt, self.side.span // 2 + 1)

    @property
    def side(self) -> Range | None:
        """The numbers above `start`, or below it; None if there are none."""
        if self.n > 0:
            return Range(self.start + 1, MAX_NUMBER) if self.start < MAX_NUMBER else None
        return Range(0, self.start - 1) if self.start else None

    def missing(self, most: int) -> RangeNotAllowed:
        """The error if there are no more than so many on that side."""
        where = f"below {self.start}" if self.n < 0 else f"from {self.start} to 2^64 - 1"
        about = "" if most in (0, PRIMES_BELOW_2_64) else "about "
        return RangeNotAllowed(
            f"{self} does not exist: there are {about}{most} {where}, so give an n of up to that",
            limit=most,
        )


@lru_cache(64)
def _way(question: Nth, engine: Engine) -> _Way:
    """The cheaper way to the prime: sieving from the start, or π near it and then sieving."""
    n, start = question.n, question.start
    guess = expected_prime(expected_pi(start) + n)
    side = Range(start, max(guess, start)) if n > 0 else Range(min(guess, start), start)
    if engine.primecount is None:
        return _Way([], side)
    values = [guess] if start <= 2 and n > 0 else [start if n > 0 else max(start - 1, 0), guess]
    # How far off the guess is: by less than its root, and then by a gap.
    off = Range(max(guess - _SPARE - math.isqrt(guess) // 4, 0), guess)
    if _sieving_s(side, engine) <= sum(map(pi_s, values)) + _sieving_s(off, engine):
        return _Way([], side)
    return _Way(values, off)


class Finding(Work):
    """Finds the prime: by π of a number near it, or not, and then by sieving on from there."""

    def __init__(self, question: Nth) -> None:
        self.question = question
        self.prime: int | None = None
        """The prime, once it is known."""
        self._values: PiValues | None = None
        # How much of the sieving is done, and how large a part of the work that is.
        self._sieved, self._sieving = 0.0, 1.0

    async def run(self, resources: Resources, queue: Queue) -> None:
        """Find it. Raises `RangeNotAllowed` if there is none."""
        question = self.question
        n, start = question.n, question.start
        way = _way(question, resources.engine)
        if way.values:
            counting_cost_s = sum(map(pi_s, way.values))
            sieving_s = _sieving_s(way.sieved, resources.engine)
            self._sieving = sieving_s / (counting_cost_s + sieving_s)
            self._values = PiValues(way.values)
            *before, there = await self._values.find(resources, queue)
            # The index of the prime, less that of the last one up to the guess.
            n += sum(before) - there + (question.n < 0)
            start = way.values[-1]
            if n <= 0:
                # At the guess itself or below it: counted from above.
                n, start = n - 1, start + 1
        self.prime = await self._sieve(resources, queue, n, start)

    async def _sieve(self, resources: Resources, queue: Queue, n: int, start: int) -> int:
        """The n-th prime above `start`, or below it."""
        engine, left, upwards = resources.engine, abs(n), n > 0
        at = start + 1 if upwards else start - 1
        while 0 <= at <= MAX_NUMBER:
            gap = math.log(max(at, 3))
            width = _width(engine, at)
            wanted = int(left * gap * 1.2) + _SPARE
            if wanted > width:
                # So many at a time that they do not go beyond it, as far as is known.
                many = max(min(resources.ahead, int(left * gap * 0.95) // width), 1)
                ranges = _cut(at, width, many, upwards=upwards)
                counts = await self._count(engine, queue, ranges)
                for range_, count in zip(ranges, counts, strict=True):
                    if count >= left:
                        wanted, at = 0, range_.start if upwards else range_.end
                        break
                    left -= count
                    at = range_.end + 1 if upwards else range_.start - 1
                self._sieved = 1 - left / abs(n)
                if wanted:
                    continue
                found = range_
            else:
                (found,) = _cut(at, wanted, 1, upwards=upwards)
            cost_s = counting_s(engine, found)
            signed = left if upwards else -left
            call = queue.submit(find_nth_prime, engine.name, found, signed, cost_s=cost_s)
            ((count, prime),) = await _results([call])
            if prime is not None:
                return int(prime)
            left -= count
            at = found.end + 1 if upwards else found.start - 1
        raise self.question.missing(abs(self.question.n) - left)

    async def _count(self, engine: Engine, queue: Queue, ranges: list[Range]) -> list[int]:
        calls = [
            queue.submit(count_range, engine.name, range_, cost_s=counting_s(engine, range_))
            for range_ in ranges
        ]
        return [count for (count,) in await _results(calls)]

    @property
    def progress(self) -> float:
        """About how much is done, by the estimates; 1 only when the prime is known."""
        if self.prime is not None:
            return 1.0
        counted = 0.0 if self._values is None else self._values.progress
        return estimated_share(counted * (1 - self._sieving) + self._sieved * self._sieving)

    @property
    def findings(self) -> Mapping[str, Any]:
        """The prime, and its index among all primes where that is n; None until it is known."""
        result: dict[str, int] | None = None
        if self.prime is not None:
            result = {"prime": self.prime}
            if not self.question.start:
                result["index"] = self.question.n
        return {"progress_is": "estimated", "result": result}

    def record(self, *, complete: bool) -> bytes:
        """The prime."""
        return b"%d" % self.prime if complete and self.prime is not None else b""


def _cut(at: int, width: int, many: int, *, upwards: bool) -> list[Range]:
    """Up to so many ranges of so many numbers, from `at` on upwards or downwards."""
    ranges: list[Range] = []
    while len(ranges) < many and 0 <= at <= MAX_NUMBER:
        if upwards:
            ranges.append(Range(at, min(at + width - 1, MAX_NUMBER)))
            at += width
        else:
            ranges.append(Range(max(at - width + 1, 0), at))
            at -= width
    return ranges


def _width(engine: Engine, at: int) -> int:
    """How many numbers to count in one call: one segment, or as many as take `_CHUNK_S`."""
    segment = SEGMENTS.piece(SEGMENTS.index(at))
    return segment.span * max(int(_CHUNK_S / counting_s(engine, segment)), 1)


def _sieving_s(range_: Range, engine: Engine, workers: int = 1) -> float:
    """About how long so many workers take to find a prime at the far end of the range."""
    plan = first_plan(range_, engine, cache_bytes=0)
    # The primes of about the last root of it are listed.
    span = min(int(5 * math.sqrt(range_.span * math.log(range_.end + 3))), range_.span)
    last = Range(range_.end - span + 1, range_.end)
    return plan_cost_s(plan, engine, workers) + listing_s(engine, last)


async def _results(calls: list[Call]) -> list[tuple[Any, ...]]:
    """What the calls found. Raises what they raise; cancelled, it ends them."""
    try:
        await asyncio.wait([call.done for call in calls])
        return [call.done.result().value.found for call in calls]
    finally:
        for call in calls:
            call.cancel()
