"""Reads results: the primes as arrays, and the bytes of a virtual file, in order.

A reader holds a bounded number of calls and pieces, whatever the size of the
result and the speed of whoever takes it. It can begin anywhere, so a reader
that has to wait for long is closed and begun anew later.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.compute.dispatcher import Call, Delivery, Flow
from primesvc.compute.worker import Window, render
from primesvc.errors import PrimesvcError
from primesvc.jobs.job import Job, Plan
from primesvc.results.layout import Layout, PieceWindow
from primesvc.sieve.cost import expected_primes
from primesvc.sieve.engine import Engine, listing_s
from primesvc.sieve.packed import MARK_EVERY, Packed
from primesvc.sieve.range import Range
from primesvc.store.segments import SegmentStore

RENDER_S: Final = 12e-9
"""Estimated seconds to decode and write one prime as text, for the fair share."""

HEAVY_SETUP_S: Final = 2e-3
"""Set-up of a sieve above which a piece is sieved once and kept while it is
read; below it is cheaper to sieve its parts where they are rendered."""

GENTLE_BYTES: Final = 2**18
"""Bytes a call for a reader that is slow to take them."""


@dataclass(frozen=True, slots=True)
class Source:
    """What readers read from, and how far ahead."""

    store: SegmentStore
    engine: Engine
    ahead: int
    """Calls under way for one reader."""
    call_bytes: int
    """Bytes a call returns at the most."""


async def read_arrays(
    source: Source, plan: Plan, flow: Flow
) -> AsyncGenerator[NDArray[np.uint64], None]:
    """The primes of the plan's range, ascending, as uint64 arrays of up to 2^16 each."""
    async with aclosing(_packed_pieces(source, plan, plan.indices, flow)) as pieces:
        async for index, packed in pieces:
            piece = plan.piece(index)
            runs = packed.positions(piece)
            first, stop = runs[0].first, runs[-1].stop
            while first < stop:
                until = min((first // MARK_EVERY + 1) * MARK_EVERY, stop)
                yield packed.primes(first, until)
                first = until


async def _packed_pieces(
    source: Source, plan: Plan, indices: Sequence[int], flow: Flow
) -> AsyncGenerator[tuple[int, Packed], None]:
    """The packed pieces in order, the next few under way meanwhile."""
    tasks: deque[tuple[int, asyncio.Task[Packed]]] = deque()
    rest = iter(indices)
    try:
        while True:
            while len(tasks) < source.ahead and (index := next(rest, None)) is not None:
                wanted = source.store.packed(plan.grid, index, flow=flow)
                tasks.append((index, asyncio.create_task(wanted)))
            if not tasks:
                return
            index, task = tasks[0]
            packed = await task
            tasks.popleft()
            yield index, packed
    finally:
        await _cancel([task for _, task in tasks])


async def _cancel(tasks: "list[asyncio.Task[Packed]]") -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        for task in tasks:
            with suppress(asyncio.CancelledError):
                task.exception()  # seen: the reader has gone


class ByteReader:
    """The bytes [first, stop) of a virtual file, once, in order: iterate and close it.

    Yields views that are valid until the next one is asked for. `gentle`
    makes small calls, one at a time, for a taker who is slow.
    """

    def __init__(
        self,
        source: Source,
        job: Job,
        layout: Layout,
        flow: Flow,
        window: tuple[int, int],
        *,
        gentle: bool = False,
    ) -> None:
        self._source = source
        self._plan = job.plan
        self._layout = layout
        self._flow = flow
        self._first, self._stop = window
        self._gentle = gentle
        self._width = len(str(job.range.end)) + len(layout.text.separator)
        """Bytes of one prime at the most."""

    async def views(self) -> AsyncGenerator[memoryview, None]:
        """The bytes. Close the iterator (`contextlib.aclosing`) when done with it early."""
        head = self._layout.before(self._first, self._stop)
        tail = self._layout.after(self._first, self._stop)
        if head:
            yield memoryview(head)
        left = self._stop - self._first - len(head) - len(tail)
        if left:
            async with aclosing(self._deliveries()) as deliveries:
                async for delivery in deliveries:
                    # Only the last piece may have more to give than is wanted.
                    view = delivery.view[:left]
                    left -= len(view)
                    yield view
        if left:
            raise PrimesvcError(f"{left} bytes are missing in the result {self._plan.range}")
        if tail:
            yield memoryview(tail)

    async def _deliveries(self) -> AsyncGenerator[Delivery, None]:
        ahead: deque[Call] = deque()
        depth = 1 if self._gentle else self._source.ahead
        async with aclosing(self._calls()) as calls:
            try:
                while True:
                    while len(ahead) < depth and (call := await anext(calls, None)) is not None:
                        ahead.append(call)
                    if not ahead:
                        return
                    # Not awaited itself: if this reader is cancelled, the call is not.
                    await asyncio.wait([ahead[0].done])
                    delivery = ahead.popleft().done.result()
                    try:
                        yield delivery
                    finally:
                        delivery.release()
            finally:
                for call in ahead:
                    call.cancel()

    async def _calls(self) -> AsyncGenerator[Call, None]:
        windows = self._layout.pieces(self._first, self._stop)
        early: dict[int, asyncio.Task[Packed]] = {}
        try:
            for at in range(len(windows)):
                window = windows[at]
                for next_at in range(at, min(at + self._source.ahead, len(windows))):
                    if next_at not in early and self._must_be_packed(windows[next_at]):
                        wanted = self._source.store.packed(
                            self._plan.grid, windows[next_at].index, flow=self._flow
                        )
                        early[next_at] = asyncio.create_task(wanted)
                if at in early:
                    packed: Packed | None = await early[at]
                    del early[at]
                else:
                    packed = await self._source.store.cached(self._plan.grid.piece(window.index))
                parts = (
                    self._by_value(window) if packed is None else self._by_position(window, packed)
                )
                for part in parts:
                    yield part
        finally:
            await _cancel(list(early.values()))

    def _parts(self, window: PieceWindow) -> int:
        """In how many calls a piece that is not packed is rendered: even parts, with a margin."""
        return -(-window.length * 9 // (8 * self._source.call_bytes))

    def _must_be_packed(self, window: PieceWindow) -> bool:
        """Whether a piece is to be sieved once and kept while its parts are rendered."""
        if self._parts(window) == 1:
            return False
        setup_s = self._source.engine.cost.setup_s(self._plan.grid.piece(window.index).end)
        return self._gentle or window.first > 0 or setup_s > HEAVY_SETUP_S

    def _by_value(self, window: PieceWindow) -> Iterator[Call]:
        """Calls that sieve a part of the numbers each; their lengths are not known before."""
        piece = self._plan.piece(window.index)
        parts = self._parts(window)
        whole = parts > 1 or (window.first == 0 and window.stop == window.length)
        for part in range(parts):
            range_ = Range(
                piece.start + piece.span * part // parts,
                piece.start + piece.span * (part + 1) // parts - 1,
            )
            yield self._render(None, range_, None if whole else (window.first, window.stop))

    def _by_position(self, window: PieceWindow, packed: Packed) -> Iterator[Call]:
        """Calls that render some of the packed primes each; their lengths are exact."""
        piece = self._plan.piece(window.index)
        limit = GENTLE_BYTES if self._gentle else self._source.call_bytes
        step = max(limit // (self._width * MARK_EVERY), 1) * MARK_EVERY
        start = 0
        runs = packed.positions(piece)
        for base in range(runs[0].first // MARK_EVERY * MARK_EVERY, runs[-1].stop, step):
            length = 0
            for run in runs:
                count = min(run.stop, base + step) - max(run.first, base)
                length += max(count, 0) * (run.digits + len(self._layout.text.separator))
            first, stop = max(window.first - start, 0), min(window.stop - start, length)
            start += length
            source = packed.window(base, base + step) if first < stop else b""
            while first < stop:
                until = min(first + limit, stop) if self._gentle else stop
                whole = first == 0 and until == length
                yield self._render(source, piece, None if whole else (first, until))
                first = until

    def _render(self, source: bytes | None, range_: Range, cut: tuple[int, int] | None) -> Call:
        cost_s = expected_primes(range_) * RENDER_S
        if source is None:
            cost_s += listing_s(self._source.engine, range_)
        return self._flow.submit(
            render,
            self._source.engine.name,
            source,
            range_,
            self._layout.text,
            cut and Window(*cut),
            cost_s=cost_s,
        )
