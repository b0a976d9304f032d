"""Plans: the grid and what is kept, chosen from the range, what is cached and what it costs."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc import PrimeService, Settings
from primesvc.collect.plan import (
    KEEP_SHARE,
    MAX_CELLS,
    Plan,
    first_plan,
    make_plan,
    plan_cost_s,
)
from primesvc.kinds.count import Count
from primesvc.kinds.primes import Primes
from primesvc.sieve.engine import counting_s, load_engine
from primesvc.sieve.grid import CELLS, SEGMENTS
from primesvc.sieve.range import MAX_NUMBER, Range
from primesvc.sieve.selection import ALL, Selection
from primesvc.store.segments import CHUNK_S
from tests.helpers import WAIT_S


async def plan_of(service: PrimeService, start: int, end: int, *, cache_bytes: int = 2**28) -> Plan:
    """The plan for a range, checked to cover it and no more."""
    range_ = Range(start, end)
    plan = await make_plan(range_, service.runtime.store, service.engine, cache_bytes=cache_bytes)
    assert plan.range == range_
    assert plan.indices == plan.grid.cover(range_)
    return plan


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 100),
        (4, 4),
        (10**9, 10**9 + 10_000),
        (10**12 - 5000, 10**12 + 5000),
        (10**15, 10**15 + 100_000),
        (10**18, 10**18 + 1),
        (2**44 + 762_495, 2**44 + 762_494 + 2**20),
        (MAX_NUMBER - 10_000, MAX_NUMBER),
        (MAX_NUMBER - 2**20, MAX_NUMBER),
    ],
)
async def test_a_narrow_range_is_collected_in_cells(
    service: PrimeService, start: int, end: int
) -> None:
    """A few numbers do not pay for a whole segment, anywhere on the line, and are kept."""
    plan = await plan_of(service, start, end)
    assert plan.grid is CELLS
    assert plan.keep


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 2**22 - 1), (0, 10**8), (10**9, 10**9 + 10**7), (10**15, 10**15 + 10**9)],
)
async def test_a_wide_range_is_collected_in_segments(
    service: PrimeService, start: int, end: int
) -> None:
    """A range about as wide as a segment or wider takes whole segments."""
    assert (await plan_of(service, start, end)).grid is SEGMENTS


@pytest.mark.parametrize("start", [0, 10**9, 2**32 - 2**22, 10**13, 10**15, 10**18])
async def test_cells_are_never_many(service: PrimeService, start: int) -> None:
    """However wide a range, a plan in cells has no more of them than the bound."""
    for log2 in range(34):
        plan = await plan_of(service, start, start + 2**log2 - 1)
        assert plan.grid is SEGMENTS or len(plan.indices) <= MAX_CELLS


async def test_a_narrow_range_is_read_from_cached_segments(service: PrimeService) -> None:
    """Where the segments of a narrow range are cached they serve it, and nothing is sieved."""
    job = await service.submit(Range(10**9, 10**9 + 10**7))
    async with asyncio.timeout(WAIT_S):
        await job.wait()
    assert job.collected.plan.grid is SEGMENTS
    inside = await plan_of(service, 10**9 + 5 * 10**6, 10**9 + 5 * 10**6 + 100)
    assert inside.grid is SEGMENTS
    beside = await plan_of(service, 10**9 + 10**8, 10**9 + 10**8 + 100)
    assert beside.grid is CELLS
    last = SEGMENTS.piece(job.collected.plan.indices[-1]).end
    half = await plan_of(service, last - 100, last + 100)
    assert half.grid is CELLS


async def test_primes_are_kept_if_they_fit(service: PrimeService) -> None:
    """The primes of a job are packed on the way if they take their share of the cache at most."""
    # 5,761,455 primes, about as many bytes.
    for cache_bytes, keep in ((2**24, True), (2**23, False)):
        plan = await plan_of(service, 0, 10**8, cache_bytes=cache_bytes)
        assert plan.keep == keep
        assert (cache_bytes * KEEP_SHARE >= 5_761_455) == keep


async def test_a_job_is_planned_with_the_cache_of_its_service() -> None:
    """The size of the cache that a service was given decides what its jobs keep."""
    for cache_bytes, keep in ((2**20, False), (2**26, True)):
        async with PrimeService(Settings(workers=1, cache_bytes=cache_bytes)) as service:
            job = await service.submit(Range(0, 2 * 10**7))
            assert job.collected.plan.keep == keep
            service.cancel(job)


async def test_a_count_keeps_nothing(service: PrimeService) -> None:
    """A job that only counts does not fill the cache with primes that nobody asked for."""
    range_ = Range(10**12, 10**12 + 2 * 10**7)
    jobs = [await service.submit(kind(range_)) for kind in (Primes, Count)]
    assert {job.kind: job.collected.plan.keep for job in jobs} == {"primes": True, "count": False}
    for job in jobs:
        service.cancel(job)


numbers = st.floats(0, 64).map(lambda log2: min(int(2**log2), MAX_NUMBER))


def test_a_count_lists_nothing_whatever_is_selected() -> None:
    """Not even where none is expected: twins that are one apart."""
    range_ = Range(2**63, 2**63 + 3000)
    for selection in (ALL, Selection("0,1"), Selection("twins"), Selection("", 6, 2)):
        plan = first_plan(range_, load_engine("auto"), cache_bytes=0, selection=selection)
        assert not plan.keep


@given(numbers, numbers)
def test_the_cost_of_a_plan_is_sane(one: int, other: int) -> None:
    """Anywhere on the line a cost is positive and finite, and as high or higher for primes."""
    engine = load_engine("numpy")
    range_ = Range(*sorted((one, other)))
    plans = [first_plan(range_, engine, cache_bytes=cache_bytes) for cache_bytes in (0, 2**40)]
    count_s, primes_s = (plan_cost_s(plan, engine) for plan in plans)
    assert 0 < count_s <= primes_s < float("inf")


@given(numbers, numbers, st.integers(1, 300))
def test_more_workers_share_the_work(one: int, other: int, many: int) -> None:
    """A plan takes no longer than on one worker, and no less than its work shared out."""
    engine = load_engine("primesieve")
    plan = first_plan(Range(*sorted((one, other))), engine, cache_bytes=2**28)
    alone_s, together_s = (plan_cost_s(plan, engine, workers) for workers in (1, many))
    assert alone_s / many * 0.999 <= together_s <= alone_s


def test_one_segment_has_one_worker() -> None:
    """A call is not shared out: what is one call takes as long on many workers."""
    engine = load_engine("primesieve")
    plan = first_plan(Range(2**63, 2**63 + 2**28 - 1), engine, cache_bytes=2**28)
    assert len(plan.indices) == 1
    assert plan_cost_s(plan, engine, 100) == plan_cost_s(plan, engine) > CHUNK_S


def test_the_cost_of_a_plan_grows_with_the_range() -> None:
    """Ten times as many numbers cost ten times as much, or more where they are dearer."""
    engine = load_engine("numpy")
    plans = [first_plan(Range(0, 10**power), engine, cache_bytes=0) for power in range(8, 15)]
    costs = [plan_cost_s(plan, engine) for plan in plans]
    assert all(8 < more / less < 40 for less, more in pairwise(costs))


def test_what_is_trimmed_is_not_paid_for_unless_it_is_listed() -> None:
    """A count sieves the parts of the first and last segment that lie in the range, no more."""
    engine = load_engine("primesieve")
    # As wide as one segment, half of it in each of two.
    segment = SEGMENTS.piece(SEGMENTS.index(10**15))
    range_ = Range(segment.start + segment.span // 2, segment.end + segment.span // 2)
    count, primes = (first_plan(range_, engine, cache_bytes=size) for size in (0, 2**28))
    assert count.indices == primes.indices
    halves_s = sum(counting_s(engine, count.piece(index)) for index in count.indices)
    assert plan_cost_s(count, engine) == pytest.approx(halves_s)
    assert plan_cost_s(primes, engine) > 1.5 * plan_cost_s(count, engine)
