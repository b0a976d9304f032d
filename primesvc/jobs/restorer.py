"""Makes jobs again from what a journal knows of them."""

import time
from collections.abc import Callable

from primesvc.errors import PrimesvcError
from primesvc.jobs.job import Job, Plan, State
from primesvc.jobs.records import GRIDS, JournaledJob
from primesvc.sieve.grid import SEGMENTS


def restore(known: JournaledJob, *, ttl_s: float, check_size: Callable[[Plan], None]) -> Job | None:
    """The job as it was: finished, or queued to go on. None if its time is over.

    One that succeeded on a grid that was cut otherwise is queued too. Raises
    what `check_size` raises, before the job takes any memory.
    """
    left_s = ttl_s
    if known.finished_s is not None:
        # The clock may have been set back since.
        left_s = min(known.finished_s + ttl_s - time.time(), ttl_s)
    if left_s <= 0:
        return None
    grid = GRIDS.get(known.grid, SEGMENTS)
    plan = Plan(known.range, grid, grid.cover(known.range), keep=known.keep)
    check_size(plan)
    job = Job(known.range, plan, known.kind)
    job.created_s = known.created_s
    if known.state is State.SUCCEEDED:
        if known.summaries is None:
            return job
        job.recall(known.summaries)
    if known.state.final:
        job.recall_end(
            known.state,
            started_s=known.started_s,
            finished_s=known.finished_s or time.time(),
            error=None if known.error is None else PrimesvcError(known.error),
        )
        job.known_until_s = time.monotonic() + left_s
    return job
