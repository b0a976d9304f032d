"""A job: its states, how long it takes, and its id."""

import asyncio
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.collect.plan import Plan
from primesvc.errors import JobCancelled, JobFailed, JobNotFinished
from primesvc.jobs.job import Job
from primesvc.kinds.count import Count
from primesvc.kinds.primes import Primes
from primesvc.kinds.ranges import Collecting
from primesvc.sieve.grid import CELLS
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import MAX_NUMBER, Range
from primesvc.states import State
from tests.helpers import WAIT_S

numbers = st.integers(0, MAX_NUMBER)


def new_job(start: int = 100, end: int = 200_000) -> Job:
    """A queued job of, by default, four pieces."""
    range_ = Range(start, end)
    plan = Plan(range_, CELLS, CELLS.cover(range_), keep=True)
    return Job(Primes(range_), Collecting(plan))


def state_of(job: Job) -> State:
    """The state now, which a step may have changed."""
    return job.state


def record_all(job: Job, summary: Summary) -> None:
    """Record the same summary for every piece."""
    for index in job.collected.plan.indices:
        job.collected.record(index, summary)


def test_ids_never_change() -> None:
    """The id of a range is the same after a restart, on every replica and in every release."""
    assert Primes(Range(4, 11)).job_id == "fa406b46-00c5-559f-acd0-89e1e40bb04f"
    assert Count(Range(4, 11)).job_id == "a39792d4-7001-55b1-9d74-c93de12e4e76"
    assert Primes(Range(0, MAX_NUMBER)).job_id == "b895dcd5-f6d7-55a8-9c42-1f9bef2c23d1"


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=2, unique=True))
def test_ids_tell_ranges_apart(ends: list[tuple[int, int]]) -> None:
    """Different ranges, and kinds of jobs, have different ids, each a UUID made from a name."""
    one, other = (Range(min(pair), max(pair)) for pair in ends)
    assert (Primes(one).job_id == Primes(other).job_id) == (one == other)
    questions = Primes(one), Count(one)
    assert len({question.job_id for question in questions}) == len(set(questions)) == 2
    assert {uuid.UUID(question.job_id).version for question in questions} == {5}


async def test_a_job_that_succeeds() -> None:
    """From queued over running to succeeded, with the time of each step and then a result."""
    began_s = time.time()
    job = new_job()
    assert (job.state, job.started_s, job.finished_s) == (State.QUEUED, None, None)
    assert job.created_s >= began_s
    with pytest.raises(JobNotFinished, match=job.id):
        job.check()
    job.start()
    assert state_of(job) is State.RUNNING
    assert not state_of(job).final
    started_s = job.started_s
    assert started_s is not None
    record_all(job, Summary(10, 50))
    job.succeed()
    assert state_of(job) is State.SUCCEEDED
    assert state_of(job).final
    finished_s = job.finished_s
    assert finished_s is not None
    assert began_s <= job.created_s <= started_s <= finished_s
    job.check()
    assert job.count == 40


@pytest.mark.parametrize("started", [True, False])
async def test_a_job_that_fails(started: bool) -> None:
    """A job that failed says why wherever its result is asked for, with the cause behind it."""
    job = new_job()
    if started:
        job.start()
    cause = OSError("the machine is gone")
    job.fail(cause)
    assert state_of(job) is State.FAILED
    assert state_of(job).final
    assert job.error is cause
    with pytest.raises(JobFailed, match="the machine is gone") as caught:
        job.check()
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("started", [True, False])
async def test_a_job_that_is_cancelled(started: bool) -> None:
    """A cancelled job has no result and says so."""
    job = new_job()
    if started:
        job.start()
    job.cancel()
    assert state_of(job) is State.CANCELLED
    assert state_of(job).final
    with pytest.raises(JobCancelled, match=job.id):
        job.check()


async def test_a_finished_job_cannot_be_cancelled() -> None:
    """A cancel that comes too late changes nothing."""
    job = new_job()
    job.start()
    record_all(job, Summary(1, 6))
    job.succeed()
    finished_s = job.finished_s
    job.cancel()
    assert (job.state, job.finished_s) == (State.SUCCEEDED, finished_s)
    job.check()


async def test_the_time_left_follows_from_the_rate() -> None:
    """Nothing is said of the time left before there is a rate; at the end there is none left."""
    job = new_job(0, 4 * 65_536 - 1)
    assert (job.rate, job.eta_s) == (None, None)
    job.start()
    assert (job.rate, job.eta_s) == (None, None)
    job.collected.record(0, Summary(1, 5))
    assert job._began_s is not None
    job._began_s -= 10.0  # as if it had begun before
    job.started_s = 2e9  # and the clock of the day had been set, by years
    rate, eta_s = job.rate, job.eta_s
    assert rate == pytest.approx(65_536 / 10, rel=0.2)
    assert eta_s == pytest.approx(30.0, rel=0.2)
    for index in (1, 2, 3):
        job.collected.record(index, Summary(1, 5))
    job.succeed()
    assert job.eta_s == 0.0
    assert job.spent_s == pytest.approx(10.0, rel=0.2)
    assert job.rate == job.range.span / (job.spent_s or 0)
    assert job.spent_s == job.spent_s  # it stands still from the end on


async def test_everybody_who_waits_is_told() -> None:
    """All who wait get the job when it is done, and so does who comes later."""
    job = new_job()
    waiting = [asyncio.create_task(job.wait()) for _ in range(3)]
    job.start()
    record_all(job, Summary(1, 6))
    job.succeed()
    async with asyncio.timeout(WAIT_S):
        assert await asyncio.gather(*waiting, job.wait()) == [job] * 4


async def test_who_waits_is_told_of_a_failure() -> None:
    """Waiting for a job that fails or is cancelled raises what `check` raises."""
    failing, cancelled = new_job(), new_job()
    waiting = [asyncio.create_task(job.wait()) for job in (failing, cancelled)]
    failing.fail(OSError("gone"))
    cancelled.cancel()
    async with asyncio.timeout(WAIT_S):
        errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [JobFailed, JobCancelled]


async def test_waiting_for_the_end_is_bounded() -> None:
    """Who waits with a bound learns whether the job is finished, however it ended."""
    job = new_job()
    assert not await job.ends_within(0.0)
    assert not await job.ends_within(0.001)
    waiting = asyncio.create_task(job.ends_within(WAIT_S))
    job.fail(OSError("gone"))
    assert await waiting
    assert await job.ends_within(0.0)


async def test_who_gives_up_waiting_does_not_disturb_the_job() -> None:
    """Cancelling one who waits cancels neither the job nor the waiting of others."""
    job = new_job()
    impatient, patient = (asyncio.create_task(job.wait()) for _ in range(2))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(impatient, 0.001)
    assert state_of(job) is State.QUEUED
    job.start()
    job.succeed()
    async with asyncio.timeout(WAIT_S):
        assert await patient is job
    assert impatient.cancelled()
