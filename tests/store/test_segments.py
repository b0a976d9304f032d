"""The store of pieces: one call a piece, whoever wants it, and caches that cannot be trusted."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from aiocache.base import BaseCache
from numpy.typing import NDArray

from primesvc import PrimeService, Settings
from primesvc.sieve.engine import load_engine
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.packed import Packed, Summary, pack
from primesvc.sieve.range import Range
from primesvc.store import segments
from primesvc.store.in_flight import InFlight
from primesvc.store.lru import LRUCache
from primesvc.store.segments import CHUNK_PIECES, SegmentStore
from tests.helpers import WAIT_S, eventually

HEAVY = SEGMENTS.index(10**15)
"""About 0.1 s of work: a worker busy with it takes no other, and it is no express call."""

# A cell is sieved on the event loop, a segment by a worker: nobody is to notice.
grids = pytest.mark.parametrize("grid", [CELLS, SEGMENTS], ids=lambda grid: grid.name)


@pytest.fixture
def cache() -> LRUCache:
    """The cache of the service, to look into and to tamper with."""
    return LRUCache(max_bytes=2**26)


@pytest.fixture
async def service(cache: LRUCache) -> AsyncIterator[PrimeService]:
    """A service with one worker, which one heavy piece keeps busy."""
    async with PrimeService(Settings(workers=1), cache=cache) as service:
        yield service


@pytest.fixture
def store(service: PrimeService) -> SegmentStore:
    """The store of the service."""
    return service.runtime.store


def join(
    service: PrimeService, grid: Grid, indices: range, *, with_primes: bool = True
) -> tuple[InFlight, range]:
    """Join the call in flight for the pieces, as a new client of the workers."""
    queue = service.runtime.dispatcher.queue("test")
    return service.runtime.store.join(grid, indices, with_primes=with_primes, queue=queue)


def join_one(
    service: PrimeService, grid: Grid, index: int, *, with_primes: bool = True
) -> InFlight:
    """Join the call in flight for one piece."""
    return join(service, grid, range(index, index + 1), with_primes=with_primes)[0]


async def finishing(in_flight: InFlight) -> InFlight:
    """Wait for a call in flight, however it ends."""
    await asyncio.wait([in_flight.done], timeout=WAIT_S)
    assert in_flight.done.done(), f"{in_flight} did not end"
    return in_flight


def under_way(store: SegmentStore) -> int:
    """How many pieces are under way: what must be nothing once nobody wants anything."""
    return len(store._in_flight)


def primes_of(piece: Range) -> NDArray[np.uint64]:
    """The primes of a piece, from the engine that the service does not use."""
    return load_engine("numpy").primes(piece.start, piece.end)


@grids
async def test_two_who_want_a_piece_share_one_call(
    service: PrimeService, store: SegmentStore, grid: Grid
) -> None:
    """The second to want a piece joins the call of the first, and it is sieved once."""
    first = join_one(service, grid, 5)
    second = join_one(service, grid, 5)
    assert second is first
    assert store.stats.joined == 1
    await finishing(first)
    np.testing.assert_array_equal(first.packed[5].primes(), primes_of(grid.piece(5)))
    assert first.summaries[5] == first.packed[5].summary(grid.piece(5))
    assert store.stats.sieved == 1
    store.release(first)
    store.release(second)
    assert under_way(store) == 0


@grids
async def test_many_readers_of_a_piece_sieve_it_once(
    service: PrimeService, store: SegmentStore, grid: Grid
) -> None:
    """Fifty readers at once get the same primes from one call, and later ones from the cache."""
    queue = service.runtime.dispatcher.queue("test")
    async with asyncio.timeout(WAIT_S):
        found = await asyncio.gather(*(store.packed(grid, 9, queue=queue) for _ in range(50)))
        later = await store.packed(grid, 9, queue=queue)
    expected = primes_of(grid.piece(9))
    for packed in (*found, later):
        np.testing.assert_array_equal(packed.primes(), expected)
    assert (store.stats.sieved, store.stats.joined, store.stats.hits) == (1, 49, 1)


async def test_a_call_takes_neighbours_along(service: PrimeService, store: SegmentStore) -> None:
    """Cheap pieces travel in one call, up to a bound; those that are wanted next come with it."""
    in_flight, served = join(service, CELLS, range(10, 10 + 10 * CHUNK_PIECES))
    assert served == in_flight.indices
    assert served.start == 10
    assert 1 < len(served) <= CHUNK_PIECES
    await finishing(in_flight)
    assert list(in_flight.packed) == list(in_flight.summaries) == list(served)
    assert store.stats.sieved == len(served)
    for index in (served[0], served[-1]):
        assert await store.holds(CELLS, index)
        assert store.summary(CELLS, index) == in_flight.summaries[index]
    store.release(in_flight)


async def test_a_chunk_of_costly_pieces_is_one_piece(service: PrimeService) -> None:
    """A piece that is a chunk's work by itself travels alone."""
    in_flight, served = join(service, SEGMENTS, range(HEAVY, HEAVY + 100))
    assert served == range(HEAVY, HEAVY + 1)
    service.runtime.store.release(await finishing(in_flight))


async def test_a_chunk_ends_before_what_is_known_or_under_way(
    service: PrimeService, store: SegmentStore
) -> None:
    """Pieces that somebody else has or gets are not sieved again within a run of neighbours."""
    known = await finishing(join_one(service, CELLS, 13))
    flying = join_one(service, CELLS, 17)
    first, served = join(service, CELLS, range(10, 30))
    assert served == range(10, 13)
    second, served = join(service, CELLS, range(14, 30))
    assert served == range(14, 17)
    third, served = join(service, CELLS, range(17, 30))
    assert (third, served) == (flying, range(17, 18))
    for in_flight in (known, flying, first, second, third):
        store.release(await finishing(in_flight))
    assert store.stats.sieved == 8


async def test_joining_a_call_midway_serves_its_rest(
    service: PrimeService, store: SegmentStore
) -> None:
    """Who joins a call in the middle of its pieces gets the rest of them."""
    in_flight, _ = join(service, CELLS, range(10, 20))
    for wanted, expected in ((range(12, 15), range(12, 15)), (range(18, 25), range(18, 20))):
        joined, served = join(service, CELLS, wanted)
        assert joined is in_flight
        assert served == expected
        store.release(joined)
    assert store.stats.joined == 5
    store.release(await finishing(in_flight))


async def test_the_last_to_leave_drops_a_call_that_has_not_begun(
    service: PrimeService, store: SegmentStore
) -> None:
    """A call that still waits for a worker is not made once nobody wants it, and nobody joins it.

    The worker is busy meanwhile with something else.
    """
    busy = join_one(service, SEGMENTS, HEAVY)
    assert busy.call.started
    unwanted = join_one(service, SEGMENTS, HEAVY + 1)
    assert not unwanted.call.started
    store.release(unwanted)
    assert under_way(store) == 1
    again = join_one(service, SEGMENTS, HEAVY + 1)
    assert again is not unwanted
    store.release(again)
    await finishing(unwanted)
    assert unwanted.done.cancelled()
    store.release(await finishing(busy))
    async with asyncio.timeout(WAIT_S):
        await service.count(Range(0, 10))  # the worker has come past the place of the dropped call
    assert store.stats.sieved == 2
    assert store.summary(SEGMENTS, HEAVY + 1) is None
    assert under_way(store) == 0


async def test_one_of_two_who_leaves_drops_nothing(
    service: PrimeService, store: SegmentStore
) -> None:
    """A call in flight goes on for the one who still waits, whoever of the two began it."""
    busy = join_one(service, SEGMENTS, HEAVY)
    wanted = join_one(service, SEGMENTS, HEAVY + 1)
    assert join_one(service, SEGMENTS, HEAVY + 1) is wanted
    assert not wanted.call.started
    store.release(wanted)
    await finishing(wanted)
    assert wanted.done.result() is None
    assert wanted.summaries[HEAVY + 1].count == wanted.packed[HEAVY + 1].count > 0
    for in_flight in (busy, wanted):
        store.release(in_flight)


@grids
async def test_a_call_that_has_begun_and_ends_soon_is_kept(
    service: PrimeService, store: SegmentStore, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker has begun is not thrown away when the last one leaves."""
    monkeypatch.setattr(segments, "GRACE_S", WAIT_S)
    in_flight = join_one(service, grid, 5)
    assert in_flight.call.started
    store.release(in_flight)
    await finishing(in_flight)
    assert store.summary(grid, 5) is not None
    assert await store.holds(grid, 5)


async def test_a_call_that_takes_long_is_ended(service: PrimeService, store: SegmentStore) -> None:
    """A moment after the last one has left, its worker is killed; what is asked then comes."""
    grid = Grid("one piece", ((0, 40),))  # takes minutes
    queue = service.runtime.dispatcher.queue("test")
    in_flight, _ = store.join(grid, range(1), with_primes=False, queue=queue)
    await eventually(lambda: in_flight.call.started)
    store.release(in_flight)
    await finishing(in_flight)
    assert in_flight.done.cancelled()
    assert store.summary(grid, 0) is None
    async with asyncio.timeout(WAIT_S):
        await store.packed(SEGMENTS, 5, queue=queue)


async def test_who_joins_in_time_keeps_a_call(
    service: PrimeService, store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that nobody waited for a moment ago goes on for the one who wants it now."""
    monkeypatch.setattr(segments, "GRACE_S", 0.3)
    first = join_one(service, SEGMENTS, 5)
    store.release(first)
    second = join_one(service, SEGMENTS, 5)
    assert second is first
    await finishing(second)
    assert not second.done.cancelled()
    store.release(second)


async def test_a_reader_who_gives_up_leaves_nothing_behind() -> None:
    """A cancelled reader drops its call, but not the one that another waits for."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(gate.wait, WAIT_S)
        async with PrimeService(Settings(workers=1), executor=executor) as service:
            store, queue = service.runtime.store, service.runtime.dispatcher.queue("test")
            busy = join_one(service, SEGMENTS, HEAVY)
            alone = asyncio.create_task(store.packed(SEGMENTS, HEAVY + 1, queue=queue))
            one = asyncio.create_task(store.packed(SEGMENTS, HEAVY + 2, queue=queue))
            other = asyncio.create_task(store.packed(SEGMENTS, HEAVY + 2, queue=queue))
            await eventually(lambda: under_way(store) == 3 and store.stats.joined == 1)
            for task in (alone, one):
                task.cancel()
            await asyncio.wait([alone, one], timeout=WAIT_S)
            assert alone.cancelled()
            assert one.cancelled()
            assert under_way(store) == 2
            gate.set()
            async with asyncio.timeout(WAIT_S):
                assert (await other).count > 0
            store.release(await finishing(busy))
            assert store.stats.sieved == 2


class FlakyExecutor(ThreadPoolExecutor):
    """An embedder's executor that loses the first call."""

    lost = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """As every executor's, from the second call on."""
        if self.lost:
            return super().submit(fn, *args, **kwargs)
        self.lost = True
        future: Future[Any] = Future()
        future.set_exception(OSError("the machine is gone"))
        return future


async def test_a_failed_call_fails_those_who_wait_and_nobody_later() -> None:
    """All who wait for a call get its error; who wants the piece next begins a new one."""
    with FlakyExecutor(1) as executor:
        async with PrimeService(Settings(workers=1), executor=executor) as service:
            store, queue = service.runtime.store, service.runtime.dispatcher.queue("test")
            readers = (store.packed(CELLS, 5, queue=queue) for _ in range(3))
            async with asyncio.timeout(WAIT_S):
                errors = await asyncio.gather(*readers, return_exceptions=True)
            assert {str(error) for error in errors} == {"the machine is gone"}
            assert under_way(store) == 0
            async with asyncio.timeout(WAIT_S):
                packed = await store.packed(CELLS, 5, queue=queue)
            np.testing.assert_array_equal(packed.primes(), primes_of(CELLS.piece(5)))
            assert store.stats.sieved == 1


@grids
async def test_who_needs_primes_does_not_wait_for_a_count(
    service: PrimeService, store: SegmentStore, grid: Grid
) -> None:
    """A call that only counts has no primes to bring, so a second one is begun for them."""
    counting = join_one(service, grid, 5, with_primes=False)
    listing = join_one(service, grid, 5, with_primes=True)
    assert listing is not counting
    assert store.stats.joined == 0
    await finishing(counting)
    await finishing(listing)
    assert not counting.packed
    assert listing.packed[5].count == counting.summaries[5].count
    assert listing.summaries == counting.summaries
    for in_flight in (counting, listing):
        store.release(in_flight)


@grids
async def test_who_needs_a_count_joins_a_call_with_primes(
    service: PrimeService, store: SegmentStore, grid: Grid
) -> None:
    """A call that brings primes counts them too, so it serves both."""
    listing = join_one(service, grid, 5, with_primes=True)
    counting = join_one(service, grid, 5, with_primes=False)
    assert counting is listing
    for in_flight in (await finishing(listing), counting):
        store.release(in_flight)
    assert (store.stats.sieved, store.stats.joined) == (1, 1)


async def test_a_count_stores_no_primes(service: PrimeService, store: SegmentStore) -> None:
    """A call that only counts fills the table of summaries and leaves the cache alone."""
    in_flight = await finishing(join_one(service, CELLS, 0, with_primes=False))
    assert store.summary(CELLS, 0) == Summary(6542, 4 + 21 * 2 + 143 * 3 + 1061 * 4 + 5313 * 5)
    assert not await store.holds(CELLS, 0)
    assert await store.cached(CELLS, 0) is None
    store.release(in_flight)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"nonsense, but longer than a header",
        "text of another program's",
        17,
        ["a", "list"],
        pack(np.array([2, 3, 5, 7], np.uint64), CELLS.piece(5))[:-1],
    ],
    ids=["empty", "nonsense", "text", "number", "list", "truncated"],
)
async def test_what_cannot_be_read_is_sieved_again(
    service: PrimeService, store: SegmentStore, cache: LRUCache, damaged: object
) -> None:
    """An entry that is no packed primes is counted, sieved again and replaced."""
    piece = CELLS.piece(5)
    await cache.set(store.key(CELLS, 5), damaged)
    queue = service.runtime.dispatcher.queue("test")
    async with asyncio.timeout(WAIT_S):
        packed = await store.packed(CELLS, 5, queue=queue)
    np.testing.assert_array_equal(packed.primes(), primes_of(piece))
    assert (store.stats.damaged, store.stats.sieved, store.stats.hits) == (1, 1, 0)
    repaired = await store.cached(CELLS, 5)
    assert repaired is not None
    np.testing.assert_array_equal(repaired.primes(), primes_of(piece))


async def test_a_piece_is_cached_as_packed_bytes_under_its_ends(
    service: PrimeService, store: SegmentStore, cache: LRUCache
) -> None:
    """What another replica would find in a shared cache is named and made as documented."""
    store.release(await finishing(join_one(service, CELLS, 0)))
    data = await cache.get("primes:0:65535")
    assert isinstance(data, bytes)
    np.testing.assert_array_equal(Packed(data).primes(), primes_of(Range(0, 65535)))


async def test_looking_whether_a_piece_is_held_is_no_use_of_it(
    service: PrimeService, store: SegmentStore
) -> None:
    """To ask is neither a hit nor a miss, and brings nothing."""
    assert not await store.holds(CELLS, 5)
    store.release(await finishing(join_one(service, CELLS, 5)))
    assert await store.holds(CELLS, 5)
    assert store.stats.hits == 0


class BrokenCache(BaseCache):  # type: ignore[misc]  # aiocache has no annotations
    """An embedder's cache whose server is gone."""

    NAME = "broken"

    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("the cache is gone")

    async def _set(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("the cache is gone")

    async def _exists(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("the cache is gone")


class SilentCache(BrokenCache):
    """An embedder's cache whose server never answers; aiocache's timeout ends each command."""

    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.Event().wait()

    _set = _exists = _get


@pytest.mark.parametrize("cache", [BrokenCache(), SilentCache(timeout=0.01)])
async def test_a_cache_that_fails_costs_only_time(
    cache: BaseCache, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a cache that works counts and primes are right all the same, and the log says why."""
    async with PrimeService(Settings(workers=1), cache=cache) as service:
        range_ = Range(1000, 200_000)
        async with asyncio.timeout(WAIT_S):
            assert await service.count(range_) == 17_984 - 168
            job = await (await service.submit(range_)).wait()
            arrays = [array async for array in service.primes(job)]
        np.testing.assert_array_equal(np.concatenate(arrays), primes_of(range_))
        assert service.runtime.store.stats.cache_errors > 0
        assert service.runtime.store.stats.hits == 0
    assert caplog.text.count("the cache failed, going on without it") == 1
    await cache.close()


class FlakyCache(BrokenCache):
    """An embedder's cache that fails every other time it is asked."""

    asked = 0

    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        if self.asked % 2:
            raise ConnectionError("the cache is gone")


async def test_a_cache_that_fails_now_and_then_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line tells that it failed, and one that it works again, however often it does."""
    caplog.set_level("INFO")
    cache = FlakyCache()
    async with PrimeService(Settings(workers=1), cache=cache) as service:
        store = service.runtime.store
        for index in range(100):
            await store.cached(SEGMENTS, index)
        assert store.stats.cache_errors == 50
    lines = [record.getMessage().split(",")[0] for record in caplog.records]
    assert lines == ["the cache failed", "the cache works again"]
