"""Where pieces of the number line come from: the cache, a worker at work on them, or a new call.

The rules:

- A piece is sieved by one call at a time: whoever else wants it waits for
  that call (single flight). Only somebody who wants its primes does not wait
  for a call that merely counts them.
- A call in flight that nobody waits for any more is dropped if no worker has begun
  it. One that has begun may end, and what it found is kept; if it takes long, its
  worker is killed.
- What was found goes to the cache and to the table of summaries, and from
  there may be evicted at any time: primes are a pure function, so that costs
  time and never a result.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiocache.base import BaseCache

from primesvc.compute.backend import CallResult
from primesvc.compute.dispatcher import GRACE_S, Queue
from primesvc.compute.worker import Sieved, sieve
from primesvc.repeated import Trouble
from primesvc.sieve.cost import expected_primes
from primesvc.sieve.engine import Engine, counting_s, extra_bytes
from primesvc.sieve.grid import Grid
from primesvc.sieve.packed import Packed, Summary
from primesvc.sieve.pieces import pieces_s
from primesvc.sieve.range import Range
from primesvc.store.in_flight import InFlight
from primesvc.store.lru import LRUCache
from primesvc.store.summaries import SummaryTable

log = logging.getLogger(__name__)

CHUNK_S: Final = 0.05
"""Estimated seconds of work a chunk: every job makes progress, a cancel takes
effect and a worker comes free in about this time, and a round trip of 0.5 ms
is 1 % of it."""

CHUNK_PIECES: Final = 256
"""Pieces a chunk at the most: cells are so cheap that 50 ms of them would be thousands."""


@dataclass(slots=True)
class StoreStats:
    """What the store did so far, in pieces of a grid."""

    hits: int = 0
    """Wanted and found in the cache or the table of summaries."""
    joined: int = 0
    """Wanted while a call for them was under way."""
    sieved: int = 0
    """Computed by a worker for a job or a reader."""
    damaged: int = 0
    """Found in the cache but damaged, or not what it should be; computed again."""
    cache_errors: int = 0
    """Times the cache raised; the work went on without it."""


class SegmentStore:
    """Pieces of the grids: cached, under way, or to be sieved.

    `on_sieved` is told the summaries of pieces that were sieved, by index.
    """

    def __init__(
        self,
        cache: BaseCache,
        summaries: SummaryTable,
        engine: Engine,
        *,
        chunk_bytes: int,
        on_sieved: Callable[[Grid, dict[int, Summary]], None] | None = None,
    ) -> None:
        self._on_sieved = on_sieved
        self._cache = cache
        self._cache_trouble = Trouble(log, "the cache works again")
        # What our own hands out never left the process: there is nothing to be found out.
        self._checks = not isinstance(cache, LRUCache)
        self._summaries = summaries
        self._engine = engine
        self._chunk_bytes = chunk_bytes
        # By grid and index; the flag says whether the call in flight brings the primes too.
        self._in_flight: dict[tuple[str, int, bool], InFlight] = {}
        self._caching: set[asyncio.Task[None]] = set()
        self.stats = StoreStats()

    @staticmethod
    def key(grid: Grid, index: int) -> str:
        """The name of a piece in the cache."""
        piece = grid.piece(index)
        key = f"primes:{piece.start}:{piece.end}"
        return f"{key}:{grid.selection}" if grid.selection else key

    async def cached(self, grid: Grid, index: int) -> Packed | None:
        """The packed primes of the piece, if the cache has them."""
        try:
            data = await self._cache.get(self.key(grid, index))
        except Exception as error:  # a cache elsewhere may fail in many ways
            self._cache_failed(error)
            return None
        self._cache_trouble.end()
        if data is None:
            return None
        try:
            packed = Packed(data)
            if self._checks:
                packed.check(grid.piece(index))
        except (TypeError, ValueError):
            self.stats.damaged += 1
            return None
        self.stats.hits += 1
        return packed

    async def holds(self, grid: Grid, index: int) -> bool:
        """Whether the cache has the piece; does not count as use."""
        try:
            return bool(await self._cache.exists(self.key(grid, index)))
        except Exception as error:  # a cache elsewhere may fail in many ways
            self._cache_failed(error)
            return False

    def summary(self, grid: Grid, index: int) -> Summary | None:
        """The summary of the piece, if it is known."""
        return self._summaries.get(grid, index)

    def recall(self, grid: Grid, index: int, summary: Summary) -> None:
        """Note the summary of a piece that an earlier run sieved."""
        self._summaries.put(grid, index, summary)

    async def discard(self, grid: Grid, indices: range) -> None:
        """Forget what is kept of pieces: whoever wants them next has them sieved anew."""
        for index in indices:
            self._summaries.discard(grid, index)
            try:
                await self._cache.delete(self.key(grid, index))
            except Exception as error:  # a cache elsewhere may fail in many ways
                self._cache_failed(error)
            await asyncio.sleep(0)  # there may be many, and a cache in memory does not wait

    def join(
        self, grid: Grid, indices: range, *, with_primes: bool, queue: Queue
    ) -> tuple[InFlight, range]:
        """The call in flight for the first of the pieces, and those neighbours it brings.

        The caller has looked in the cache. Joins the one under way, or
        starts one with a chunk of neighbours that are neither under way nor
        known. Returns it with the indices it serves, and counts the caller
        as waiting: `release` the call in flight in the end.
        """
        first = indices[0]
        in_flight = self._under_way(grid, first, with_primes)
        if in_flight is None:
            in_flight = self._start(grid, indices, with_primes, queue)
            served = in_flight.indices
        else:
            served = range(first, min(indices.stop, in_flight.indices.stop))
            self.stats.joined += len(served)
        in_flight.waiting += 1
        if in_flight.end_timer is not None:
            in_flight.end_timer.cancel()
        return in_flight, served

    def count_part(self, grid: Grid, index: int, part: Range, *, queue: Queue) -> InFlight:
        """A call that counts the primes of a part of one piece, and shares and keeps nothing.

        For the ends of a range whose primes are not kept: counting a part
        costs less than listing the piece. Its summary is of the part; `release`
        it in the end.
        """
        call = queue.submit(
            sieve,
            self._engine.name,
            [part],
            False,
            grid.selection,
            cost_s=counting_s(self._engine, part, grid.selection),
            memory_bytes=self._extra_bytes(grid, part, with_primes=False),
        )
        in_flight = InFlight(grid, range(index, index + 1), with_primes=False, call=call)
        in_flight.waiting = 1
        call.done.add_done_callback(partial(self._finished, in_flight, False))
        return in_flight

    def release(self, in_flight: InFlight) -> None:
        """Stop waiting for a call in flight; the last to leave drops it, see the rules."""
        in_flight.waiting -= 1
        self._drop_primes(in_flight)
        if in_flight.waiting or in_flight.call.done.done():
            return
        if not in_flight.call.started:
            self._drop(in_flight)
        else:
            loop = asyncio.get_running_loop()
            in_flight.end_timer = loop.call_later(GRACE_S, self._drop, in_flight)

    def _drop(self, in_flight: InFlight) -> None:
        # At once, so that nobody joins what will have no result.
        self._forget(in_flight)
        in_flight.call.cancel(grace_s=0)

    async def packed(self, grid: Grid, index: int, *, queue: Queue) -> Packed:
        """The packed primes of one piece: cached, under way, or sieved now."""
        found = await self.cached(grid, index)
        if found is not None:
            return found
        in_flight, _ = self.join(grid, range(index, index + 1), with_primes=True, queue=queue)
        try:
            await asyncio.wait([in_flight.done])
            in_flight.done.result()
            return in_flight.packed[index]
        finally:
            self.release(in_flight)

    def _under_way(self, grid: Grid, index: int, with_primes: bool) -> InFlight | None:
        in_flight = self._in_flight.get((grid.name, index, True))
        if in_flight is None and not with_primes:
            in_flight = self._in_flight.get((grid.name, index, False))
        return in_flight

    def _chunk(self, grid: Grid, indices: range, with_primes: bool) -> tuple[range, float]:
        """The longest run of missing pieces from the first on that is one chunk, and its cost."""
        chunk = indices[:CHUNK_PIECES]
        seconds = pieces_s(self._engine, grid, chunk, listed=with_primes)
        most = len(chunk) * CHUNK_S / seconds
        if with_primes:
            widest = max(expected_primes(grid.piece(chunk[at])) for at in (0, -1))
            most = min(most, self._chunk_bytes / widest)
        chunk = chunk[: max(int(most), 1)]
        for number, index in enumerate(chunk[1:], start=1):
            if (
                self._under_way(grid, index, with_primes) is not None
                or self._summaries.get(grid, index) is not None
            ):
                chunk = chunk[:number]
                break
        return chunk, pieces_s(self._engine, grid, chunk, listed=with_primes)

    def _start(self, grid: Grid, indices: range, with_primes: bool, queue: Queue) -> InFlight:
        chunk, seconds = self._chunk(grid, indices, with_primes)
        pieces = [grid.piece(index) for index in chunk]
        call = queue.submit(
            sieve,
            self._engine.name,
            pieces,
            with_primes,
            grid.selection,
            cost_s=seconds,
            # One after another: the last is as wide as any.
            memory_bytes=self._extra_bytes(grid, pieces[-1], with_primes=with_primes),
        )
        in_flight = InFlight(grid, chunk, with_primes=with_primes, call=call)
        for index in in_flight.indices:
            self._in_flight[grid.name, index, with_primes] = in_flight
        call.done.add_done_callback(partial(self._finished, in_flight, True))
        return in_flight

    def _extra_bytes(self, grid: Grid, piece: Range, *, with_primes: bool) -> int:
        listed = with_primes or not self._engine.counts(grid.selection)
        return extra_bytes(self._engine, piece, listed=listed)

    def _finished(
        self, in_flight: InFlight, keep: bool, call: "asyncio.Future[CallResult]"
    ) -> None:
        if in_flight.end_timer is not None:
            in_flight.end_timer.cancel()
        try:
            self._take(in_flight, call.result())
        except asyncio.CancelledError:
            in_flight.done.cancel()
        except Exception as error:  # whatever the worker raised is for those who wait
            in_flight.done.set_exception(error)
            in_flight.done.exception()  # seen: nobody has to wait
        else:
            if keep:
                self._note(in_flight)
            if keep and in_flight.packed:
                caching = asyncio.create_task(self._cache_all(in_flight))
                self._caching.add(caching)
                caching.add_done_callback(self._caching.discard)
                return  # until it is found in the cache it is found in flight
            in_flight.done.set_result(None)
        self._close(in_flight)

    def _take(self, in_flight: InFlight, result: CallResult) -> None:
        """Take what was found off the result, and give its memory back."""
        sieved: Sieved = result.value
        try:
            self.stats.sieved += len(in_flight.indices)
            in_flight.summaries.update(zip(in_flight.indices, sieved.summaries, strict=True))
            at = 0
            for index, length in zip(in_flight.indices, sieved.lengths, strict=False):
                in_flight.packed[index] = Packed(bytes(result.view[at : at + length]))
                at += length
        finally:
            result.release()

    def _note(self, in_flight: InFlight) -> None:
        for index, summary in in_flight.summaries.items():
            self._summaries.put(in_flight.grid, index, summary)
        if self._on_sieved is not None:
            self._on_sieved(in_flight.grid, in_flight.summaries)

    async def _cache_all(self, in_flight: InFlight) -> None:
        for index, packed in in_flight.packed.items():
            try:
                await self._cache.set(self.key(in_flight.grid, index), packed.data)
            except Exception as error:  # a cache elsewhere may fail in many ways
                self._cache_failed(error)
        in_flight.done.set_result(None)
        self._close(in_flight)

    def _close(self, in_flight: InFlight) -> None:
        """Nobody can join what is done."""
        self._forget(in_flight)
        self._drop_primes(in_flight)

    def _drop_primes(self, in_flight: InFlight) -> None:
        """Let go of the packed primes once they are stored and nobody waits for them."""
        if in_flight.waiting == 0 and in_flight.done.done():
            in_flight.packed.clear()

    def _cache_failed(self, error: Exception) -> None:
        """The work goes on without the cache; the log tells why it is slow."""
        self.stats.cache_errors += 1
        self._cache_trouble.note(
            "the cache failed, going on without it: %s: %s", type(error).__name__, error
        )

    def _forget(self, in_flight: InFlight) -> None:
        for index in in_flight.indices:
            key = (in_flight.grid.name, index, in_flight.with_primes)
            if self._in_flight.get(key) is in_flight:
                del self._in_flight[key]

    async def close(self) -> None:
        """Wait until what was found is in the cache; close the dispatcher first."""
        if self._caching:
            await asyncio.wait(list(self._caching))

    def __repr__(self) -> str:
        return f"<SegmentStore {len(self._in_flight)} pieces under way, {self.stats}>"
