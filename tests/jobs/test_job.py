"""A job: its states, what is known of it meanwhile, and its id."""

import asyncio
import time
import uuid
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.errors import JobCancelled, JobFailed, JobNotFinished
from primesvc.jobs.job import Job, Kind, Plan, State, job_id
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import MAX_NUMBER, Range
from tests.helpers import WAIT_S

numbers = st.integers(0, MAX_NUMBER)


def plan_for(range_: Range, grid: Grid = CELLS) -> Plan:
    """The plan that collects a range on a grid."""
    return Plan(range_, grid, grid.cover(range_), keep=True)


def new_job(start: int = 100, end: int = 200_000) -> Job:
    """A queued job of, by default, four pieces."""
    range_ = Range(start, end)
    return Job(range_, plan_for(range_))


def state_of(job: Job) -> State:
    """The state now, which a step may have changed."""
    return job.state


def record_all(job: Job, summary: Summary) -> None:
    """Record the same summary for every piece."""
    for index in job.plan.indices:
        job.record(index, summary)


def test_ids_never_change() -> None:
    """The id of a range is the same after a restart, on every replica and in every release."""
    assert job_id(Range(4, 11)) == "fa406b46-00c5-559f-acd0-89e1e40bb04f"
    assert job_id(Range(4, 11), Kind.COUNT) == "a39792d4-7001-55b1-9d74-c93de12e4e76"
    assert job_id(Range(0, MAX_NUMBER)) == "b895dcd5-f6d7-55a8-9c42-1f9bef2c23d1"


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=2, unique=True))
def test_ids_tell_ranges_apart(ends: list[tuple[int, int]]) -> None:
    """Different ranges, and kinds of jobs, have different ids, each a UUID made from a name."""
    one, other = (Range(min(pair), max(pair)) for pair in ends)
    assert (job_id(one) == job_id(other)) == (one == other)
    assert job_id(one, Kind.COUNT) != job_id(one, Kind.PRIMES)
    assert {uuid.UUID(job_id(one, kind)).version for kind in Kind} == {5}


@given(numbers, st.integers(0, 2**20))
def test_a_plan_trims_its_pieces_to_the_range(start: int, width: int) -> None:
    """The trimmed pieces partition the range, and only the outer ones can be trimmed."""
    range_ = Range(start, min(start + width, MAX_NUMBER))
    for grid in (CELLS, SEGMENTS):
        plan = plan_for(range_, grid)
        parts = [plan.piece(index) for index in plan.indices]
        assert (parts[0].start, parts[-1].end) == (range_.start, range_.end)
        assert all(before.end + 1 == after.start for before, after in pairwise(parts))
        for index, part in zip(plan.indices, parts, strict=True):
            assert plan.trims(index) == (part != grid.piece(index))
        assert not any(map(plan.trims, plan.indices[1:-1]))


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
    with pytest.raises(JobNotFinished):
        _ = job.summary
    job.succeed()
    assert state_of(job) is State.SUCCEEDED
    assert state_of(job).final
    finished_s = job.finished_s
    assert finished_s is not None
    assert began_s <= job.created_s <= started_s <= finished_s
    job.check()
    assert job.summary == Summary(40, 200)
    np.testing.assert_array_equal(job.summaries, [[10, 50]] * 4)


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
    for ask in (job.check, lambda: job.summary):
        with pytest.raises(JobFailed, match="the machine is gone") as caught:
            ask()
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


async def test_progress_is_the_share_of_the_numbers() -> None:
    """Progress counts numbers, not pieces: the trimmed ones weigh less; at the end it is 1."""
    job = new_job(65_530, 3 * 65_536 - 1)
    first, second, third = job.plan.indices
    span = job.range.span
    seen = [job.progress]
    for index in (first, third, second):
        job.record(index, Summary(2, 10))
        seen.append(job.progress)
    assert seen == [0.0, 6 / span, (6 + 65_536) / span, 1.0]
    assert job.done_numbers == span


async def test_the_front_is_how_far_it_can_be_read() -> None:
    """The front passes the pieces that are known from the first on, in whatever order they come."""
    job = new_job(0, 6 * 65_536 - 1)
    fronts = []
    for number in (1, 0, 4, 2, 5, 3):
        job.record(job.plan.indices[number], Summary(number + 1, 5))
        fronts.append((job.front, job.pieces_done))
    assert fronts == [(0, 1), (2, 2), (2, 3), (3, 4), (3, 5), (6, 6)]
    assert job.summaries[:, 0].tolist() == [1, 2, 3, 4, 5, 6]


@given(st.permutations(range(12)))
async def test_the_front_is_the_first_piece_that_is_not_known(order: list[int]) -> None:
    """Whatever is known, the front is where reading from the first piece on has to stop."""
    job = new_job(0, 12 * 65_536 - 1)
    for done, number in enumerate(order, 1):
        job.record(number, Summary(1, 5))
        assert job.front == min(set(range(13)) - set(order[:done]))


async def test_the_time_left_follows_from_the_rate() -> None:
    """Nothing is said of the time left before there is a rate; at the end there is none left."""
    job = new_job(0, 4 * 65_536 - 1)
    assert (job.rate, job.eta_s) == (None, None)
    job.start()
    assert (job.rate, job.eta_s) == (None, None)
    job.record(0, Summary(1, 5))
    assert job.started_s is not None
    job.started_s -= 10.0
    rate, eta_s = job.rate, job.eta_s
    assert rate == pytest.approx(65_536 / 10, rel=0.2)
    assert eta_s == pytest.approx(30.0, rel=0.2)
    for index in (1, 2, 3):
        job.record(index, Summary(1, 5))
    job.succeed()
    assert job.eta_s == 0.0
    assert job.finished_s is not None
    assert job.rate == job.range.span / (job.finished_s - job.started_s)


async def test_the_count_grows_with_the_pieces() -> None:
    """The count so far is there before the job is done."""
    job = new_job()
    counts = [job.count]
    for index in job.plan.indices:
        job.record(index, Summary(3, 15))
        counts.append(job.count)
    assert counts == [0, 3, 6, 9, 12]


async def test_sums_are_exact_beyond_32_bits() -> None:
    """Counts and digits of all pieces together may exceed what one piece's fit in."""
    job = new_job()
    job.start()
    record_all(job, Summary(2**32 - 1, 2**32 - 1))
    job.succeed()
    assert job.count == 4 * (2**32 - 1)
    assert job.summary == Summary(4 * (2**32 - 1), 4 * (2**32 - 1))


async def test_a_job_says_how_much_memory_it_takes() -> None:
    """A job of many pieces weighs more, by what is known of each, and what is added counts too."""
    small, large = new_job(0, 65_535), new_job(0, 65_536 * 1000 - 1)
    assert large.size_bytes - small.size_bytes == 9 * 999
    assert small.size_bytes > 0
    before = small.size_bytes
    small.extra_bytes += 100
    assert small.size_bytes == before + 100


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
