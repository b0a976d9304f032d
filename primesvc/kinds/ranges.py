"""What kinds have in common that ask for the primes of a range, and collect its pieces."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from primesvc.collect import records
from primesvc.collect.collect import collect
from primesvc.collect.collected import PIECE_BYTES, Collected
from primesvc.collect.plan import Plan
from primesvc.compute.dispatcher import Queue
from primesvc.errors import CountsDisagree, RangeNotAllowed
from primesvc.formats.base import total_bytes
from primesvc.formats.catalog import FORMATS
from primesvc.kinds.base import JOB_BYTES, WORKING_BYTES, Limits, Question, Resources, Work
from primesvc.kinds.check import SecondCount, is_checked
from primesvc.kinds.parameters import read_range, read_selection
from primesvc.sieve.engine import Engine
from primesvc.sieve.estimate import estimate
from primesvc.sieve.grid import SEGMENTS
from primesvc.sieve.range import Range
from primesvc.sieve.selection import ALL, Selection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RangeQuestion(Question):
    """A question about the primes of a closed range, or a selection of them.

    All primes of a constellation lie in the range.
    """

    range: Range
    selection: Selection = ALL

    @classmethod
    def read(cls, values: Mapping[str, object]) -> Self:
        """The question about `start` to `end`, and `pattern`, `modulus` and `residue`."""
        return cls(read_range(values), read_selection(values))

    @property
    def parameters(self) -> Mapping[str, int | str]:
        """The ends of the range, and what is selected."""
        ends = {"start": self.range.start, "end": self.range.end}
        return {**ends, **self.selection.parameters} if self.selection else ends

    @property
    def searched(self) -> Range:
        """Where the selected primes lie, of a constellation the first one."""
        return self.selection.searched(self.range) if self.selection else self.range

    def __str__(self) -> str:
        return f"the range {self.range}"

    def check(self, limits: Limits, engine: Engine) -> None:
        """Raise `RangeNotAllowed` for too many numbers, or more pieces than there is memory for."""
        check_span(str(self), self.range, limits)
        pieces = len(SEGMENTS.cover(self.range))
        # The pieces of the whole line would take all memory. Of cells there are few.
        if JOB_BYTES + WORKING_BYTES + PIECE_BYTES * pieces > limits.max_bytes:
            raise RangeNotAllowed(
                f"{self} has {pieces} pieces, too many to keep account of in "
                f"{limits.max_bytes} bytes; ask for parts of it, or raise max_job_bytes",
                limit=limits.max_bytes,
            )

    def expected(self) -> Mapping[str, Any]:
        """How many primes to expect, and how many bytes they are in each format."""
        primes = estimate(self.searched, self.selection)
        sizes = {name: total_bytes(format_, primes) for name, format_ in FORMATS.items()}
        return {"count": primes.count, "bytes": sizes}

    def recall(self, record: bytes, *, complete: bool) -> Work:
        """The work as it was planned, or as it was when all pieces were collected."""
        return Collecting.recall(record, self, complete=complete)


def check_span(question: str, range_: Range, limits: Limits) -> None:
    """Raise `RangeNotAllowed` if a range is too wide to be sieved for the question.

    From 0 to 10^13 are 10^13 + 1 numbers: what is measured is from the start to the end.
    """
    width = range_.end - range_.start
    if width > limits.max_span:
        raise RangeNotAllowed(
            f"{question} is {width} numbers wide, the limit is {limits.max_span}; "
            "ask for parts of it, or raise max_span",
            limit=limits.max_span,
        )


class Collecting(Work):
    """Collects the pieces of a plan; what is found is how many primes there are."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.second_count: int | None = None
        """How many primes there are by libprimecount; None if they were not counted by it."""

    @classmethod
    def recall(cls, record: bytes, question: RangeQuestion, *, complete: bool) -> Self:
        """The work of which `record` wrote this. Raises `ValueError` for what cannot be true."""
        plan, summaries = records.read(
            record, question.searched, question.selection, complete=complete
        )
        work = cls(plan)
        if summaries is not None:
            work.collected.recall(summaries)
        return work

    @cached_property
    def collected(self) -> Collected:
        """The pieces; made when they are first asked for, for some plans are too large."""
        return Collected(self.plan)

    async def run(self, resources: Resources, queue: Queue) -> None:
        """Collect all pieces, and have their primes counted a second time where that is cheap.

        Raises `CountsDisagree` if there are others than were collected.
        """
        if not is_checked(self.plan, resources.engine):
            await self._collect(resources, queue)
            return
        async with SecondCount(self.plan.range, resources, queue) as second:
            await self._collect(resources, queue)
            self.second_count = await second.found()
        await self._compare(resources)

    async def _collect(self, resources: Resources, queue: Queue) -> None:
        await collect(self.collected, resources.store, queue, ahead=resources.ahead)

    async def _compare(self, resources: Resources) -> None:
        found, second = self.collected.count, self.second_count
        if second is None:
            resources.checks.given_up += 1
        elif second == found:
            resources.checks.agreed += 1
        else:
            resources.checks.disagreed += 1
            error = CountsDisagree(str(self.plan.range), found, second)
            log.error("%s", error)
            await resources.store.discard(self.plan.grid, self.plan.indices)
            raise error

    @property
    def progress(self) -> float:
        """The share of the range's numbers in pieces that are summarised, exact."""
        return self.collected.progress

    @property
    def findings(self) -> Mapping[str, Any]:
        """How many primes were found so far, and how many by the check, if there was one."""
        found, second = self.collected.count, self.second_count
        if second is None:
            return {"count": found}
        check = {"method": "primecount", "count": second, "agrees": second == found}
        return {"count": found, "check": check}

    def record(self, *, complete: bool) -> bytes:
        """The plan, and with `complete` the summaries of its pieces."""
        return records.write(self.collected, complete=complete)

    @property
    def updates(self) -> int:
        """How many pieces are summarised."""
        return self.collected.pieces_done

    @property
    def done_numbers(self) -> int:
        """How many numbers lie in pieces that are summarised."""
        return self.collected.done_numbers

    @property
    def size_bytes(self) -> int:
        """The memory of the summaries."""
        return PIECE_BYTES * len(self.plan.indices)
