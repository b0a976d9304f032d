"""Reads the packed pieces of a result in order, and the primes in them as arrays."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primesvc.collect.plan import Plan
from primesvc.compute.dispatcher import Queue
from primesvc.results.result import Result
from primesvc.sieve.cost import expected_primes
from primesvc.sieve.engine import Engine, listing_s
from primesvc.sieve.packed import MARK_EVERY, Packed
from primesvc.sieve.range import Range
from primesvc.store.segments import SegmentStore


@dataclass(frozen=True, slots=True)
class Source:
    """What readers read from, and how far ahead."""

    store: SegmentStore
    engine: Engine
    ahead: int
    """Calls, or pieces, under way for one reader."""
    call_bytes: int
    """Bytes a call returns at the most."""


def piece_bytes(plan: Plan) -> int:
    """Memory that the packed primes of one piece take at the most: two bytes a gap."""
    return 2 * int(expected_primes(plan.grid.piece(plan.indices[-1])))


def reading_s(source: Source, plan: Plan, pieces: int) -> float:
    """About how many seconds a worker needs for so many pieces of the plan, if none is cached."""
    piece = plan.grid.piece(plan.indices[-1])
    return pieces * listing_s(source.engine, piece, plan.grid.selection)


async def prime_arrays(
    source: Source, plan: Plan, queue: Queue
) -> AsyncGenerator[NDArray[np.uint64], None]:
    """The primes of the plan's range, ascending, as uint64 arrays of up to 2^16 each."""
    async with aclosing(_packed_pieces(source, plan, plan.indices, queue)) as pieces:
        async for index, packed in pieces:
            runs = packed.positions(plan.piece(index))
            first, stop = runs[0].first, runs[-1].stop
            while first < stop:
                until = min((first // MARK_EVERY + 1) * MARK_EVERY, stop)
                yield packed.primes(first, until)
                first = until


async def _packed_pieces(
    source: Source, plan: Plan, indices: Sequence[int], queue: Queue
) -> AsyncGenerator[tuple[int, Packed], None]:
    """The packed pieces in order, the next few under way meanwhile."""
    tasks: deque[tuple[int, asyncio.Task[Packed]]] = deque()
    rest = iter(indices)
    try:
        while True:
            while len(tasks) < source.ahead and (index := next(rest, None)) is not None:
                wanted = source.store.packed(plan.grid, index, queue=queue)
                tasks.append((index, asyncio.create_task(wanted)))
            if not tasks:
                return
            index, task = tasks[0]
            packed = await task
            tasks.popleft()
            yield index, packed
    finally:
        await cancel_all([task for _, task in tasks])


async def cancel_all(tasks: "list[asyncio.Task[Any]]") -> None:
    """Cancel tasks whose outcome nobody wants any more, and wait until they are over."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        for task in tasks:
            with suppress(asyncio.CancelledError):
                task.exception()  # seen: nobody else will look


async def cut_page(
    source: Source, result: Result, queue: Queue, offset: int, limit: int
) -> Result | None:
    """The primes at the positions [offset, offset + limit) as a result; None if there are none.

    At most two pieces are looked into, so it costs the same anywhere.
    """
    stop = min(offset + limit, result.total.count)
    if offset >= stop:
        return None
    ends = np.cumsum(result.counts)
    low = int(np.searchsorted(ends, offset, side="right"))
    high = int(np.searchsorted(ends, stop - 1, side="right"))
    plan = result.plan
    indices = plan.indices[low : high + 1]
    first, last = await asyncio.gather(
        _prime_at(source, result, queue, low, offset - int(ends[low] - result.counts[low])),
        _prime_at(source, result, queue, high, stop - 1 - int(ends[high] - result.counts[high])),
    )
    page = replace(plan, range=Range(first[0], last[0]), indices=indices)
    counts, digits = result.counts[low : high + 1].copy(), result.digits[low : high + 1].copy()
    for at, packed in ((0, first[1]), (len(indices) - 1, last[1])):
        summary = packed.summary(page.piece(indices[at]))
        counts[at], digits[at] = summary.count, summary.digits
    return Result(page, counts, digits)


async def _prime_at(
    source: Source, result: Result, queue: Queue, number: int, position: int
) -> tuple[int, Packed]:
    """The prime at a position among those of the result in one piece, and the piece."""
    index = result.plan.indices[number]
    packed = await source.store.packed(result.plan.grid, index, queue=queue)
    at = packed.index(result.plan.piece(index).start) + position
    return int(packed.primes(at, at + 1)[0]), packed
