"""Any bytes of any result: equal to the file in memory, at a cost that does not grow with it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from primesvc import Job, PrimeService, Settings
from primesvc.formats.base import Format
from primesvc.formats.binary import ARROW, NPY
from primesvc.formats.coding import CODINGS, Assembly
from primesvc.formats.text import CSV, JSON, TEXT
from primesvc.results.layout import Layout
from primesvc.results.result import Result
from primesvc.sieve.grid import CELLS, SEGMENTS
from primesvc.store.lru import LRUCache
from tests.formats.files import (
    EVERY_FORMAT,
    arrow_batches,
    decoded,
    file_of,
    primes_of,
    values_in,
    written_elsewhere,
)
from tests.helpers import WAIT_S, eventually, finished, idle
from tests.oracles import PI_OF_POWERS, primes_between

LITTLE_CACHE = 2**20
"""Room for the primes of a piece or two: most are sieved again when they are read."""

SMALL = {
    "at the beginning": (0, 60),
    "no primes": (24, 28),
    "one prime": (24, 29),
    "two cells": (2**16 - 40, 2**16 + 40),
    "an empty first and an empty last cell": (3 * 2**16 - 1, 4 * 2**16),
    "two segments and a power of ten": (10**7 - 20, 10**7 + 60),
    "two segments": (2**22 - 60, 2**22 + 60),
    "at the end": (2**64 - 600, 2**64 - 1),
}

DEAR = "segments that are dear to sieve"

LARGE = {
    "low": (0, 10**7),
    "cells": (65_000, 300_000),
    "segments that take several calls": (2**32 - 10**6, 2**32 + 2**24 + 10**5),
    "a power of ten": (10**12 - 10**6, 10**12 + 10**6),
    DEAR: (3_725_291 * 2**28 - 8 * 10**6, 3_725_291 * 2**28 + 8 * 10**6),
    "at the end": (2**64 - 50_000, 2**64 - 1),
}

# One service for all examples: they are requests that it gets one after another.
examples = hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
every_format = pytest.mark.parametrize("format_", EVERY_FORMAT.values(), ids=EVERY_FORMAT)


@pytest.fixture(params=[256 * 2**20, LITTLE_CACHE], ids=["cached", "evicted"])
async def any_service(request: pytest.FixtureRequest) -> AsyncIterator[PrimeService]:
    """A service with a large cache, and one with a cache that holds next to nothing."""
    async with PrimeService(Settings(workers=2, cache_bytes=request.param)) as service:
        yield service


@pytest.fixture
async def small_cache() -> AsyncIterator[PrimeService]:
    """A service with a cache that holds next to nothing."""
    async with PrimeService(Settings(workers=2, cache_bytes=LITTLE_CACHE)) as service:
        yield service


@pytest.fixture
async def forgetful() -> AsyncIterator[PrimeService]:
    """A service that keeps no primes at all."""
    async with PrimeService(Settings(workers=2), cache=LRUCache(max_bytes=0)) as service:
        yield service


def layout_of(job: Job, format_: Format) -> Layout:
    """The layout of a job's result in a format."""
    return Layout(Result.of(job.collected), format_)


async def read(
    service: PrimeService, layout: Layout, first: int, stop: int, *, gentle: bool = False
) -> bytes:
    """The bytes [first, stop); each part says how many they are."""
    parts = []
    async with (
        asyncio.timeout(WAIT_S),
        aclosing(service.read(layout, first, stop, gentle=gentle)) as reader,
    ):
        async for part in reader:
            assert part.raw_bytes == len(part.view) > 0
            parts.append(bytes(part.view))
    return b"".join(parts)


def windows_of(length: int) -> Iterator[tuple[int, int]]:
    """All windows [first, stop) of a short file; of a longer one some from, to and around bytes."""
    if length <= 30:
        yield from ((u, v) for u in range(length + 1) for v in range(u, length + 1))
        return
    for at in range(0, length + 1, 1 + length // 15):
        yield from ((0, at), (at, length), (at, min(at + 9, length)))


# --- exact -------------------------------------------------------------------------------------


@every_format
async def test_a_small_file_is_what_others_write(service: PrimeService, format_: Format) -> None:
    """The whole file holds the primes that GMP finds, as the standard libraries write them."""
    for start, end in SMALL.values():
        layout = layout_of(await finished(service, start, end), format_)
        file = await read(service, layout, 0, layout.length)
        primes = primes_between(start, end)
        assert layout.length == len(file)
        assert values_in(format_.name, file) == primes
        assert file == file_of(format_.name, start, end)
        if format_ not in (NPY, ARROW):
            assert file == written_elsewhere(format_.name, primes)


@every_format
async def test_every_window_of_small_files(
    service: PrimeService, forgetful: PrimeService, format_: Format
) -> None:
    """Every byte range of small results is that of the file, for fast and for slow takers."""
    for start, end in SMALL.values():
        file = file_of(format_.name, start, end)
        for which in (service, forgetful):
            layout = layout_of(await finished(which, start, end), format_)
            for first, stop in windows_of(len(file)):
                gentle = (first + stop) % 3 == 0
                got = await read(which, layout, first, stop, gentle=gentle)
                assert got == file[first:stop], (start, end, first, stop)


@examples
@given(data=st.data())
async def test_any_window_of_large_files(any_service: PrimeService, data: st.DataObject) -> None:
    """Random byte ranges of results all over the line, cached and sieved again, are exact."""
    name = data.draw(st.sampled_from(list(LARGE)))
    # One of each kind: with separators of one byte and two, with a head, with batches.
    kinds = ("json", "contract", "json-strings", "csv", "npy", "arrow")
    format_ = EVERY_FORMAT[data.draw(st.sampled_from(kinds if name != DEAR else kinds[-2:]))]
    file = file_of(format_.name, *LARGE[name])
    first = data.draw(st.integers(0, len(file)))
    size = data.draw(st.one_of(st.integers(0, 300), st.integers(0, len(file) - first)))
    gentle = data.draw(st.booleans())
    stop = min(first + size, len(file))
    layout = layout_of(await finished(any_service, *LARGE[name]), format_)
    assert layout.length == len(file)
    got = await read(any_service, layout, first, stop, gentle=gentle)
    assert got == file[first:stop]


@pytest.mark.slow
async def test_large_files_whole_and_from_their_midst(any_service: PrimeService) -> None:
    """Files are exact in parts of every kind: text, eight bytes a prime, batches."""
    for name, ends in LARGE.items():
        job = await finished(any_service, *ends)
        for format_ in (JSON, NPY, ARROW) if name != DEAR else (JSON,):
            file = file_of(format_.name, *ends)
            layout = layout_of(job, format_)
            length = len(file)
            for first, stop in (
                (0, length),
                (length // 3, length // 3 + 99),
                (length // 2, length),
            ):
                assert await read(any_service, layout, first, stop) == file[first:stop]
        file = file_of("json", *ends)
        layout = layout_of(job, JSON)
        assert await read(any_service, layout, 1, len(file) - 1, gentle=True) == file[1:-1]


async def test_windows_at_every_border_of_pieces(any_service: PrimeService) -> None:
    """Ranges that begin or end within two bytes of where a piece does are exact."""
    start, end = LARGE["low"]
    job = await finished(any_service, start, end)
    for format_ in (JSON, ARROW):
        layout = layout_of(job, format_)
        file = file_of(format_.name, start, end)
        windows = layout.pieces(0, layout.length)
        at = len(layout.head)
        for number in range(len(windows)):
            at += windows[number].length
            for near in range(at - 2, min(at + 3, len(file))):
                for first, stop in ((near, min(near + 50, len(file))), (near - 50, near)):
                    got = await read(any_service, layout, first, stop)
                    assert got == file[first:stop]


@pytest.mark.parametrize("coding", CODINGS)
async def test_coded_parts_stand_for_the_file(any_service: PrimeService, coding: str) -> None:
    """A reader that codes its parts, begun anywhere, gives what decodes to the rest of the file."""
    for name, first, gentle in (
        ("low", 0, False),
        ("low", 3_000_001, True),
        ("a power of ten", 7, True),
        ("a power of ten", 777_777, False),
    ):
        layout = layout_of(await finished(any_service, *LARGE[name]), JSON)
        file = file_of("json", *LARGE[name])
        assembly = Assembly(coding)
        body, raw_bytes = assembly.head(), 0
        reader = any_service.read(layout, first, len(file), coding=coding, gentle=gentle)
        async with asyncio.timeout(WAIT_S), aclosing(reader) as parts:
            async for part in parts:
                assembly.add(part.raw_bytes, part.crc)
                raw_bytes += part.raw_bytes
                body += bytes(part.view)
        assert raw_bytes == len(file) - first
        assert decoded(coding, body + assembly.tail()) == file[first:]


async def test_an_arrow_file_does_not_tell_how_it_was_collected(service: PrimeService) -> None:
    """A narrow range has the same batches whether its segments were cached or only its cells."""
    border = 3 * 2**26
    start, end = border - 100_000, border + 100_000
    cold = await finished(service, start, end)
    assert cold.collected.plan.grid is CELLS
    async with PrimeService(Settings(workers=2)) as other:
        await finished(other, border - 2**22, border + 2**22)
        warm = await finished(other, start, end)
        assert warm.collected.plan.grid is SEGMENTS
        layouts = [layout_of(job, ARROW) for job in (cold, warm)]
        assert layouts[0].length == layouts[1].length
        files = [
            await read(which, layout, 0, layout.length)
            for which, layout in zip((service, other), layouts, strict=True)
        ]
    assert files[0] == files[1]
    assert arrow_batches(files[0]) == [
        primes_of(start, border - 1).tolist(),
        primes_of(border, end).tolist(),
    ]


# --- cheap ---------------------------------------------------------------------------------------


async def test_any_byte_of_a_huge_file_is_a_few_calls_away(service: PrimeService) -> None:
    """Of all primes to 10^10, 100 bytes anywhere cost three calls at the most.

    Where the first prime above 10^9 stands is known from published counts.
    """
    job = await finished(service, 0, 10**10)
    assert job.collected.summary.count == PI_OF_POWERS[10]
    assert not job.collected.plan.keep
    below = PI_OF_POWERS[9]
    digits = sum((PI_OF_POWERS[k] - PI_OF_POWERS[k - 1]) * k for k in range(1, 10))
    known = primes_between(10**9, 10**9 + 300)
    places: dict[Format, tuple[int, bytes]] = {
        JSON: (1 + digits + below, ",".join(map(str, known)).encode()),
        TEXT: (digits + below, "".join(f"{prime}\n" for prime in known).encode()),
        NPY: (128 + 8 * below, np.array(known, "<u8").tobytes()),
    }
    for format_, (first, expected) in places.items():
        layout = layout_of(job, format_)
        before = service.runtime.dispatcher.calls
        assert await read(service, layout, first, first + 100) == expected[:100]
        assert service.runtime.dispatcher.calls - before <= 3
        for at in (0, layout.length // 3, layout.length // 2, layout.length - 100):
            before = service.runtime.dispatcher.calls
            assert len(await read(service, layout, at, at + 100)) == 100
            assert service.runtime.dispatcher.calls - before <= 3
            await eventually(lambda: idle(service))


async def test_the_head_and_the_tail_cost_no_call(service: PrimeService) -> None:
    """Bytes of no prime are there without any work."""
    layout = layout_of(await finished(service, 0, 3 * 10**7), CSV)
    await eventually(lambda: idle(service))
    before = service.runtime.dispatcher.calls
    assert await read(service, layout, 0, 6) == b"prime\n"
    assert await read(service, layout, 6, 6) == b""
    assert await read(service, layout, layout.length, layout.length) == b""
    assert service.runtime.dispatcher.calls == before


@pytest.mark.parametrize("gentle", [False, True], ids=["fast", "gentle"])
async def test_a_reader_that_waits_has_few_calls_under_way(
    small_cache: PrimeService, *, gentle: bool
) -> None:
    """However long the file, a reader that does not go on has a few calls done, and no more."""
    layout = layout_of(await finished(small_cache, 0, 10**8), JSON)
    await eventually(lambda: idle(small_cache))
    before = small_cache.runtime.dispatcher.calls
    ahead = 1 if gentle else small_cache.workers + 2
    async with aclosing(small_cache.read(layout, 0, layout.length, gentle=gentle)) as parts:
        async with asyncio.timeout(WAIT_S):
            for _ in range(2):  # the first part is the head
                await anext(parts)
        await eventually(lambda: not small_cache.runtime.dispatcher._running)
        # Pieces to be packed before they are rendered are a call each.
        assert small_cache.runtime.dispatcher.calls - before <= 2 * ahead
    await eventually(lambda: idle(small_cache))


# --- left early ----------------------------------------------------------------------------------


def queued(service: PrimeService) -> int:
    """How many calls wait for a worker that somebody still wants."""
    queues = service.runtime.dispatcher._waiting
    return sum(not call.done.done() for queue in queues for call in queue.calls)


@pytest.mark.parametrize("name", ["low", DEAR])
async def test_a_reader_closed_early_leaves_nothing(small_cache: PrimeService, name: str) -> None:
    """Closed after any part, a reader has nothing queued, and soon nothing running or leased."""
    layout = layout_of(await finished(small_cache, *LARGE[name]), JSON)
    for taken, gentle in product((0, 1, 3) if name == "low" else (1,), (False, True)):
        reader = small_cache.read(layout, 3, layout.length, gentle=gentle)
        async with asyncio.timeout(WAIT_S), aclosing(reader) as parts:
            for _ in range(taken):
                await anext(parts)
        assert not queued(small_cache)
        await eventually(lambda: idle(small_cache))


@pytest.mark.parametrize("name", ["low", DEAR])
async def test_a_reader_cancelled_while_it_waits_leaves_nothing(
    small_cache: PrimeService, name: str
) -> None:
    """A task that is cancelled in the midst of a read frees all that was under way for it."""
    start, end = LARGE[name]
    if name == DEAR:
        end += 3 * 2**28  # more of them than there are workers
    layout = layout_of(await finished(small_cache, start, end), JSON)
    await eventually(lambda: idle(small_cache))
    for first in (layout.length // 2, 0):
        task = asyncio.create_task(read(small_cache, layout, first, layout.length))
        await eventually(lambda: bool(small_cache.runtime.dispatcher._running))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not queued(small_cache)
        await eventually(lambda: idle(small_cache))
    file = file_of("json", *LARGE["low"])
    layout = layout_of(await finished(small_cache, *LARGE["low"]), JSON)
    assert await read(small_cache, layout, 5, len(file)) == file[5:]


async def test_readers_side_by_side_do_not_disturb_one_another(small_cache: PrimeService) -> None:
    """Readers of one file, each from another place, some left early, are exact."""
    layout = layout_of(await finished(small_cache, *LARGE["low"]), TEXT)
    file = file_of("text", *LARGE["low"])
    places = [n * (len(file) - 10**6) // 6 for n in range(7)]
    leaving = asyncio.create_task(read(small_cache, layout, 17, len(file)))
    reading = [
        asyncio.create_task(read(small_cache, layout, at, at + 10**6, gentle=at % 2 == 0))
        for at in places
    ]
    await eventually(lambda: bool(small_cache.runtime.dispatcher._running))
    leaving.cancel()
    got = await asyncio.gather(*reading)
    assert got == [file[at : at + 10**6] for at in places]
    await asyncio.wait([leaving])
    await eventually(lambda: idle(small_cache))
