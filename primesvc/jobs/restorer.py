"""Makes jobs again from what a journal knows of them."""

import time

from primesvc.errors import PrimesvcError
from primesvc.jobs.job import Job
from primesvc.jobs.records import JournaledJob
from primesvc.states import State


def left_s(known: JournaledJob, ttl_s: float) -> float:
    """For how many seconds a job is to be known from now on, not above 0 if its time is over."""
    if known.finished_s is None:
        return ttl_s
    # The clock may have been set back since.
    return min(known.finished_s + ttl_s - time.time(), ttl_s)


def restore(known: JournaledJob) -> Job:
    """The job as it was: finished, or queued to go on.

    One that succeeded is queued too if what it found is of no use any more.
    """
    job = Job(known.question, known.work)
    job.created_s = known.created_s
    useless = known.state is State.SUCCEEDED and not known.work.progress
    if known.state.final and not useless:
        job.recall_end(
            known.state,
            started_s=known.started_s,
            finished_s=known.finished_s or time.time(),
            error=None if known.error is None else PrimesvcError(known.error),
        )
    return job
