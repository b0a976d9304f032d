"""Packed primes as a cache elsewhere may hand them out: the right ones, or refused."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from aiocache import SimpleMemoryCache
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from primesvc import PrimeService, Settings
from primesvc.sieve.engine import load_engine
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.packed import Packed, pack
from primesvc.sieve.range import MAX_NUMBER, Range
from tests.fuzz.search import cases, damages
from tests.helpers import WAIT_S

HEADER_BYTES = 16


def primes_of(range_: Range) -> NDArray[np.uint64]:
    """The primes of a range, from the engine that the services here do not use."""
    return load_engine("numpy").primes(range_.start, range_.end)


# Gaps of one byte and of two, none, 2 among them, and more than one mark.
RANGES = [
    Range(0, 1), Range(2, 2), Range(0, 100), Range(10**6, 10**6 + 2000), Range(24, 28),
    Range(304599508537, 304599509051), Range(10**6, 2 * 10**6),
]  # fmt: skip
PACKED = {range_: pack(primes_of(range_), range_) for range_ in RANGES}

ranges = st.sampled_from(RANGES)
numbers = st.integers(0, MAX_NUMBER)


def test_what_is_not_damaged_is_taken() -> None:
    """The check sum refuses nothing that is right."""
    for range_, data in PACKED.items():
        for view in (data, memoryview(data), bytearray(data)):
            packed = Packed(view)  # type: ignore[arg-type]
            packed.check(range_)
            np.testing.assert_array_equal(packed.primes(), primes_of(range_))


@cases(300)
@given(st.data(), ranges)
def test_damaged_primes_are_refused(data: st.DataObject, range_: Range) -> None:
    """Whatever was done to the bytes: they are refused, or they are what they were."""
    damaged = data.draw(damages(PACKED[range_]))
    try:
        Packed(damaged).check(range_)
    except ValueError:
        return
    assert damaged == PACKED[range_]


@pytest.mark.parametrize("range_", RANGES[:-1], ids=str)
def test_no_flipped_bit_goes_unnoticed(range_: Range) -> None:
    """Each single bit of every byte, one by one, be it of a gap, a mark, the sum or the header."""
    for bit in range(8 * len(PACKED[range_])):
        data = bytearray(PACKED[range_])
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="packed primes"):
            Packed(bytes(data)).check(range_)


@cases(100)
@given(ranges, ranges, numbers, numbers)
@example(Range(0, 1), Range(24, 28), 0, 0)
def test_primes_of_another_range_are_refused(
    range_: Range, other: Range, start: int, end: int
) -> None:
    """Whole bytes under the key of another range are not its primes, even where it has none."""
    for wanted in (other, Range(*sorted((start, end)))):
        if wanted != range_:
            with pytest.raises(ValueError, match=str(wanted)):
                Packed(PACKED[range_]).check(wanted)


@cases(300)
@given(st.data(), ranges, numbers)
def test_damaged_primes_do_no_harm_unchecked(
    data: st.DataObject, range_: Range, number: int
) -> None:
    """Bytes that are packed primes by their form can be asked anything, in bounded memory."""
    try:
        packed = Packed(data.draw(damages(PACKED[range_])))
    except ValueError:
        return
    assert packed.count <= len(packed.data)
    assert len(packed.primes()) == packed.count
    assert 0 <= packed.index(number) <= packed.count
    assert len(Packed(packed.window(0, number)).primes()) == min(number, packed.count)


# --- in a store ----------------------------------------------------------------------------------


@pytest.fixture
def cache() -> SimpleMemoryCache:
    """A cache that is not our own, as one elsewhere would be."""
    return SimpleMemoryCache()


@pytest.fixture
async def service(cache: SimpleMemoryCache) -> AsyncIterator[PrimeService]:
    """A service with the cache."""
    async with PrimeService(Settings(workers=1), cache=cache) as service:
        yield service
    await cache.clear()


@pytest.mark.parametrize(("grid", "index"), [(CELLS, 5), (SEGMENTS, 3)], ids=["cell", "segment"])
@pytest.mark.parametrize("what", ["flipped", "of a neighbour"])
async def test_a_damaged_entry_is_sieved_again(
    service: PrimeService, cache: SimpleMemoryCache, grid: Grid, index: int, what: str
) -> None:
    """One wrong gap, or the entry of another piece, is found, counted, and replaced."""
    piece = grid.piece(index)
    if what == "flipped":
        entry = bytearray(pack(primes_of(piece), piece))
        entry[-1] ^= 1
    else:
        entry = bytearray(pack(primes_of(grid.piece(index + 1)), grid.piece(index + 1)))
    store = service.runtime.store
    await cache.set(store.key(grid, index), bytes(entry))
    queue = service.runtime.dispatcher.queue("test")
    async with asyncio.timeout(WAIT_S):
        found = await store.packed(grid, index, queue=queue)
        again = await store.packed(grid, index, queue=queue)
    for packed in (found, again):
        np.testing.assert_array_equal(packed.primes(), primes_of(piece))
    assert (store.stats.damaged, store.stats.sieved, store.stats.hits) == (1, 1, 1)


@pytest.mark.slow
@cases(100)
@given(st.data())
async def test_any_entry_is_right_or_replaced(
    service: PrimeService, cache: SimpleMemoryCache, data: st.DataObject
) -> None:
    """Whatever a cache hands out for a piece, its primes come out."""
    piece = CELLS.piece(5)
    entry = data.draw(damages(pack(primes_of(piece), piece)) | st.text() | st.integers())
    await cache.set(service.runtime.store.key(CELLS, 5), entry)
    queue = service.runtime.dispatcher.queue("test")
    async with asyncio.timeout(WAIT_S):
        packed = await service.runtime.store.packed(CELLS, 5, queue=queue)
    np.testing.assert_array_equal(packed.primes(), primes_of(piece))
