"""The job table: bounded in number, in memory and in time, and it forgets in the right order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primesvc.errors import JobCancelled, JobGone, RangeNotAllowed, ServiceFull, UnknownJob
from primesvc.jobs.job import WORKING_BYTES, Job, Kind, Plan, job_bytes, job_id
from primesvc.jobs.table import REMEMBERED, JobTable
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


def new_job(number: int, *, pieces: int = 1, kind: Kind = Kind.PRIMES) -> Job:
    """A queued job: another number, another range."""
    range_ = Range(number, (pieces - 1) * 65_536 + number)
    return Job(range_, Plan(range_, CELLS, CELLS.cover(range_), keep=True), kind)


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
    assert table.get(job.id) is table.find(Range(1, 1)) is job
    end(table, job)
    assert table.get(job.id) is table.find(Range(1, 1)) is job
    assert table.find(Range(1, 2)) is None
    assert len(table) == 1


async def test_an_unknown_id_is_said_to_be_unknown() -> None:
    """An id that no job has raises an error that names it and says what to do."""
    with pytest.raises(UnknownJob, match=f"{job_id(Range(1, 1))}.* submit the range again"):
        new_table().get(job_id(Range(1, 1)))


@pytest.mark.parametrize("how", ["fail", "cancel"])
async def test_a_job_without_a_result_is_started_anew(how: str) -> None:
    """A range whose job failed or was cancelled has none; a new one takes the place of the old."""
    table = new_table(max_jobs=1)
    earlier = add(table, 1, ended=how)
    assert table.find(Range(1, 1)) is None
    assert table.get(earlier.id) is earlier
    job = add(table, 1)
    assert table.find(Range(1, 1)) is table.get(earlier.id) is job
    assert len(table) == 1
    assert table.current_bytes == job.size_bytes
    table.note_end(earlier)  # told late: it is no news of the job in its place
    with pytest.raises(ServiceFull):
        add(table, 2)
    assert table.find(Range(1, 1)) is job


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
    assert table.find(Range(1, 1)) is (job if how == "succeed" else None)
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
    assert table.find(jobs[2].range) is None


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
    size = new_job(0).size_bytes
    table = new_table(max_bytes=3 * size)
    for number in (1, 2):
        add(table, number, ended="succeed")
    with pytest.raises(ServiceFull):
        add(table, 3, pieces=3 * size)
    assert known(table) == [1, 2]


def test_a_range_of_too_many_pieces_is_not_allowed() -> None:
    """What could never be kept is refused before it is made, and not for a moment only."""
    limit = job_bytes(100) + WORKING_BYTES
    table = new_table(max_bytes=limit)

    def plan(pieces: int) -> Plan:
        range_ = Range(0, pieces * 65_536 - 1)
        return Plan(range_, CELLS, CELLS.cover(range_), keep=True)

    table.check_size(plan(100))
    with pytest.raises(RangeNotAllowed, match="101 pieces") as caught:
        table.check_size(plan(101))
    assert caught.value.limit == limit


async def test_kinds_do_not_mix() -> None:
    """A count of a range is another job than its primes, also when one of them is replaced."""
    table = new_table()
    primes, count = new_job(1), new_job(1, kind=Kind.COUNT)
    table.add(primes)
    assert table.find(Range(1, 1), Kind.COUNT) is None
    table.add(count)
    assert table.find(Range(1, 1)) is table.get(primes.id) is primes
    assert table.find(Range(1, 1), Kind.COUNT) is table.get(count.id) is count
    end(table, count, "cancel")
    again = new_job(1, kind=Kind.COUNT)
    table.add(again)
    assert table.find(Range(1, 1)) is primes
    assert table.find(Range(1, 1), Kind.COUNT) is again
    assert len(table) == 2


async def test_a_forgotten_job_is_told_from_one_that_never_was() -> None:
    """An id that a job had is gone, one that no job had is unknown; a new job takes it again."""
    table = new_table()
    job = add(table, 1, ended="succeed")
    table.forget(job)
    table.forget(job)  # once more changes nothing
    assert table.find(Range(1, 1)) is None
    assert (len(table), table.current_bytes) == (0, 0)
    with pytest.raises(JobGone, match=job.id):
        table.get(job.id)
    with pytest.raises(UnknownJob) as unknown:
        table.get(job_id(Range(2, 2)))
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
        table.get(job_id(Range(0, 0)))
    assert type(caught.value) is UnknownJob
    with pytest.raises(JobGone):
        table.get(job_id(Range(1, 1)))


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
    """What is charged to a job is given back with it, and nothing is charged to a forgotten one."""
    table = new_table()
    job, other = add(table, 1, ended="succeed"), add(table, 2, ended="succeed")
    both = table.current_bytes
    table.charge(job, 1000)
    assert table.current_bytes == both + 1000
    table.forget(job)
    assert table.current_bytes == other.size_bytes
    table.charge(job, 1000)
    assert table.current_bytes == other.size_bytes


async def test_memory_is_bounded() -> None:
    """A job that needs room for its pieces drives out as many finished ones as it takes."""
    small = new_job(0).size_bytes - WORKING_BYTES
    table = new_table(max_bytes=4 * small + WORKING_BYTES)
    for number in (1, 2, 3, 4):
        add(table, number, ended="succeed")
    assert table.current_bytes == 4 * small
    large = add(table, 5, pieces=small // 9)  # takes nearly twice as much as a small one
    assert small < large.size_bytes - WORKING_BYTES <= 2 * small
    assert known(table) == [3, 4, 5]
    assert table.current_bytes == 2 * small + large.size_bytes


async def test_the_memory_of_the_work_is_given_back_when_it_is_done() -> None:
    """An unfinished job takes memory for the calls it waits for, a finished one for its pieces."""
    table = new_table()
    job = add(table, 1)
    assert table.current_bytes == job_bytes(1) + WORKING_BYTES
    end(table, job)
    table.note_end(job)  # as when it was cancelled: once at once, once when its task has ended
    assert table.current_bytes == job.size_bytes == job_bytes(1)


async def test_memory_of_unfinished_jobs_is_bounded() -> None:
    """When unfinished jobs take all the memory there is, the table is full."""
    size = new_job(0).size_bytes
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
    await eventually(lambda: table.find(by_range.range) is None)
    with pytest.raises(JobGone):
        table.get(by_id.id)
    assert table.get(unfinished.id) is unfinished
    assert known(table) == [1]
    assert table.current_bytes == unfinished.size_bytes


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
            if table.find(Range(number, number)) is not None:
                continue
            if len(unfinished) == 4:
                with pytest.raises(ServiceFull):
                    add(table, number)
            else:
                unfinished[number] = add(table, number)
        elif number in unfinished:
            end(table, unfinished.pop(number), what)
        assert len(table) <= 4
        assert table.current_bytes == sum(job.size_bytes for job in table)
        for job in unfinished.values():
            assert table.get(job.id) is table.find(job.range) is job


@settings(deadline=None)
@given(steps)
async def test_bounds_hold_whatever_happens(sequence: list[tuple[str, int]]) -> None:
    """In any order of jobs added and ended the table keeps to its bounds and to unfinished jobs."""
    await run_steps(sequence)
