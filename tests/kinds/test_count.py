"""Counts go the cheaper way, and say which."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pytest

from primesvc import PrimeService, Settings
from primesvc.errors import EngineFailed, JobFailed, RangeNotAllowed, UnknownJob
from primesvc.jobs.job import Job
from primesvc.kinds.count import Count, is_sieved
from primesvc.sieve.engine import load_engine
from primesvc.sieve.primecount import find_primecount
from primesvc.sieve.range import MAX_NUMBER, Range
from tests.helpers import WAIT_S, eventually
from tests.oracles import PI_OF_POWERS

pytestmark = pytest.mark.skipif(find_primecount() is None, reason="libprimecount is not here")

T = TypeVar("T")

MINUTES = Count(Range(0, 10**19))


async def counted(service: PrimeService, start: int, end: int) -> Job:
    """The job that counted the range."""
    async with asyncio.timeout(WAIT_S):
        return await (await service.submit(Count(Range(start, end)))).wait()


def test_the_cheaper_way() -> None:
    """Narrow ranges are sieved wherever they are, wide ones where π of their ends is dearer."""
    engine = load_engine("primesieve")
    for start, end in ((0, 10**7), (10**12, 10**12 + 10**7), (10**18, 10**18 + 10**10)):
        assert is_sieved(Range(start, end), engine)
    for start, end in ((0, 10**9), (0, MAX_NUMBER), (10**15, 10**15 + 10**12)):
        assert not is_sieved(Range(start, end), engine)
        assert is_sieved(Range(start, end), load_engine("numpy"))


@pytest.mark.parametrize("power", [8, 10, 13, pytest.param(15, marks=pytest.mark.slow)])
async def test_published_counts(power: int) -> None:
    """Up to powers of ten there are as many primes as published, without a sieve."""
    async with PrimeService(Settings(workers=2)) as service:
        job = await counted(service, 0, 10**power)
        assert job.work.findings == {
            "method": "primecount", "progress_is": "estimated", "count": PI_OF_POWERS[power],
        }  # fmt: skip
        assert job.progress == 1
        assert service.runtime.store.stats.sieved == 0


class Failing(Executor):
    """Fails every call as an engine does."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """A call that has failed."""
        future: Future[T] = Future()
        future.set_exception(EngineFailed("out of order"))
        return future


async def test_the_reason_is_told_though_several_calls_fail() -> None:
    """π of both ends fails at once, and so do the parts of a list: no group comes of it."""
    async with PrimeService(Settings(workers=2), executor=Failing()) as service:
        with pytest.raises(JobFailed, match="out of order"):
            await counted(service, 10**12, 2 * 10**12)
        with pytest.raises(EngineFailed):
            await service.are_prime(np.arange(10**5))


async def test_random_cuts() -> None:
    """Both ways agree on a range, and its parts make up the whole."""
    engine = load_engine("primesieve")
    random_ = random.Random(11)  # noqa: S311 - any cuts will do
    async with PrimeService(Settings(workers=2)) as service:
        for _ in range(10):
            start = random_.randrange(10**11)
            end = start + random_.randrange(10**8, 10**9)
            cut = random_.randrange(start, end)
            whole = engine.count(start, end)
            job = await counted(service, start, end)
            assert (job.count, job.work.findings["method"]) == (whole, "primecount")
            parts = [await counted(service, start, cut), await counted(service, cut + 1, end)]
            assert sum(part.count for part in parts) == whole


@pytest.mark.parametrize("start", range(5))
async def test_ends_at_the_first_primes(start: int) -> None:
    """A range that begins at, or about, the first prime loses none and has none too many."""
    async with PrimeService(Settings(workers=1)) as service:
        expected = PI_OF_POWERS[9] - (start > 2) - (start > 3)
        assert (await counted(service, start, 10**9)).count == expected


async def test_small_counts_stay_as_they_were() -> None:
    """A narrow range needs no worker, and says that it is sieved."""
    async with PrimeService(Settings(workers=1)) as service:
        job = await counted(service, 0, 1000)
        assert job.work.findings == {"method": "sieve", "count": 168}
        assert service.runtime.dispatcher.calls == 0


async def test_without_the_library_counts_are_sieved() -> None:
    """The NumPy engine sieves what it counts, within `max_span`."""
    async with PrimeService(Settings(workers=2, engine="numpy", max_span=10**8)) as service:
        job = await counted(service, 0, 10**8)
        assert job.work.findings == {"method": "sieve", "count": PI_OF_POWERS[8]}
        with pytest.raises(RangeNotAllowed, match="max_span"):
            await service.submit(Count(Range(0, 10**8 + 1)))


async def test_the_whole_line_is_let_in_by_its_estimate() -> None:
    """`max_span` bounds what is sieved alone; `max_job_s` bounds everything."""
    whole = Count(Range(0, MAX_NUMBER))
    async with PrimeService(Settings(workers=2, max_span=10**6)) as service:
        assert service.estimate(whole)[1] > 60
        with pytest.raises(RangeNotAllowed, match="max_span"):
            await service.submit(Range(0, 10**6 + 1))
    async with PrimeService(Settings(workers=2, max_job_s=10)) as service:
        with pytest.raises(RangeNotAllowed, match="max_job_s"):
            await service.submit(whole)


@pytest.mark.parametrize("end", [10**13, 10**10])
async def test_round_ranges_fit(end: int) -> None:
    """From 0 to 10^13 are 10^13 + 1 numbers, and as wide as allowed."""
    async with PrimeService(Settings(workers=2, max_span=end)) as service:
        service.estimate(Range(0, end))
        with pytest.raises(RangeNotAllowed, match=f"the limit is {end}"):
            service.estimate(Range(0, end + 1))


async def test_a_count_of_minutes_is_cancelled_in_the_middle() -> None:
    """Its worker is ended and replaced; another count goes on at once. It is never all but done."""
    async with PrimeService(Settings(workers=1)) as service:
        await service.warm_up()
        before = set(service.snapshot().backend.pids)
        job = await service.submit(MINUTES)
        await eventually(lambda: any(busy(pid) for pid in before))
        (worker,) = filter(busy, before)
        assert 0 < job.progress < 1
        assert job.count == 0
        service.cancel(job)
        await eventually(lambda: not psutil.pid_exists(worker))
        others = before - {worker}
        await eventually(lambda: set(service.snapshot().backend.pids) & before == others)
        await eventually(lambda: len(service.snapshot().backend.pids) == len(before))
        assert (await counted(service, 0, 10**13)).count == PI_OF_POWERS[13]
        assert service.snapshot().backend.deaths == 0


def busy(pid: int) -> bool:
    """Whether a process has worked for a while."""
    return bool(psutil.Process(pid).cpu_times().user > 0.5)


async def test_long_counts_leave_workers_to_others() -> None:
    """While counts of minutes run and wait, a range that has to be sieved is."""
    async with PrimeService(Settings(workers=2)) as service:
        for n in range(3):
            await service.submit(Count(Range(0, 10**18 + n)))
        async with asyncio.timeout(WAIT_S):
            job = await (await service.submit(Range(0, 10**8))).wait()
        assert job.count == PI_OF_POWERS[8]


async def test_the_journal_keeps_counts(tmp_path: Path) -> None:
    """A finished count is known after a restart; one that was under way is begun again."""
    settings = Settings(workers=2, journal=str(tmp_path / "journal"))
    async with PrimeService(settings) as service:
        done = await counted(service, 0, 10**12)
        long = await service.submit(MINUTES)
        await eventually(lambda: long.started_s is not None)
    async with PrimeService(settings) as service:
        again = service.job(done.id)
        assert (again.state, again.work.findings) == (done.state, done.work.findings)
        assert again.progress == 1
        assert not service.job(long.id).state.final
    # Where it can only be sieved it is too wide, and stays in the journal.
    without = Settings(workers=1, engine="numpy", journal=settings.journal)
    async with PrimeService(without) as service:
        assert service.job(done.id).count == PI_OF_POWERS[12]
        with pytest.raises(UnknownJob):
            service.job(long.id)
    async with PrimeService(settings) as service:
        assert not service.job(long.id).state.final


async def test_a_count_that_lost_its_library_fails(tmp_path: Path) -> None:
    """What was begun by π and can be no more is to be asked for again, and is sieved then."""
    settings = Settings(workers=1, journal=str(tmp_path / "journal"))
    question = Count(Range(0, 10**9))
    async with PrimeService(settings) as service:
        # Closed before it has taken a step.
        job = await service.submit(question)
    without = Settings(workers=1, engine="numpy", journal=settings.journal)
    async with PrimeService(without) as service:
        left = service.job(job.id)
        assert await left.ends_within(WAIT_S)
        assert left.state == "failed"
        assert "libprimecount" in str(left.error)
        async with asyncio.timeout(WAIT_S):
            assert await service.count(question.range) == PI_OF_POWERS[9]


@pytest.mark.parametrize(
    ("record", "complete"),
    [
        (b"primecount\n", True), (b"primecount\n4", False), (b"primecount\n99999", True),
        (b"primecount\n0", True), (b"primecount\n-1", True), (b"primecount", False), (b"", False),
    ],
)  # fmt: skip
def test_records_that_cannot_be_true(record: bytes, complete: bool) -> None:
    """A count that no range of this width has, one too early and one that is missing."""
    with pytest.raises(ValueError, match="the"):
        Count(Range(10**12, 10**12 + 10**5)).recall(record, complete=complete)
