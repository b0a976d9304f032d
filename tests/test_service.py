"""The service end to end, without HTTP: real workers, exact results, whatever happens meanwhile."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiocache import SimpleMemoryCache
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from primesvc import Job, PrimeService, Range, Settings, State
from primesvc.budget import Budget
from primesvc.errors import (
    InvalidParameter,
    JobCancelled,
    JobFailed,
    JobGone,
    RangeNotAllowed,
    ServiceClosed,
    ServiceFull,
)
from primesvc.kinds.count import Count
from primesvc.sieve.engine import load_engine
from primesvc.sieve.grid import CELLS, SEGMENTS
from primesvc.sieve.packed import MARK_EVERY
from primesvc.sieve.range import MAX_NUMBER
from tests.helpers import WAIT_S, eventually
from tests.oracles import PI_OF_POWERS, primes_between

pytestmark = pytest.mark.process

LONG = Range(0, 10**12)
"""A minute of work or more: no test waits for it."""

# One service for all examples: they are requests that it gets one after another.
examples = hypothesis_settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
async def small(settings: Settings) -> AsyncIterator[PrimeService]:
    """A service with so small a cache that the primes of hardly any job fit."""
    async with PrimeService(Settings(workers=2, cache_bytes=2**20)) as service:
        yield service


async def done(job: Job) -> Job:
    """Wait for a job, not for ever."""
    async with asyncio.timeout(WAIT_S):
        return await job.wait()


async def primes_of(service: PrimeService, start: int, end: int) -> NDArray[np.uint64]:
    """The primes of a range, through a job and the iterator."""
    async with asyncio.timeout(WAIT_S):
        job = await (await service.submit(Range(start, end))).wait()
        arrays = [array async for array in service.primes(job)]
    primes = np.concatenate([np.empty(0, np.uint64), *arrays])
    assert job.collected.summary.count == len(primes)
    assert all(0 < len(array) <= MARK_EVERY for array in arrays)
    return primes


def oracle(start: int, end: int) -> NDArray[np.uint64]:
    """The primes of a wide range, from the engine that the service does not use."""
    return load_engine("numpy").primes(start, end)


def under_way(service: PrimeService) -> int:
    """How many pieces are under way: what must be nothing once nobody wants anything."""
    return len(service.runtime.store._in_flight)


def state_of(job: Job) -> State:
    """The state now, which an await may have changed."""
    return job.state


@pytest.mark.parametrize("power", range(9))
async def test_known_counts(service: PrimeService, power: int) -> None:
    """The service counts the primes up to a power of ten as they are published."""
    async with asyncio.timeout(WAIT_S):
        assert await service.count(Range(0, 10**power)) == PI_OF_POWERS[power]


async def test_numbers_one_by_one(service: PrimeService) -> None:
    """Many numbers are tested in several calls, in their order, whatever holds them."""
    primes = set(primes_between(0, 30_000))
    expected = [number in primes for number in range(30_001)]
    async with asyncio.timeout(WAIT_S):
        assert await service.are_prime(range(30_001)) == expected
        assert await service.are_prime(np.arange(30_001)) == expected
        assert await service.are_prime(np.array([MAX_NUMBER], np.uint64)) == [False]
        facts = await service.number(MAX_NUMBER)
    assert (facts.number, facts.is_prime, facts.next) == (MAX_NUMBER, False, None)


async def test_numbers_that_are_not_allowed(service: PrimeService) -> None:
    """The error tells the limit, also where a worker finds it."""
    for number, limit in ((-1, 0), (MAX_NUMBER + 1, MAX_NUMBER)):
        with pytest.raises(RangeNotAllowed) as caught:
            await service.number(number)
        assert caught.value.limit == limit
        with pytest.raises(RangeNotAllowed) as caught:
            await service.are_prime([7, number])
        assert caught.value.limit == limit
    with pytest.raises(RangeNotAllowed, match="the limit is 100000"):
        await service.are_prime(range(100_001))
    with pytest.raises(TypeError, match="not float"):
        await service.are_prime([7, 9.0])  # type: ignore[list-item]  # on purpose
    filler = ", 7" * 10**4  # so many that they are not read here
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(RangeNotAllowed, match="18446744073709551616") as caught:
            await service.read_numbers(f'{{"numbers": [18446744073709551616{filler}]}}'.encode())
        assert caught.value.limit == MAX_NUMBER
        with pytest.raises(InvalidParameter, match="'x'") as wrong:
            await service.read_numbers(f'{{"numbers": ["x"{filler}]}}'.encode())
    assert wrong.value.name == "numbers[0]"


async def test_fifty_million_primes_are_counted(service: PrimeService) -> None:
    """There are 50,847,534 primes below 10^9."""
    async with asyncio.timeout(WAIT_S):
        assert await service.count(Range(0, 10**9)) == 50_847_534


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 0),
        (0, 1),
        (0, 2),
        (2, 2),
        (4, 4),
        (4, 11),
        (24, 28),
        (0, 1000),
        (65_535, 65_536),
        (2**22 - 1, 2**22),
        (10**15, 10**15 + 2000),
        (2**44 - 1000, 2**44 + 1000),
        (2**63 - 500, 2**63 + 500),
        (MAX_NUMBER - 2000, MAX_NUMBER),
        (MAX_NUMBER, MAX_NUMBER),
        (18_446_744_073_709_551_557, 18_446_744_073_709_551_557),
    ],
    ids=lambda number: str(number),
)
async def test_primes_of_narrow_ranges(service: PrimeService, start: int, end: int) -> None:
    """The primes are exact, or there are none, at both ends of the line and at boundaries."""
    assert (await primes_of(service, start, end)).tolist() == primes_between(start, end)


@pytest.mark.parametrize("boundary", [2**32, 2**36, 2**44])
async def test_primes_across_a_change_of_width(service: PrimeService, boundary: int) -> None:
    """Where the pieces become wider none of the primes on either side is lost or doubled."""
    start, end = boundary - 3 * 10**6 - 1, boundary + 3 * 10**6
    found = await primes_of(service, start, end)
    assert service.find(Range(start, end)) is not None
    assert len(SEGMENTS.cover(Range(start, end))) == 2
    np.testing.assert_array_equal(found, oracle(start, end))


@pytest.mark.parametrize("start", [0, 1, 2**22 - 5])
async def test_primes_of_many_pieces_come_in_order(service: PrimeService, start: int) -> None:
    """A result of many pieces is one ascending run, trimmed at both ends."""
    end = 30_000_000
    np.testing.assert_array_equal(await primes_of(service, start, end), oracle(start, end))


@examples
@given(
    cuts=st.lists(st.integers(1, 1200).map(lambda part: part * 9973), max_size=4, unique=True).map(
        sorted
    )
)
async def test_the_parts_make_the_whole(service: PrimeService, cuts: list[int]) -> None:
    """However a range is cut, the primes of the parts, one after another, are those of it."""
    end = 12_000_000
    starts, ends = [0, *cuts], [*(cut - 1 for cut in cuts), end]
    parts = [await primes_of(service, *pair) for pair in zip(starts, ends, strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), oracle(0, end))


@examples
@given(
    start=st.integers(0, 1000).map(lambda part: part * 999_983),
    width=st.integers(0, 200).map(lambda part: part * 99_991),
)
async def test_overlapping_ranges_do_not_disturb_one_another(
    small: PrimeService, start: int, width: int
) -> None:
    """Whatever is cached, trimmed, counted only or evicted by then, every range gets its own."""
    found = await asyncio.gather(
        primes_of(small, start, start + width),
        primes_of(small, start + width // 2, start + width),
        primes_of(small, start // 2, start // 2 + width // 100),
    )
    np.testing.assert_array_equal(found[0], oracle(start, start + width))
    np.testing.assert_array_equal(found[1], found[0][found[0] >= start + width // 2])
    np.testing.assert_array_equal(found[2], oracle(start // 2, start // 2 + width // 100))


async def test_an_overlap_is_not_sieved_again(service: PrimeService) -> None:
    """The second of two ranges that overlap costs only the pieces that the first has not."""
    first, second = Range(0, 10**8), Range(5 * 10**7, 15 * 10**7)
    assert (await done(await service.submit(first))).count == 5_761_455
    assert service.runtime.store.stats.sieved == len(SEGMENTS.cover(first))
    assert (await done(await service.submit(second))).count == 8_444_396 - 3_001_134
    both = SEGMENTS.cover(Range(first.start, second.end))
    assert service.runtime.store.stats.sieved == len(both)


async def test_an_overlap_is_not_sieved_twice_at_once(service: PrimeService) -> None:
    """Two overlapping jobs that run at the same time share the pieces under way."""
    first, second = Range(0, 10**8), Range(5 * 10**7, 15 * 10**7)
    jobs = [await service.submit(first), await service.submit(second)]
    assert [(await done(job)).count for job in jobs] == [5_761_455, 8_444_396 - 3_001_134]
    assert service.runtime.store.stats.sieved == len(SEGMENTS.cover(Range(first.start, second.end)))


async def test_overlapping_counts_share_their_pieces(service: PrimeService) -> None:
    """Of two overlapping counts nothing but the parts at their ends is counted twice."""
    high = 10**15  # where counting takes a sieve
    first, second = Range(high, high + 6 * 10**8), Range(high + 3 * 10**8, high + 9 * 10**8)
    async with asyncio.timeout(WAIT_S):
        counts = [*await asyncio.gather(service.count(first), service.count(second))]
    engine = load_engine("primesieve")
    assert counts == [engine.count(range_.start, range_.end) for range_ in (first, second)]
    pieces = SEGMENTS.cover(Range(first.start, second.end))
    # The piece at the end of the first and that at the start of the second: in part and whole.
    assert service.runtime.store.stats.sieved == len(pieces) + 2


async def test_a_count_and_the_primes_of_a_range_are_two_jobs(service: PrimeService) -> None:
    """Counting a range makes no job whose primes could be read, and the ids differ."""
    range_ = Range(100, 10**7)
    count = await done(await service.submit(Count(range_)))
    assert service.find(range_) is None
    primes = await done(await service.submit(range_))
    assert primes is not count
    assert primes.id != count.id
    assert service.job(count.id) is count
    assert primes.count == count.count == 664_579 - 25
    np.testing.assert_array_equal(await primes_of(service, 100, 10**7), oracle(100, 10**7))


async def test_a_count_is_not_sieved_again(small: PrimeService) -> None:
    """Pieces whose primes were never kept need not be sieved again to be counted."""
    async with asyncio.timeout(WAIT_S):
        assert await small.count(Range(0, 10**8)) == 5_761_455
        sieved = small.runtime.store.stats.sieved
        whole = SEGMENTS.piece(SEGMENTS.index(6 * 10**7)).end
        assert await small.count(Range(0, whole)) == len(oracle(0, whole))
    assert small.runtime.store.stats.sieved == sieved


@pytest.mark.parametrize("range_", [Range(0, 1000), Range(10, 5 * 10**7)], ids=str)
async def test_two_hundred_identical_requests_do_the_work_once(
    service: PrimeService, range_: Range
) -> None:
    """However many ask for a range at once, there is one job, and each piece is sieved once."""
    jobs = await asyncio.gather(*(service.submit(range_) for _ in range(200)))
    assert {id(job) for job in jobs} == {id(jobs[0])}
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(job.wait() for job in jobs))
    assert await service.submit(range_) is jobs[0]
    assert service.job(jobs[0].id) is service.find(range_) is jobs[0]
    assert service.runtime.store.stats.sieved == len(jobs[0].collected.plan.indices)
    assert jobs[0].count == len(oracle(range_.start, range_.end))


async def test_identical_requests_that_wait_for_the_cache_are_one_job() -> None:
    """Requests that come while another one looks into a slow cache get its job all the same."""
    cache = SimpleMemoryCache(namespace="slow:")  # each of its commands takes turns of the loop
    async with PrimeService(Settings(workers=1), cache=cache) as service:
        jobs = await asyncio.gather(*(service.submit(Range(0, 1000)) for _ in range(20)))
        assert {id(job) for job in jobs} == {id(jobs[0])}
        assert (await done(jobs[0])).count == 168
        assert service.runtime.store.stats.sieved == 1
    await cache.clear()
    await cache.close()


async def test_evicted_primes_are_sieved_again(small: PrimeService) -> None:
    """A result whose primes no longer fit the cache is as exact as before, at any later time."""
    ranges = [(0, 5 * 10**6), (10**8, 10**8 + 5 * 10**6), (10**9, 10**9 + 4 * 10**7)]
    expected = [oracle(*pair) for pair in ranges]
    for _ in range(2):
        for pair, primes in zip(ranges, expected, strict=True):
            np.testing.assert_array_equal(await primes_of(small, *pair), primes)
    assert small.find(Range(*ranges[2])) is not None
    # The primes of all three are 3.4 million, of which a million at the most were kept.
    assert small.runtime.store.stats.sieved > sum(
        len(SEGMENTS.cover(Range(*pair))) for pair in ranges
    )


async def test_readers_share_what_was_not_kept(small: PrimeService) -> None:
    """Several who read the same result at once get the same primes."""
    job = await done(await small.submit(Range(0, 2 * 10**7)))
    assert not job.collected.plan.keep
    found = await asyncio.gather(*(primes_of(small, 0, 2 * 10**7) for _ in range(4)))
    for primes in found:
        np.testing.assert_array_equal(primes, oracle(0, 2 * 10**7))
    assert small.runtime.store.stats.joined > 0


@pytest.mark.parametrize("politely", [True, False])
async def test_who_stops_reading_leaves_nothing_behind(small: PrimeService, politely: bool) -> None:
    """A reader that is closed, or just dropped, no longer has anything sieved for it."""
    job = await done(await small.submit(Range(0, 10**9)))
    sieved = small.runtime.store.stats.sieved
    async with asyncio.timeout(WAIT_S):
        reader = small.primes(job)
        async for array in reader:
            assert array[0] == 2
            break
        if politely:
            await reader.aclose()
        del reader
    await eventually(lambda: under_way(small) == 0)
    assert small.runtime.store.stats.sieved - sieved < 20


async def test_progress_is_monotone_and_ends_at_one(service: PrimeService) -> None:
    """Progress never goes back, is seen on the way, and is exactly 1 at the end."""
    job = await service.submit(Range(12_345, 2 * 10**9 + 678))
    seen: list[tuple[float, int]] = []

    def ended() -> bool:
        seen.append((job.progress, job.count))
        return job.state.final

    await eventually(ended)
    assert job.state is State.SUCCEEDED
    assert seen == sorted(seen)
    assert any(0 < progress < 1 for progress, _ in seen)
    assert (job.progress, job.collected.done_numbers) == (1.0, job.range.span)
    assert job.count == job.collected.summary.count == seen[-1][1]


async def test_a_cancelled_job_frees_the_workers(service: PrimeService) -> None:
    """Nothing of a cancelled job is left under way, and whoever waits for it is told."""
    job = await service.submit(LONG)
    waiting = asyncio.create_task(job.wait())
    await eventually(lambda: job.progress > 0)
    service.cancel(job)
    assert job.state is State.CANCELLED
    with pytest.raises(JobCancelled):
        await asyncio.wait_for(waiting, WAIT_S)
    await eventually(lambda: under_way(service) == 0)
    calls = service.runtime.dispatcher.calls
    async with asyncio.timeout(WAIT_S):
        assert await service.count(Range(10**13, 10**13 + 40)) == 1
    assert service.runtime.dispatcher.calls <= calls + 1
    service.cancel(job)  # nothing more to stop
    assert job.state is State.CANCELLED


async def test_a_cancel_drops_what_no_worker_has_begun() -> None:
    """Of the chunks that a cancelled job had asked for only those that are worked on remain."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(gate.wait, WAIT_S)
        async with PrimeService(Settings(workers=1), executor=executor) as service:
            start = SEGMENTS.piece(SEGMENTS.index(10**15)).start
            job = await service.submit(Range(start, start + 10**12))
            # Each piece is a chunk: the worker has one, the others wait.
            await eventually(lambda: under_way(service) > 1)
            service.cancel(job)
            await eventually(lambda: under_way(service) == 1)
            gate.set()
            await eventually(lambda: under_way(service) == 0)
            assert service.runtime.store.stats.sieved <= service.runtime.dispatcher.calls == 1


async def test_a_cancel_does_not_touch_who_shares_the_pieces(small: PrimeService) -> None:
    """A job that waits for pieces which a cancelled one had asked for still gets them."""
    long = await small.submit(LONG)
    short = await small.submit(Range(0, 10**8))
    await eventually(lambda: small.runtime.store.stats.joined > 0)
    small.cancel(long)
    assert (await done(short)).count == 5_761_455
    assert state_of(long) is State.CANCELLED
    await eventually(lambda: under_way(small) == 0)


async def test_a_cancelled_range_can_be_submitted_again(service: PrimeService) -> None:
    """A new request for a cancelled range is a new job with the same id, even at once."""
    range_ = Range(0, 10**9)
    first = await service.submit(range_)
    service.cancel(first)
    assert service.job(first.id) is first
    assert service.find(range_) is None
    second = await service.submit(range_)
    assert second is not first
    assert second.id == first.id
    assert (await done(second)).count == 50_847_534
    assert service.job(first.id) is second
    assert state_of(first) is State.CANCELLED


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_a_killed_worker_costs_no_result(service: PrimeService) -> None:
    """Workers killed in the middle of a job are replaced; that job and others still come right."""
    backend = service.runtime.backend

    async def kill_one_at_work(job: Job) -> None:
        count, deaths = job.count, backend.snapshot().deaths
        await eventually(lambda: job.count > count)
        os.kill(backend.snapshot().pids[0], signal.SIGKILL)
        await eventually(lambda: backend.snapshot().deaths != deaths)

    long = await service.submit(Range(0, 4 * 10**9))
    other = await service.submit(Range(10**12, 10**12 + 10**9))
    await kill_one_at_work(long)
    await kill_one_at_work(long)
    later = await service.submit(Range(0, 10**6))
    assert (await done(later)).count == 78_498
    assert (await done(other)).count == load_engine("primesieve").count(10**12, 10**12 + 10**9)
    assert (await done(long)).count == 189_961_812
    assert backend.snapshot().deaths == 2
    assert under_way(service) == 0


async def test_a_range_over_the_limit_is_refused() -> None:
    """A range longer than the longest that is accepted is refused, with the limit."""
    async with PrimeService(Settings(workers=1, max_span=1000)) as service:
        async with asyncio.timeout(WAIT_S):
            assert await service.count(Range(0, 1000)) == 168
        with pytest.raises(RangeNotAllowed, match="the limit is 1000") as caught:
            await service.submit(Range(0, 1001))
        assert caught.value.limit == 1000
        assert service.find(Range(0, 1001)) is None


async def test_the_whole_line_takes_no_memory_to_refuse() -> None:
    """Without a limit to the span a range still has to fit the memory for jobs."""
    settings = Settings(workers=1, max_span=2**64, max_job_s=1e15)
    async with PrimeService(settings) as service:
        with pytest.raises(RangeNotAllowed, match="max_job_bytes"):
            await service.submit(Range(0, MAX_NUMBER))
        assert len(service.jobs) == 0


async def test_work_out_of_proportion_is_refused_with_its_estimate() -> None:
    """A range that would take too long is refused, by the same measure as its estimate."""
    dear, cheap = Range(MAX_NUMBER - 10**10, MAX_NUMBER), Range(0, 10**10)
    async with PrimeService(Settings(workers=2)) as service:
        _, dear_s = service.estimate(dear)
        _, cheap_s = service.estimate(cheap)
    assert cheap_s < 10 < dear_s
    async with PrimeService(Settings(workers=2, max_job_s=10)) as service:
        for asked in (service.submit, service.count):
            with pytest.raises(RangeNotAllowed, match="the limit is 10 s") as caught:
                await asked(dear)
            assert caught.value.limit == 10
            assert caught.value.estimate_s is not None
            assert caught.value.estimate_s > 10
        with pytest.raises(RangeNotAllowed, match="max_job_s"):
            service.estimate(dear)
        assert len(service.jobs) == service.runtime.dispatcher.calls == 0
        job = await service.submit(cheap)
        assert await service.submit(cheap) is job
        service.cancel(job)


async def test_half_the_work_on_twice_the_workers_is_in_proportion() -> None:
    """What counts is how long it would take here: more workers may be asked for more."""
    range_ = Range(0, 10**12)
    async with PrimeService(Settings(workers=1)) as service:
        _, seconds = service.estimate(range_)
    async with PrimeService(Settings(workers=2, max_job_s=seconds * 0.6)) as service:
        service.cancel(await service.submit(range_))
    async with PrimeService(Settings(workers=1, max_job_s=seconds * 0.6)) as service:
        with pytest.raises(RangeNotAllowed):
            await service.submit(range_)


@pytest.mark.slow
async def test_wide_pieces_are_sieved_one_at_a_time_if_memory_is_short() -> None:
    """High on the line a worker takes 100 MB or more: with memory for one call they take turns."""
    high = Range(2**51, 2**51 + 2**30 - 1)
    settings = Settings(workers=2, cache_bytes=2**20, max_job_bytes=2**20)
    least = Budget.of(settings, processes=3, usable_bytes=0).total_bytes
    settings = replace(settings, memory_bytes=least)
    most = 0

    async def watch(job: Job) -> None:
        nonlocal most
        while not await job.ends_within(0.001):
            most = max(most, len(service.runtime.dispatcher._running))  # shows nowhere else

    async with PrimeService(settings) as service:
        async with asyncio.timeout(WAIT_S):
            job = await service.submit(Count(high))
            await watch(job)
        assert job.count == 30_372_832
        assert most == 1
    async with PrimeService(replace(settings, memory_bytes=2**33)) as service:
        async with asyncio.timeout(WAIT_S):
            job = await service.submit(Count(high))
            await watch(job)
        assert most == 2


async def test_unfinished_jobs_are_bounded() -> None:
    """When as many jobs run as may be known the next is refused, until one of them ends."""
    async with PrimeService(Settings(workers=1, max_jobs=1)) as service:
        long = await service.submit(LONG)
        with pytest.raises(ServiceFull, match="the limit is 1"):
            await service.submit(Range(0, 10))
        assert await service.submit(LONG) is long
        service.cancel(long)
        await eventually(lambda: service.jobs.unfinished == 0)  # it takes a moment to end
        async with asyncio.timeout(WAIT_S):
            assert await service.count(Range(0, 10)) == 4
        with pytest.raises(JobGone):
            service.job(long.id)


async def test_a_closed_service_takes_nothing(settings: Settings) -> None:
    """Before it is entered and after it is closed a service refuses work."""
    service = PrimeService(settings)
    with pytest.raises(ServiceClosed):
        await service.submit(Range(0, 10))
    async with service:
        async with asyncio.timeout(WAIT_S):
            assert await service.count(Range(0, 10)) == 4
    assert service.closed
    with pytest.raises(ServiceClosed):
        await service.submit(Range(0, 10))
    with pytest.raises(ServiceClosed):
        await service.count(Range(0, 100))


async def test_closing_twice_is_closing_once(settings: Settings) -> None:
    """A service may be closed before, within and after its context, once or more often."""
    service = PrimeService(settings)
    await service.close()
    async with service:
        await service.close()
        await service.close()
    await service.close()
    assert service.closed
    assert repr(service) == "<PrimeService closed>"


@pytest.mark.skipif(sys.platform == "win32", reason="signal 0 asks nothing there")
async def test_closing_stops_what_runs(settings: Settings) -> None:
    """A close in the middle of a long job is quick, tells who waits, and leaves no process."""
    async with PrimeService(settings) as service:
        job = await service.submit(LONG)
        waiting = asyncio.create_task(job.wait())
        await eventually(lambda: job.progress > 0)
        pids = service.snapshot().backend.pids
        assert pids
        began_s = time.monotonic()
        await service.close()
        assert time.monotonic() - began_s < WAIT_S / 3
    with pytest.raises(JobCancelled):
        await asyncio.wait_for(waiting, WAIT_S)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_service_can_be_entered_again(settings: Settings) -> None:
    """A service that was closed starts afresh when it is entered again."""
    service = PrimeService(settings)
    for _ in range(2):
        async with service:
            async with asyncio.timeout(WAIT_S):
                assert await service.count(Range(10, 10**7)) == 664_579 - 4
            assert service.runtime.store.stats.sieved > 0
            assert len(service.jobs) == 1


async def test_an_embedders_executor_is_used_and_left_open() -> None:
    """With an executor passed in there are no processes of ours, and it works on afterwards."""
    with ThreadPoolExecutor(2, thread_name_prefix="theirs") as executor:
        async with PrimeService(Settings(workers=2), executor=executor) as service:
            assert service.snapshot().backend.pids == ()
            np.testing.assert_array_equal(await primes_of(service, 5, 10**7), oracle(5, 10**7))
            assert service.runtime.dispatcher.calls > 0
        assert {thread.name.split("_")[0] for thread in executor._threads} == {"theirs"}
        assert executor.submit(str, 1).result(WAIT_S) == "1"


async def test_an_embedders_cache_is_used_and_left_open() -> None:
    """Primes are kept in the cache that was passed in, and are there when the service is gone."""
    cache = SimpleMemoryCache(namespace="theirs:")
    await cache.clear()
    async with PrimeService(Settings(workers=1), cache=cache) as service:
        await primes_of(service, 0, 1000)
        assert await cache.exists(service.runtime.store.key(CELLS, 0))
    async with PrimeService(Settings(workers=1), cache=cache) as service:
        assert (await primes_of(service, 10, 2000)).tolist() == primes_between(10, 2000)
        assert (service.runtime.store.stats.sieved, service.runtime.store.stats.hits > 0) == (
            0,
            True,
        )
    await cache.clear()
    await cache.close()


class FlakyExecutor(ThreadPoolExecutor):
    """An embedder's executor that loses calls until it is mended."""

    mended = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """As every executor's, once it is mended."""
        if self.mended:
            return super().submit(fn, *args, **kwargs)
        raise OSError("the machine is gone")


async def test_a_failed_job_says_why_and_can_be_tried_again() -> None:
    """A job fails with the reason that its executor gave, and a new request starts it anew."""
    with FlakyExecutor(1) as executor:
        async with PrimeService(Settings(workers=1), executor=executor) as service:
            job = await service.submit(Range(0, 1001))
            with pytest.raises(JobFailed, match="the machine is gone"):
                await done(job)
            assert service.job(job.id) is job
            assert under_way(service) == 0
            executor.mended = True
            again = await done(await service.submit(Range(0, 1001)))
            assert again is not job
            assert (again.id, again.count) == (job.id, 168)


async def test_a_forgotten_job_is_stopped_and_gone(service: PrimeService) -> None:
    """To forget a job that runs stops it; its id is gone until the range is submitted again."""
    job = await service.submit(LONG)
    waiting = asyncio.create_task(job.wait())
    await eventually(lambda: job.progress > 0)
    service.forget(job)
    with pytest.raises(JobGone):
        service.job(job.id)
    with pytest.raises(JobCancelled):
        await asyncio.wait_for(waiting, WAIT_S)
    await eventually(lambda: under_way(service) == 0)
    assert len(service.jobs) == 0
    again = await service.submit(LONG)
    assert again is not job
    assert service.job(job.id) is again
    service.cancel(again)


async def test_an_estimate_starts_nothing(service: PrimeService) -> None:
    """What a job would find and how long it would take is said without one, within the limits."""
    expected, seconds = service.estimate(Range(0, 10**12))
    assert expected["count"] == pytest.approx(37_607_912_018, rel=1e-4)
    assert 0 < service.estimate(Count(Range(0, 10**12)))[1] <= seconds
    assert len(service.jobs) == service.runtime.dispatcher.calls == 0
    with pytest.raises(RangeNotAllowed):
        service.estimate(Range(0, MAX_NUMBER))


async def test_the_portable_engine_serves_too() -> None:
    """A service with the NumPy engine gives the same counts and primes."""
    async with PrimeService(Settings(workers=1, engine="numpy")) as service:
        assert service.engine.name == "numpy"
        async with asyncio.timeout(WAIT_S):
            assert await service.count(Range(0, 10**7)) == 664_579
        for start, end in ((0, 100), (10**15, 10**15 + 2000), (MAX_NUMBER - 2000, MAX_NUMBER)):
            found = await primes_of(service, start, end)
            assert found.tolist() == primes_between(start, end)


async def test_a_result_is_not_there_before_its_job_is_done(service: PrimeService) -> None:
    """The primes of an unfinished or a cancelled job cannot be read."""
    job = await service.submit(LONG)
    with pytest.raises(RuntimeError, match="not finished"):
        await anext(service.primes(job))
    service.cancel(job)
    with pytest.raises(JobCancelled):
        await anext(service.primes(job))
