"""Pages by prime index: the primes at their positions, at the same cost anywhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from primesvc import PrimeService, Settings
from primesvc.formats.base import Format
from primesvc.formats.binary import NPY
from primesvc.formats.catalog import FORMATS
from primesvc.results.layout import Layout
from primesvc.results.result import Result
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from tests.formats.files import primes_of, values_in
from tests.helpers import WAIT_S, eventually, finished, idle
from tests.oracles import PI_OF_POWERS, primes_between

HUGE = (2**32, 2**63, 2**64)

RANGES = {
    "one cell": (0, 1000),
    "some cells": (2**16 - 5000, 2**18 + 5000),
    "some segments": (10**7 - 5 * 10**6, 10**7 + 5 * 10**6),
    "wider segments from here on": (2**32 - 4 * 10**6, 2**32 + 4 * 10**6),
    "a power of ten": (10**12 - 20_000, 10**12 + 20_000),
    "without primes": (24, 28),
    "at the end": (2**64 - 40_000, 2**64 - 1),
}

# One service for all examples: they are requests that it gets one after another.
examples = hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(params=[256 * 2**20, 2**20], ids=["cached", "evicted"])
async def any_service(request: pytest.FixtureRequest) -> AsyncIterator[PrimeService]:
    """A service with a large cache, and one with a cache that holds next to nothing."""
    async with PrimeService(Settings(workers=2, cache_bytes=request.param)) as service:
        yield service


async def body(service: PrimeService, layout: Layout) -> bytes:
    """The whole file."""
    reader = service.read(layout, 0, layout.length)
    async with asyncio.timeout(WAIT_S), aclosing(reader) as parts:
        return b"".join([bytes(part.view) async for part in parts])


async def primes_in(service: PrimeService, page: Result | None) -> NDArray[np.uint64]:
    """The primes of a page, read as a file; none if there is no page. Its totals are right."""
    if page is None:
        return np.empty(0, np.uint64)
    data = await body(service, Layout(page, NPY))
    primes = np.frombuffer(data, "<u8", offset=128)
    assert page.total.count == len(primes) > 0
    assert page.total.digits == len("".join(map(str, primes.tolist())))
    assert page.plan.range.start == primes[0]
    assert page.plan.range.end == primes[-1]
    assert len(page.counts) == len(page.digits) == len(page.plan.indices)
    return primes


@examples
@given(data=st.data())
async def test_a_page_is_a_slice(any_service: PrimeService, data: st.DataObject) -> None:
    """The primes at [offset, offset + limit) of any result are those of the list of all."""
    ends = RANGES[data.draw(st.sampled_from(list(RANGES)))]
    primes = primes_of(*ends)
    result = Result.of(await finished(any_service, *ends))
    offset = data.draw(st.one_of(st.integers(0, len(primes) + 5), st.sampled_from(HUGE)))
    limit = data.draw(
        st.one_of(st.integers(0, 20), st.integers(0, len(primes) + 5), st.sampled_from(HUGE))
    )
    page = await any_service.page(result, offset, limit)
    np.testing.assert_array_equal(
        await primes_in(any_service, page), primes[offset : offset + limit]
    )
    assert (page is None) == (offset >= len(primes) or limit == 0)


@examples
@given(data=st.data())
async def test_a_page_of_a_page_is_a_slice_of_it(
    service: PrimeService, data: st.DataObject
) -> None:
    """A page is a result like any other: pages can be cut from it."""
    ends = RANGES["some cells"]
    primes = primes_of(*ends)
    page: Result | None = Result.of(await finished(service, *ends))
    for _ in range(3):
        assert page is not None
        offset = data.draw(st.integers(0, len(primes) - 1))
        limit = data.draw(st.integers(1, len(primes)))
        page = await service.page(page, offset, limit)
        primes = primes[offset : offset + limit]
        np.testing.assert_array_equal(await primes_in(service, page), primes)


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("some cells", CELLS),
        ("some segments", SEGMENTS),
        ("wider segments from here on", SEGMENTS),
    ],
)
async def test_pages_at_every_border_of_pieces(
    any_service: PrimeService, name: str, grid: Grid
) -> None:
    """Pages that begin or end next to where a piece does, or are a whole piece, are exact."""
    primes = primes_of(*RANGES[name])
    result = Result.of(await finished(any_service, *RANGES[name]))
    assert result.plan.grid is grid
    assert len(result.counts) > 1
    border = 0
    for count in result.counts.tolist():
        wanted = [(max(border + near, 0), size) for near in (-2, -1, 0, 1) for size in (1, 2, 3)]
        wanted += [(border, count), (border, count + 1), (max(border - 1, 0), count + 1)]
        for offset, limit in wanted:
            page = await any_service.page(result, offset, limit)
            got = await primes_in(any_service, page)
            np.testing.assert_array_equal(got, primes[offset : offset + limit])
        border += count


async def test_pages_across_a_power_of_ten(service: PrimeService) -> None:
    """Pages on both sides of a power of ten, and across it, know their digits."""
    for power in (10**3, 10**4, 10**6, 10**12):
        around = min(power // 10, 10**5)
        start, end = power - around, power + around
        primes = primes_of(start, end)
        result = Result.of(await finished(service, start, end))
        at = int(np.searchsorted(primes, np.uint64(power)))
        assert 3 < at < len(primes) - 5
        for offset, limit in ((at - 3, 3), (at - 3, 4), (at - 1, 2), (at, 1), (at, 5), (0, at + 1)):
            page = await service.page(result, offset, limit)
            got = await primes_in(service, page)
            np.testing.assert_array_equal(got, primes[offset : offset + limit])


@pytest.mark.parametrize("limit", [1, 7, 100, 168, 169])
async def test_pages_one_after_another_are_the_whole(service: PrimeService, limit: int) -> None:
    """Every prime is on one page, in order, whatever the size of a page."""
    result = Result.of(await finished(service, 0, 1000))
    found: list[int] = []
    while page := await service.page(result, len(found), limit):
        found += (await primes_in(service, page)).tolist()
    assert found == primes_between(0, 1000)


@pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)
async def test_a_page_is_a_file_in_every_format(service: PrimeService, format_: Format) -> None:
    """A page across pieces is a whole file: readers of its format need nothing else."""
    ends = RANGES["some cells"]
    result = Result.of(await finished(service, *ends))
    page = await service.page(result, 400, 2500)
    assert page is not None
    assert len(page.plan.indices) > 1
    layout = Layout(page, format_)
    data = await body(service, layout)
    assert len(data) == layout.length
    assert values_in(format_.name, data) == primes_of(*ends)[400:2900].tolist()


@pytest.mark.parametrize(
    ("offset", "limit"),
    [(168, 1), (169, 1), (10**6, 5), (0, 0), (5, 0), (2**64, 0), (2**64, 2**64), (2**63, 1)],
)
async def test_there_is_no_page_behind_the_end(
    service: PrimeService, offset: int, limit: int
) -> None:
    """An offset behind the last prime, or a limit of none, is no page, however large it is."""
    result = Result.of(await finished(service, 0, 1000))
    assert result.total.count == 168
    assert await service.page(result, offset, limit) is None


async def test_a_limit_beyond_the_end_is_the_rest(service: PrimeService) -> None:
    """The last page is as long as there are primes left."""
    result = Result.of(await finished(service, 0, 1000))
    primes = primes_between(0, 1000)
    for limit in (8, 9, 10**6, *HUGE):
        page = await service.page(result, 160, limit)
        assert (await primes_in(service, page)).tolist() == primes[160:]


async def test_a_page_of_a_huge_result_costs_a_few_calls(service: PrimeService) -> None:
    """Of all primes to 10^9, any page of a few primes looks into two pieces at the most."""
    job = await finished(service, 0, 10**9)
    result = Result.of(job)
    await eventually(lambda: idle(service))
    before, sieved = service.runtime.dispatcher.calls, service.runtime.store.stats.sieved
    page = await service.page(result, PI_OF_POWERS[8] - 3, 8)
    assert service.runtime.store.stats.sieved - sieved <= 2
    found = await primes_in(service, page)
    assert found.tolist() == primes_between(10**8 - 41, 10**8 + 73)
    # Two pieces to find the ends, two to read them.
    assert service.runtime.dispatcher.calls - before <= 4
    last = await service.page(result, PI_OF_POWERS[9] - 1, 5)
    assert (await primes_in(service, last)).tolist() == [999_999_937]
