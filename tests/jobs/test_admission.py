"""What a job would take, and how long it still takes."""

import pytest

from primesvc.collect.collected import PIECE_BYTES
from primesvc.collect.plan import Plan
from primesvc.errors import RangeNotAllowed
from primesvc.jobs.admission import Admission
from primesvc.jobs.job import Job
from primesvc.kinds.base import JOB_BYTES, WORKING_BYTES, Limits
from primesvc.kinds.primes import Primes
from primesvc.kinds.ranges import Collecting
from primesvc.sieve.engine import load_engine
from primesvc.sieve.grid import SEGMENTS
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import Range

RANGE = Range(0, 10**10)
ASKED = Primes(RANGE)
PLENTY_BYTES = 2**26


def admission(
    *,
    workers: int = 2,
    max_span: int = 10**13,
    max_s: float = 1000,
    max_bytes: int = PLENTY_BYTES,
) -> Admission:
    """What is let in on so many processors."""
    limits = Limits(max_span=max_span, max_s=max_s, max_bytes=max_bytes)
    return Admission(load_engine("auto"), workers=workers, limits=limits)


def queued() -> Job:
    """A job that has not begun."""
    return Job(ASKED, Collecting(Plan(RANGE, SEGMENTS, SEGMENTS.cover(RANGE), keep=False)))


def begun(*, seconds_ago: float) -> Job:
    """A job that has found the first of its pieces, after so many seconds."""
    job = queued()
    job.start()
    assert job._began_s is not None
    job._began_s -= seconds_ago  # nobody can set this clock
    job.collected.record(0, Summary(295_947, 2_000_000))
    return job


async def test_what_is_left_is_what_is_estimated_until_there_is_a_rate() -> None:
    """A job that nothing is known of takes what its range takes."""
    assert admission().left_s(queued()) == admission().check(ASKED)


async def test_a_slow_beginning_does_not_make_a_job_long() -> None:
    """The first piece of a job may have waited for others: its rate says little then."""
    slow = begun(seconds_ago=100)
    assert slow.eta_s is not None
    assert admission().left_s(slow) < admission().check(ASKED) < slow.eta_s


async def test_a_job_that_is_faster_than_estimated_is_taken_at_its_rate() -> None:
    """Pieces that were known already cost nothing."""
    fast = begun(seconds_ago=0)
    fast.collected.done_numbers = RANGE.span - 1
    assert fast.eta_s is not None
    assert admission().left_s(fast) <= fast.eta_s


def test_limits_are_those_of_the_settings() -> None:
    """A range is let in up to the limits, and not beyond either of them."""
    seconds = admission().check(ASKED)
    assert admission(workers=1).check(ASKED) == pytest.approx(2 * seconds)
    assert admission(max_s=seconds).check(ASKED) == seconds
    with pytest.raises(RangeNotAllowed, match="max_job_s"):
        admission(max_s=seconds * 0.99).check(ASKED)
    assert admission(max_span=RANGE.end).check(ASKED) == seconds
    with pytest.raises(RangeNotAllowed, match="max_span"):
        admission(max_span=RANGE.end - 1).check(ASKED)


def test_a_question_of_too_many_pieces_is_not_allowed() -> None:
    """What could never be kept is refused before it is planned, also if it was let in once."""
    pieces = len(SEGMENTS.cover(RANGE))
    limit = JOB_BYTES + WORKING_BYTES + PIECE_BYTES * pieces
    admission(max_bytes=limit).check(ASKED)
    with pytest.raises(RangeNotAllowed, match=f"{pieces} pieces.*max_job_bytes") as caught:
        admission(max_bytes=limit - 1).check(ASKED)
    assert caught.value.limit == limit - 1
    with pytest.raises(RangeNotAllowed, match="max_job_bytes"):
        admission(max_bytes=limit - 1).check_known(ASKED)
    admission(max_bytes=limit, max_span=1, max_s=0).check_known(ASKED)
