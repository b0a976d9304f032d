"""How many primes a range holds; nothing is kept for reading them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from primesvc.collect.plan import first_plan, make_plan, plan_cost_s
from primesvc.collect.records import may_count
from primesvc.compute.dispatcher import Queue
from primesvc.errors import EngineUnavailable
from primesvc.kinds.base import Limits, Resources, Work
from primesvc.kinds.pi import PiValues, ends, pi_cost_s
from primesvc.kinds.ranges import Collecting, RangeQuestion
from primesvc.sieve.engine import Engine
from primesvc.sieve.primecount import pi_s
from primesvc.sieve.range import Range
from primesvc.sieve.selection import ALL, Selection

SIEVED_SPAN: Final = 2**24
"""Numbers of a range that is sieved wherever it is: it takes milliseconds where π takes
microseconds, and the pieces are there for others."""

_RECORD: Final = re.compile(rb"primecount\n([0-9]{1,20})?")


class Count(RangeQuestion):
    """Asks how many primes the range holds: they are sieved, or counted by π, the cheaper way.

    A selection of them is sieved.
    """

    kind = "count"

    def cost_s(self, engine: Engine, workers: int) -> float:
        """About how long it takes to count them."""
        if self._is_sieved(engine):
            return _sieving_s(self.searched, engine, self.selection, workers)
        return pi_cost_s(ends(self.range), workers)

    def check(self, limits: Limits, engine: Engine) -> None:
        """As for every range, if it is sieved."""
        if self._is_sieved(engine):
            super().check(limits, engine)

    async def plan(self, resources: Resources) -> Work:
        """Collect the pieces, or ask for π of the ends."""
        if not self._is_sieved(resources.engine):
            return Counting(self.range)
        # Without a cache: their primes would push out what is read.
        plan = make_plan(
            self.searched,
            resources.store,
            resources.engine,
            cache_bytes=0,
            selection=self.selection,
        )
        return SievedCount(await plan)

    def _is_sieved(self, engine: Engine) -> bool:
        return bool(self.selection) or is_sieved(self.range, engine)

    def recall(self, record: bytes, *, complete: bool) -> Work:
        """The work in the way it was begun."""
        match = _RECORD.fullmatch(record)
        if match is None:
            return SievedCount.recall(record, self, complete=complete)
        if self.selection:
            raise ValueError(f"{self} cannot be counted so")
        if (match[1] is not None) != complete:
            raise ValueError(f"the count of {self.range} is {'missing' if complete else 'early'}")
        work = Counting(self.range)
        if complete:
            work.count = int(match[1])
            if not may_count(self.range, work.count):
                raise ValueError(f"the count of {self.range} cannot be true")
        return work


class SievedCount(Collecting):
    """Counts by sieving the pieces of a plan."""

    @property
    def findings(self) -> Mapping[str, Any]:
        """How many primes were found so far."""
        return {"method": "sieve", **super().findings}


class Counting(Work):
    """Counts by π of both ends."""

    def __init__(self, range_: Range) -> None:
        self.range = range_
        self.count: int | None = None
        """How many primes there are, once that is known."""
        self._values = PiValues(ends(range_))

    async def run(self, resources: Resources, queue: Queue) -> None:
        """Find the two values; one if the range begins below the first prime."""
        if resources.engine.primecount is None:
            raise EngineUnavailable(
                "libprimecount, by which this was to be counted, cannot be loaded any more"
            )
        upper, *lower = await self._values.find(resources, queue)
        self.count = upper - sum(lower)

    @property
    def progress(self) -> float:
        """About how much is done, by the estimate; 1 only when it is known."""
        return self._values.progress if self.count is None else 1.0

    @property
    def findings(self) -> Mapping[str, Any]:
        """The count, 0 until it is known."""
        return {"method": "primecount", "progress_is": "estimated", "count": self.count or 0}

    def record(self, *, complete: bool) -> bytes:
        """The way, and the count."""
        return b"primecount\n" + (
            b"%d" % self.count if complete and self.count is not None else b""
        )


def is_sieved(range_: Range, engine: Engine) -> bool:
    """Whether sieving the range is cheaper than π of its ends, in seconds of one core.

    Measured on one core, the width from which π of both ends is cheaper than libprimesieve, and
    the one by the estimates: at 0, 1 million; from 10^9 on 5 million; from 10^10 on 18 million;
    from 10^12 on 1.8 * 10^8 | 1.6 * 10^8; 10^13, 5.3 | 4.5 * 10^8; 10^14, 1.6 | 1.4 * 10^9;
    10^15, 4.7 | 3.8 * 10^9; 10^16, 1.1 | 1.0 * 10^10.
    """
    if engine.primecount is None or range_.span <= SIEVED_SPAN:
        return True
    return _sieving_s(range_, engine, ALL, 1) <= sum(map(pi_s, ends(range_)))


def _sieving_s(range_: Range, engine: Engine, selection: Selection, workers: int) -> float:
    """About how many seconds so many workers need to sieve it."""
    plan = first_plan(range_, engine, cache_bytes=0, selection=selection)
    return plan_cost_s(plan, engine, workers)
