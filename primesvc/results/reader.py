"""Reads the bytes of a virtual file, in order, from any place.

A reader holds a bounded number of calls and pieces, whatever the size of the
result and the speed of whoever takes it. It can begin anywhere, so a reader
that has to wait for long is closed and begun anew later.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final, NamedTuple

from primesvc.collect.plan import Plan
from primesvc.compute.backend import CallResult
from primesvc.compute.dispatcher import Call, Queue
from primesvc.compute.worker import Rendering, render
from primesvc.errors import PrimesvcError
from primesvc.formats.coding import encode_part
from primesvc.results.layout import Layout, PieceWindow
from primesvc.results.pieces import Source, cancel_all, piece_bytes
from primesvc.sieve.cost import expected_primes
from primesvc.sieve.engine import extra_bytes, listing_s
from primesvc.sieve.packed import MARK_EVERY, Packed
from primesvc.sieve.range import Range

RENDER_S: Final = 6e-9
"""Estimated seconds to decode one packed prime and write it, for the fair share."""

CODING_S: Final = 80e-9
"""Estimated seconds to compress what one prime takes."""

HEAVY_SETUP_S: Final = 2e-3
"""Set-up of a sieve above which a piece is sieved once and kept while it is
read; below it is cheaper to sieve its parts where they are rendered."""

GENTLE_BYTES: Final = 2**18
"""Bytes a call makes for a reader that is slow to take them."""


LAYOUT_BYTES: Final = 32
"""Memory a piece that the layout of a file takes."""


class Part(NamedTuple):
    """Some bytes of the file, coded or not; the view is valid until the next part is asked for."""

    view: memoryview
    raw_bytes: int
    """How many bytes of the file they stand for."""
    crc: int
    """Check sum of those, where the coding needs it."""


def held_bytes(plan: Plan) -> int:
    """Memory that sending a file takes however slow its client: what that holds, and the layout."""
    return 2 * GENTLE_BYTES + LAYOUT_BYTES * len(plan.indices)


def gentle_bytes(plan: Plan) -> int:
    """Memory that a gentle reader takes while it reads."""
    return 2 * GENTLE_BYTES + piece_bytes(plan)


def full_bytes(plan: Plan, source: Source) -> int:
    """Memory that a reader at full speed takes."""
    pieces = min(source.ahead, len(plan.indices))
    return source.ahead * source.call_bytes + pieces * piece_bytes(plan)


class ByteReader:
    """Reads the bytes [first, stop) of a virtual file, once, in order.

    With a `coding` every part is coded by itself (`formats.coding`), and
    `stop` is the end of the file. `gentle` makes small calls, one at a time,
    for a taker who is slow.
    """

    def __init__(
        self,
        source: Source,
        layout: Layout,
        queue: Queue,
        first: int,
        stop: int,
        *,
        coding: str | None = None,
        gentle: bool = False,
    ) -> None:
        self._source = source
        self._plan = layout.result.plan
        self._layout = layout
        self._format = layout.format
        self._queue = queue
        self._first, self._stop = first, stop
        self._coding = coding
        self._gentle = gentle
        self._ahead = 1 if gentle else source.ahead

    async def parts(self) -> AsyncGenerator[Part, None]:
        """The parts in order. Close the generator (`contextlib.aclosing`) to stop early."""
        head = self._layout.before(self._first, self._stop)
        tail = self._layout.after(self._first, self._stop)
        if head:
            yield self._by_itself(head)
        left = self._stop - self._first - len(head) - len(tail)
        if left:
            async with aclosing(self._results()) as results:
                async for result in results:
                    raw_bytes, crc = result.value.raw_bytes, result.value.crc
                    if raw_bytes <= left:
                        yield Part(result.view, raw_bytes, crc)
                    elif self._coding is None:
                        # Only the last piece of a window may have more to give than is wanted.
                        raw_bytes = left
                        yield Part(result.view[:left], left, crc)
                    left -= raw_bytes
                    if left <= 0:
                        break
        if left:
            raise PrimesvcError(f"{left} bytes are missing in the result {self._plan.range}")
        if tail:
            yield self._by_itself(tail)

    def _by_itself(self, raw: bytes) -> Part:
        if self._coding is None:
            return Part(memoryview(raw), len(raw), 0)
        coded = encode_part(self._coding, raw)
        return Part(memoryview(coded.data), coded.raw_bytes, coded.crc)

    async def _results(self) -> AsyncGenerator[CallResult, None]:
        ahead: deque[Call] = deque()
        async with aclosing(self._calls()) as calls:
            try:
                while True:
                    while (
                        len(ahead) < self._ahead and (call := await anext(calls, None)) is not None
                    ):
                        ahead.append(call)
                    if not ahead:
                        return
                    # Not awaited itself: if this reader is cancelled, the call is not.
                    await asyncio.wait([ahead[0].done])
                    result = ahead.popleft().done.result()
                    try:
                        yield result
                    finally:
                        result.release()
            finally:
                for call in ahead:
                    call.cancel()

    async def _calls(self) -> AsyncGenerator[Call, None]:
        windows = self._layout.pieces(self._first, self._stop)
        early: dict[int, asyncio.Task[Packed]] = {}
        looked = 0
        try:
            for at in range(len(windows)):
                while looked < min(at + self._ahead, len(windows)):
                    window = windows[looked]
                    if self._must_be_packed(window):
                        wanted = self._source.store.packed(
                            self._plan.grid, window.index, queue=self._queue
                        )
                        early[looked] = asyncio.create_task(wanted)
                    looked += 1
                window = windows[at]
                if window.first >= window.stop:
                    continue
                if at in early:
                    packed: Packed | None = await early[at]
                    del early[at]
                else:
                    packed = await self._source.store.cached(self._plan.grid, window.index)
                calls = (
                    self._by_value(window) if packed is None else self._by_position(window, packed)
                )
                for call in calls:
                    yield call
        finally:
            await cancel_all(list(early.values()))

    def _parts(self, window: PieceWindow) -> int:
        """In how many calls a piece that is not packed is rendered: even parts, with a margin."""
        return -(-window.length * 9 // (8 * self._source.call_bytes))

    def _must_be_packed(self, window: PieceWindow) -> bool:
        """Whether a piece is to be sieved once and kept while its parts are rendered."""
        if self._gentle:
            return window.length > GENTLE_BYTES
        if self._parts(window) <= 1:
            return False
        setup_s = self._source.engine.cost.setup_s(self._plan.grid.piece(window.index).end)
        return window.first > 0 or setup_s > HEAVY_SETUP_S

    def _by_value(self, window: PieceWindow) -> Iterator[Call]:
        """Calls that sieve a part of the numbers each; their lengths are not known before."""
        piece = self._plan.piece(window.index)
        parts = self._parts(window)
        drop = window.length - window.stop
        cut: tuple[int, int] | None = (window.first, window.stop)
        if parts > 1 or cut == (0, window.length) or (window.first == 0 and self._is_spare(drop)):
            cut = None
        for part in range(parts):
            range_ = Range(
                piece.start + piece.span * part // parts,
                piece.start + piece.span * (part + 1) // parts - 1,
            )
            last = part == parts - 1
            yield self._render(
                None,
                range_,
                head=self._head(window) if part == 0 else b"",
                window=cut,
                drop=drop if last and cut is None and self._is_spare(drop) else 0,
            )

    def _head(self, window: PieceWindow) -> bytes:
        return self._format.piece_head(window.batch) if window.batch else b""

    def _is_spare(self, drop: int) -> bool:
        return drop == self._format.spare

    def _by_position(self, window: PieceWindow, packed: Packed) -> Iterator[Call]:
        """Calls that render some of the packed primes each; their lengths are exact."""
        piece = self._plan.piece(window.index)
        limit = GENTLE_BYTES if self._gentle else self._source.call_bytes
        width = self._format.values_bytes(1, len(str(piece.end)))
        step = max((limit - 256) // (width * MARK_EVERY), 1) * MARK_EVERY
        runs = packed.positions(piece)
        head = self._head(window)
        start = 0
        for base in range(runs[0].first // MARK_EVERY * MARK_EVERY, runs[-1].stop, step):
            length = len(head)
            for run in runs:
                count = max(min(run.stop, base + step) - max(run.first, base), 0)
                length += self._format.values_bytes(count, count * run.digits)
            first, stop = max(window.first - start, 0), min(window.stop - start, length)
            start += length
            source = packed.window(base, base + step) if first < stop else b""
            while first < stop:
                until = min(first + limit, stop) if self._gentle else stop
                whole = first == 0 and until == length
                yield self._render(
                    source, piece, head=head, window=None if whole else (first, until)
                )
                first = until
            head = b""

    def _render(
        self,
        source: bytes | None,
        range_: Range,
        *,
        head: bytes,
        window: tuple[int, int] | None,
        drop: int = 0,
    ) -> Call:
        selection = self._plan.grid.selection
        primes = expected_primes(range_) if source is None else len(source)
        cost_s, memory_bytes = primes * (RENDER_S if self._coding is None else CODING_S), 0
        if source is None:
            cost_s += listing_s(self._source.engine, range_, selection)
            memory_bytes = extra_bytes(self._source.engine, range_, listed=True)
        return self._queue.submit(
            render,
            self._source.engine.name,
            source,
            range_,
            selection,
            Rendering(self._format, head, window, drop, self._coding),
            cost_s=cost_s,
            memory_bytes=memory_bytes,
        )
