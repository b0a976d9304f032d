"""The job table: bounded in number, in memory and in time, and it forgets in the right order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primesvc.collect.collected import PIECE_BYTES
from primesvc.collect.plan import Plan
from primesvc.errors import JobCancelled, JobGone, ServiceFull, UnknownJob
from primesvc.jobs.job import Job
from primesvc.jobs.table import REMEMBERED, JobTable, job_bytes
from primesvc.kinds.base import JOB_BYTES, WORKING_BYTES
from primesvc.kinds.count import Count
from primesvc.kinds.primes import Primes
from primesvc.kinds.ranges import Collecting, RangeQuestion
from primesvc.sieve.grid import CELLS
from primesvc.sieve.range import Range
from tests.helpers import eventually

AN_HOUR_S = 3600.0
PLENTY_BYTES = 2**24


def new_table(
    *,
    max_jobs: int = 100,
    max_bytes: int = PLENTY_BYTES,
    ttl_s: float = AN_HOUR_S,
    max_unfinished: int | None = None,
) -> JobTable:
    """A table that is bounded by nothing but what a test asks for."""
    return JobTable(
        max_jobs=max_jobs, max_bytes=max_bytes, ttl_s=ttl_s, max_unfinished=max_unfinished
    )


def primes(start: int, end: int | None = None) -> Primes:
    """What is asked for here: the primes of a range, by default of one number."""
    return Primes(Range(start, start if end is None else end))


def new_job(number: int, *, pieces: int = 1, kind: type[RangeQuestion] = Primes) -> Job:
    """A queued job: another number, another range."""
    range_ = Range(number, (pieces - 1) * 65_536 + number)
    return Job(kind(range_), Collecting(Plan(range_, CELLS, CELLS.cover(range_), keep=True)))


def size_of(job: Job) -> int:
    """The memory that a job takes as long as it is unfinished."""
    return job_bytes(job) + WORKING_BYTES


def add(table: JobTable, number: int, *, ended: str = "", pieces: int = 1) -> Job:
    """Add a job and, if wanted, let it end."""
    job = new_job(number, pieces=pieces)
    table.add(job)
    if ended:
        end(table, job, ended)
    return job


def end(table: JobTable, job: Job, how: str = "succeed") -> None:
    """Let a job end, and the table know."""
    job.start()
    if how == "fail":
        job.fail(OSError("gone"))
    else:
        getattr(job, how)()
    table.note_end(job)


def known(table: JobTable) -> list[int]:
    """The jobs in the table, by their numbers."""
    return [job.range.start for job in table]


async def test_a_job_is_found_by_its_id_and_its_range() -> None:
    """Unfinished or succeeded, the job for a range is the one that was added."""
    table = new_table()
    job = add(table, 1)
    assert table.get(job.id) is table.find(primes(1)) is job
    end(table, job)
    assert table.get(job.id) is table.find(primes(1)) is job
    assert table.find(primes(1, 2)) is None
    assert len(table) == 1


async def test_an_unknown_id_is_said_to_be_unknown() -> None:
    """An id that no job has raises an error that names it and says what to do."""
    with pytest.raises(UnknownJob, match=f"{primes(1).job_id}.* submit the range again"):
        new_table().get(primes(1).job_id)


@pytest.mark.parametrize("how", ["fail", "cancel"])
async def test_a_job_without_a_result_is_started_anew(how: str) -> None:
    """A range whose job failed or was cancelled has none; a new one takes the place of the old."""
    table = new_table(max_jobs=1)
    earlier = add(table, 1, ended=how)
    assert table.find(primes(1)) is None
    assert table.get(earlier.id) is earlier
    job = add(table, 1)
    assert table.find(primes(1)) is table.get(earlier.id) is job
    assert len(table) == 1
    assert table.current_bytes == size_of(job)
    table.note_end(earlier)  # told late: it is no news of the job in its place
    with pytest.raises(ServiceFull):
        add(table, 2)
    assert table.find(primes(1)) is job


@pytest.mark.parametrize("how", ["succeed", "fail", "cancel"])
async def test_a_job_is_known_from_its_end_on(how: str) -> None:
    """A job that has ended but was not yet reported as finished is not forgotten meanwhile."""
    table = new_table()
    job = add(table, 1)
    job.start()
    if how == "fail":
        job.fail(OSError("gone"))
    else:
        getattr(job, how)()
    assert table.get(job.id) is job
    assert table.find(primes(1)) is (job if how == "succeed" else None)
    assert table.get(job.id) is job
    table.note_end(job)
    assert table.get(job.id) is job


async def test_the_oldest_finished_goes_first() -> None:
    """At the limit of jobs the one goes that finished first, not the one that was added first."""
    table = new_table(max_jobs=3)
    jobs = [add(table, number) for number in (1, 2, 3)]
    for job in (jobs[1], jobs[2], jobs[0]):
        end(table, job)
    add(table, 4, ended="succeed")
    assert known(table) == [1, 3, 4]
    add(table, 5)
    assert known(table) == [1, 4, 5]
    with pytest.raises(JobGone):
        table.get(jobs[1].id)
    assert table.find(jobs[2].question) is None


async def test_unfinished_jobs_are_never_forgotten() -> None:
    """A table full of unfinished jobs takes no more, says so, and takes one when one is done."""
    table = new_table(max_jobs=2)
    first, second = add(table, 1), add(table, 2)
    with pytest.raises(ServiceFull, match="the limit is 2") as caught:
        add(table, 3)
    assert caught.value.limit == 2
    assert caught.value.retry_after_s is not None
    assert known(table) == [1, 2]
    end(table, first)
    add(table, 3)
    assert known(table) == [2, 3]
    assert table.get(second.id) is second


async def test_unfinished_jobs_are_bounded_apart() -> None:
    """Fewer jobs may be unfinished than known, and too many of them drive out no finished one."""
    table = new_table(max_jobs=4, max_unfinished=2)
    add(table, 1, ended="succeed")
    add(table, 2, ended="succeed")
    first = add(table, 3)
    add(table, 4)
    with pytest.raises(ServiceFull, match="the limit is 2"):
        add(table, 5)
    assert known(table) == [1, 2, 3, 4]
    end(table, first)
    add(table, 5)
    assert known(table) == [2, 3, 4, 5]


async def test_a_job_that_cannot_fit_drives_out_nobody() -> None:
    """A job larger than all the memory is refused, and the finished ones stay."""
    size = size_of(new_job(0))
    table = new_table(max_bytes=3 * size)
    for number in (1, 2):
        add(table, number, ended="succeed")
    with pytest.raises(ServiceFull):
        add(table, 3, pieces=3 * size)
    assert known(table) == [1, 2]


async def test_kinds_do_not_mix() -> None:
    """A count of a range is another job than its primes, also when one of them is replaced."""
    table = new_table()
    listed, count = new_job(1), new_job(1, kind=Count)
    table.add(listed)
    assert table.find(Count(Range(1, 1))) is None
    table.add(count)
    assert table.find(primes(1)) is table.get(listed.id) is listed
    assert table.find(Count(Range(1, 1))) is table.get(count.id) is count
    end(table, count, "cancel")
    again = new_job(1, kind=Count)
    table.add(again)
    assert table.find(primes(1)) is listed
    assert table.find(Count(Range(1, 1))) is again
    assert len(table) == 2


async def test_a_forgotten_job_is_told_from_one_that_never_was() -> None:
    """An id that a job had is gone, one that no job had is unknown; a new job takes it again."""
    table = new_table()
    job = add(table, 1, ended="succeed")
    table.forget(job)
    table.forget(job)  # once more changes nothing
    assert table.find(primes(1)) is None
    assert (len(table), table.current_bytes) == (0, 0)
    with pytest.raises(JobGone, match=job.id):
        table.get(job.id)
    with pytest.raises(UnknownJob) as unknown:
        table.get(primes(2).job_id)
    assert type(unknown.value) is UnknownJob
    again = add(table, 1)
    assert table.get(job.id) is again
    table.forget(job)  # that one is gone already; the job in its place is not meant
    assert table.get(job.id) is again


async def test_what_is_remembered_of_the_forgotten_is_bounded() -> None:
    """So many ids of forgotten jobs are remembered, and the oldest of them goes first."""
    table = new_table(max_jobs=1)
    for number in range(REMEMBERED + 2):
        add(table, number, ended="succeed")
    with pytest.raises(UnknownJob) as caught:
        table.get(primes(0).job_id)
    assert type(caught.value) is UnknownJob
    with pytest.raises(JobGone):
        table.get(primes(1).job_id)


async def test_expired_jobs_can_be_forgotten_at_once() -> None:
    """All finished jobs whose time is over go, and no others."""
    table = new_table(ttl_s=0.01)
    add(table, 1)
    add(table, 2, ended="succeed")
    add(table, 3, ended="fail")

    def only_the_unfinished() -> bool:
        table.forget_expired()
        return known(table) == [1]

    await eventually(only_the_unfinished)


async def test_memory_that_a_job_takes_later_counts() -> None:
    """What is kept with a job is counted and goes with it; a forgotten one keeps nothing."""
    table = new_table()
    job, other = add(table, 1, ended="succeed"), add(table, 2, ended="succeed")
    both = table.current_bytes
    assert table.kept(job, "text") is None
    table.keep(job, "text", bytes(1000))
    table.keep(job, "text", bytes(2000))  # made twice at the same time: one is kept
    assert table.kept(job, "text") == bytes(1000)
    assert table.kept(job, "json") is table.kept(other, "text") is None
    assert table.current_bytes == both + 1000
    table.forget(job)
    assert table.kept(job, "text") is None
    assert table.current_bytes == job_bytes(other)
    table.keep(job, "text", bytes(1000))
    assert table.current_bytes == job_bytes(other)
    again = add(table, 1, ended="succeed")
    assert table.kept(again, "text") is None


async def test_memory_is_bounded() -> None:
    """A job that needs room for its pieces drives out as many finished ones as it takes."""
    small = job_bytes(new_job(0))
    table = new_table(max_bytes=4 * small + WORKING_BYTES)
    for number in (1, 2, 3, 4):
        add(table, number, ended="succeed")
    assert table.current_bytes == 4 * small
    large = add(table, 5, pieces=small // 9)  # takes nearly twice as much as a small one
    assert small < job_bytes(large) <= 2 * small
    assert known(table) == [3, 4, 5]
    assert table.current_bytes == 2 * small + size_of(large)


async def test_the_memory_of_the_work_is_given_back_when_it_is_done() -> None:
    """An unfinished job takes memory for the calls it waits for, a finished one for its pieces."""
    table = new_table()
    job = add(table, 1)
    assert table.current_bytes == size_of(job)
    end(table, job)
    table.note_end(job)  # as when it was cancelled: once at once, once when its task has ended
    assert table.current_bytes == job_bytes(job) == JOB_BYTES + PIECE_BYTES


async def test_memory_of_unfinished_jobs_is_bounded() -> None:
    """When unfinished jobs take all the memory there is, the table is full."""
    size = size_of(new_job(0))
    table = new_table(max_bytes=2 * size + 1)
    add(table, 1)
    add(table, 2)
    with pytest.raises(ServiceFull, match="bytes") as caught:
        add(table, 3)
    assert caught.value.limit == 2 * size + 1
    assert known(table) == [1, 2]
    assert table.current_bytes == 2 * size


async def test_a_finished_job_is_forgotten_in_time() -> None:
    """After its time a finished job is unknown and its range free; an unfinished one stays."""
    table = new_table(ttl_s=0.01)
    unfinished = add(table, 1)
    by_id, by_range = add(table, 2, ended="succeed"), add(table, 3, ended="succeed")
    await eventually(lambda: table.find(by_range.question) is None)
    with pytest.raises(JobGone):
        table.get(by_id.id)
    assert table.get(unfinished.id) is unfinished
    assert known(table) == [1]
    assert table.current_bytes == size_of(unfinished)


async def test_a_new_job_makes_the_table_forget_the_expired() -> None:
    """Expired jobs that nobody asks for go when the next job comes."""
    table = new_table(ttl_s=0)
    add(table, 1, ended="succeed")
    add(table, 2, ended="fail")
    add(table, 3)
    assert known(table) == [3]


async def test_a_cancelled_job_can_be_asked_for() -> None:
    """The id of a cancelled job stays known, so that who asks learns that it was cancelled."""
    table = new_table()
    job = add(table, 1, ended="cancel")
    with pytest.raises(JobCancelled):
        table.get(job.id).check()


steps = st.lists(
    st.tuples(st.sampled_from(["add", "succeed", "fail", "cancel"]), st.integers(0, 8)),
    max_size=40,
)


async def run_steps(sequence: list[tuple[str, int]]) -> None:
    """Take the steps in a small table; its bounds and its memory hold after each."""
    table = new_table(max_jobs=4, max_bytes=PLENTY_BYTES)
    unfinished: dict[int, Job] = {}
    for what, number in sequence:
        if what == "add":
            if table.find(primes(number)) is not None:
                continue
            if len(unfinished) == 4:
                with pytest.raises(ServiceFull):
                    add(table, number)
            else:
                unfinished[number] = add(table, number)
        elif number in unfinished:
            end(table, unfinished.pop(number), what)
        assert len(table) <= 4
        assert table.current_bytes == sum(
            job_bytes(job) + WORKING_BYTES * (not job.state.final) for job in table
        )
        for job in unfinished.values():
            assert table.get(job.id) is table.find(job.question) is job


@settings(deadline=None)
@given(steps)
async def test_bounds_hold_whatever_happens(sequence: list[tuple[str, int]]) -> None:
    """In any order of jobs added and ended the table keeps to its bounds and to unfinished jobs."""
    await run_steps(sequence)
