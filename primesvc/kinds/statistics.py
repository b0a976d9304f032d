"""Statistics of the primes of a range: gaps, residues, neighbours and constellations, in bins."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple, Self

from primesvc.collect import statistics_record
from primesvc.collect.plan import segments_s, shared_out_s
from primesvc.compute.dispatcher import Call, Queue
from primesvc.compute.worker import tally
from primesvc.errors import InvalidParameter, RangeNotAllowed
from primesvc.kinds.base import JOB_BYTES, WORKING_BYTES, Limits, Question, Resources, Work
from primesvc.kinds.parameters import read_number, read_range
from primesvc.kinds.ranges import check_span
from primesvc.sieve.engine import Engine, extra_bytes
from primesvc.sieve.estimate import estimate
from primesvc.sieve.grid import SEGMENTS
from primesvc.sieve.range import Range
from primesvc.sieve.selection import MAX_MODULUS
from primesvc.sieve.statistics import Frame, Tally, tally_s
from primesvc.store.segments import CHUNK_S

MODULUS: Final = 10
"""The modulus if none is given: by their last digits."""

BINS: Final = 500
"""The bins if none are given."""

MAX_BINS: Final = 2_000
"""Bins at the most: more than a screen is wide."""

MAX_COUNTS: Final = 25_000
"""Counts by bin and residue class at the most: so the document, which has 30,000 numbers then,
stays below half a megabyte, and is made in a few milliseconds."""


@dataclass(frozen=True)
class Statistics(Question):
    """Asks for the statistics of the primes of a closed range, in so many bins."""

    range: Range
    modulus: int = MODULUS
    bins: int = BINS

    kind: ClassVar[str] = "statistics"

    def __post_init__(self) -> None:
        for name, most in (("modulus", MAX_MODULUS), ("bins", MAX_BINS)):
            if not 1 <= (number := getattr(self, name)) <= most:
                raise InvalidParameter(name, f"it must be from 1 to {most}, not {number}")
        classes = len(self.frame.classes)
        if self.bins * classes > MAX_COUNTS:
            raise InvalidParameter(
                "bins",
                f"in {self.bins} bins the {classes} residues that primes have modulo {self.modulus}"
                f" are {self.bins * classes} counts, the limit is {MAX_COUNTS}; ask for up to "
                f"{MAX_COUNTS // classes} bins, or for a smaller modulus",
            )

    @classmethod
    def read(cls, values: Mapping[str, object]) -> Self:
        """The question about `start` to `end`, and if they are given `modulus` and `bins`."""
        range_ = read_range(values)
        given = {name: values[name] for name in ("modulus", "bins") if values.get(name) is not None}
        return cls(range_, **{name: read_number(name, value) for name, value in given.items()})

    @property
    def parameters(self) -> Mapping[str, int | str]:
        """The ends of the range, the modulus and the number of bins."""
        start, end = self.range.start, self.range.end
        return {"start": start, "end": end, "modulus": self.modulus, "bins": self.bins}

    @cached_property
    def frame(self) -> Frame:
        """What is to be counted."""
        return Frame(self.range, self.modulus, self.bins)

    def __str__(self) -> str:
        return f"the range {self.range}"

    def check(self, limits: Limits, engine: Engine) -> None:
        """Raise `RangeNotAllowed` for too many numbers, or more counts than there is memory for."""
        check_span(str(self), self.range, limits)
        if JOB_BYTES + WORKING_BYTES + Tally(self.frame).size_bytes > limits.max_bytes:
            raise RangeNotAllowed(
                f"the statistics of {self} in {self.bins} bins do not fit {limits.max_bytes} bytes;"
                " ask for fewer bins or a smaller modulus, or raise max_job_bytes",
                limit=limits.max_bytes,
            )

    def cost_s(self, engine: Engine, workers: int) -> float:
        """About how long it takes to list the primes and to count them."""

        def segment_s(index: int) -> float:
            return tally_s(engine, self.frame, self.range.clip(SEGMENTS.piece(index)))

        return shared_out_s(segments_s(SEGMENTS.cover(self.range), segment_s), workers)

    def expected(self) -> Mapping[str, Any]:
        """How many primes to expect."""
        return {"count": estimate(self.range).count}

    async def plan(self, resources: Resources) -> "Tallying":
        """Begin with nothing."""
        return Tallying(Tally(self.frame))

    def recall(self, record: bytes, *, complete: bool) -> "Tallying":
        """Begin again, or know all."""
        if not complete:
            if record:
                raise ValueError(f"the statistics of {self} are there too early")
            return Tallying(Tally(self.frame))
        work = Tallying(statistics_record.read(record, self.frame))
        work.done = self.range.span
        return work


class _Chunk(NamedTuple):
    """Neighbouring parts of the range that are counted in one call."""

    parts: list[Range]
    cost_s: float


class Tallying(Work):
    """Counts chunk by chunk; what it knows are the statistics of how far it is, from the start."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        """The statistics of the numbers that are done."""
        self.done = 0
        """How many numbers of the range are done, from its start on."""

    async def run(self, resources: Resources, queue: Queue) -> None:
        """Count the primes of all chunks, a few of which workers have at a time."""
        engine, frame = resources.engine, self.tally.frame
        chunks = _chunks(frame, engine)
        calls: deque[tuple[Call, _Chunk]] = deque()
        try:
            while True:
                while len(calls) < resources.ahead and (chunk := next(chunks, None)) is not None:
                    # They are listed one after another.
                    memory = max(extra_bytes(engine, part, listed=True) for part in chunk.parts)
                    call = queue.submit(
                        tally, engine.name, frame, chunk.parts,
                        cost_s=chunk.cost_s, memory_bytes=memory,
                    )  # fmt: skip
                    calls.append((call, chunk))
                if not calls:
                    return
                call, chunk = calls[0]
                await asyncio.wait([call.done])
                self.tally.append(call.done.result().value.tally)
                self.done += sum(part.span for part in chunk.parts)
                calls.popleft()
        finally:
            for call, _ in calls:
                call.cancel()

    @property
    def progress(self) -> float:
        """The share of the range's numbers that are done, exact."""
        return self.done / self.tally.frame.range.span

    @property
    def findings(self) -> Mapping[str, Any]:
        """The statistics of the numbers that are done, from the start on."""
        return {**self.outline, "result": self.tally.plain()}

    @property
    def outline(self) -> Mapping[str, Any]:
        """How many primes there are so far."""
        return {"count": self.tally.count}

    def record(self, *, complete: bool) -> bytes:
        """The statistics, once they are complete: until then a restart begins again."""
        return statistics_record.write(self.tally) if complete else b""

    @property
    def updates(self) -> int:
        """Grows with every chunk."""
        return self.done

    @property
    def done_numbers(self) -> int:
        """How many numbers are done."""
        return self.done

    @property
    def size_bytes(self) -> int:
        """The memory of the counts."""
        return self.tally.size_bytes


def _chunks(frame: Frame, engine: Engine) -> Iterator[_Chunk]:
    """The range cut along the segments, as many to a chunk as take about `CHUNK_S` seconds."""
    parts: list[Range] = []
    seconds = 0.0
    for index in SEGMENTS.cover(frame.range):
        part = frame.range.clip(SEGMENTS.piece(index))
        cost_s = tally_s(engine, frame, part)
        if parts and seconds + cost_s > CHUNK_S:
            yield _Chunk(parts, seconds)
            parts, seconds = [], 0.0
        parts.append(part)
        seconds += cost_s
    yield _Chunk(parts, seconds)
