"""Makes jobs again from what a journal knows of them."""

import time

from primesvc.errors import PrimesvcError
from primesvc.jobs.job import Job, Kind, Plan, State
from primesvc.jobs.journal import JournaledJob
from primesvc.sieve.grid import CELLS, SEGMENTS
from primesvc.sieve.range import Range


def restore(known: JournaledJob, *, ttl_s: float) -> Job | None:
    """The job as it was: finished, or queued to go on. None if its time is over.

    One that succeeded on a grid that was cut otherwise is queued too.
    """
    left_s = ttl_s if known.finished_s is None else known.finished_s + ttl_s - time.time()
    if left_s <= 0:
        return None
    range_ = Range(known.start, known.end)
    grid = {grid.signature: grid for grid in (SEGMENTS, CELLS)}.get(known.grid, SEGMENTS)
    plan = Plan(range_, grid, grid.cover(range_), keep=known.keep)
    job = Job(range_, plan, Kind(known.kind))
    job.created_s = known.created_s
    if known.state is State.SUCCEEDED:
        summaries = known.summaries if known.grid == grid.signature else None
        if summaries is None or len(summaries) != len(plan.indices):
            return job
        job.recall(summaries)
    if known.state.final:
        job.recall_end(
            known.state,
            started_s=known.started_s,
            finished_s=known.finished_s or time.time(),
            error=None if known.error is None else PrimesvcError(known.error),
        )
        job.known_until_s = time.monotonic() + left_s
    return job
