"""What a job would take, and how long it still takes."""

import pytest

from primesvc.errors import RangeNotAllowed
from primesvc.jobs.admission import Admission
from primesvc.jobs.job import Job, Kind, Plan
from primesvc.sieve.engine import load_engine
from primesvc.sieve.grid import SEGMENTS
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import Range

RANGE = Range(0, 10**10)


def admission(*, workers: int = 2, max_span: int = 10**13, max_s: float = 1000) -> Admission:
    """What is let in on so many processors."""
    return Admission(load_engine("auto"), workers=workers, max_span=max_span, max_s=max_s)


def begun(*, seconds_ago: float) -> Job:
    """A job that has found the first of its pieces, after so many seconds."""
    plan = Plan(RANGE, SEGMENTS, SEGMENTS.cover(RANGE), keep=False)
    job = Job(RANGE, plan, Kind.COUNT)
    job.start()
    assert job.started_s is not None
    job.started_s -= seconds_ago
    job.record(0, Summary(295_947, 2_000_000))
    return job


async def test_what_is_left_is_what_is_estimated_until_there_is_a_rate() -> None:
    """A job that nothing is known of takes what its range takes."""
    plan = Plan(RANGE, SEGMENTS, SEGMENTS.cover(RANGE), keep=False)
    job = Job(RANGE, plan, Kind.COUNT)
    assert admission().left_s(job) == admission().check(RANGE, Kind.COUNT)


async def test_a_slow_beginning_does_not_make_a_job_long() -> None:
    """The first piece of a job may have waited for others: its rate says little then."""
    slow = begun(seconds_ago=100)
    assert slow.eta_s is not None
    assert admission().left_s(slow) < admission().check(RANGE, Kind.COUNT) < slow.eta_s


async def test_a_job_that_is_faster_than_estimated_is_taken_at_its_rate() -> None:
    """Pieces that were known already cost nothing."""
    fast = begun(seconds_ago=0)
    fast.done_numbers = RANGE.span - 1
    assert fast.eta_s is not None
    assert admission().left_s(fast) <= fast.eta_s


def test_limits_are_those_of_the_settings() -> None:
    """A range is let in up to the limits, and not beyond either of them."""
    seconds = admission().check(RANGE, Kind.COUNT)
    assert admission(workers=1).check(RANGE, Kind.COUNT) == pytest.approx(2 * seconds)
    assert admission(max_s=seconds).check(RANGE, Kind.COUNT) == seconds
    with pytest.raises(RangeNotAllowed, match="max_job_s"):
        admission(max_s=seconds * 0.99).check(RANGE, Kind.COUNT)
    assert admission(max_span=RANGE.span).check(RANGE, Kind.COUNT) == seconds
    with pytest.raises(RangeNotAllowed, match="max_span"):
        admission(max_span=RANGE.span - 1).check(RANGE, Kind.COUNT)
