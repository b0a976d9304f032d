"""Submits, runs, cancels and forgets jobs, and keeps the journal of it all."""

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import Final

from primesvc.compute.dispatcher import Dispatcher
from primesvc.errors import PrimesvcError, RangeNotAllowed, ServiceClosed, ServiceFull
from primesvc.jobs.admission import Admission
from primesvc.jobs.job import Job, Kind, State
from primesvc.jobs.journal import Journal
from primesvc.jobs.planner import make_plan
from primesvc.jobs.recorder import Recorder
from primesvc.jobs.restorer import restore
from primesvc.jobs.runner import run_job
from primesvc.jobs.table import JobTable
from primesvc.sieve.engine import Engine
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import Range
from primesvc.store.segments import SegmentStore

log = logging.getLogger(__name__)

LOOK_S: Final = 0.2
"""Seconds from one look at what is left to do to the next, while jobs settle."""


class JobManager:
    """All jobs of a service; each unfinished one is an `asyncio.Task`.

    `ahead` is how many chunks one job asks for at a time, `cache_bytes` what
    the cache holds. With a journal, `resume` first; `close` in the end.
    """

    def __init__(
        self,
        table: JobTable,
        store: SegmentStore,
        dispatcher: Dispatcher,
        engine: Engine,
        *,
        cache_bytes: int,
        ahead: int,
        admission: Admission,
    ) -> None:
        self.table = table
        self.admission = admission
        self.ended: Counter[State] = Counter()
        """How many jobs ended in each state, also those that were forgotten since."""
        self._store = store
        self._dispatcher = dispatcher
        self._engine = engine
        self._cache_bytes = cache_bytes
        self._ahead = ahead
        self._running: dict[str, asyncio.Task[None]] = {}
        # Also those of cancelled jobs whose range was submitted again before they ended.
        self._tasks: set[asyncio.Task[None]] = set()
        self._recorder: Recorder | None = None
        self._draining = False

    async def submit(self, range_: Range, kind: Kind) -> Job:
        """The job for a range: the one there is, or a new one that starts at once.

        Raises `RangeNotAllowed` as `Admission.check` does and for more pieces than
        the table has room for, `ServiceFull` and `ServiceClosed`.
        """
        job = self.table.find(range_, kind)
        if job is not None:
            return job
        self.admission.check(range_, kind)
        # What is only counted is not kept: it would push out what is read.
        cache_bytes = 0 if kind is Kind.COUNT else self._cache_bytes
        plan = await make_plan(range_, self._store, self._engine, cache_bytes=cache_bytes)
        # Another request for it may have come meanwhile.
        job = self.table.find(range_, kind)
        if job is not None:
            return job
        if self._draining:
            raise ServiceClosed
        self.table.check_size(plan)
        job = Job(range_, plan, kind)
        self.table.add(job)
        self._start(job)
        return job

    def _start(self, job: Job) -> None:
        if self._recorder is not None:
            self._recorder.begun(job)
        task = asyncio.create_task(self._run(job), name=f"job {job.kind} {job.range}")
        self._running[job.id] = task
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, job))

    async def _run(self, job: Job) -> None:
        job.start()
        queue = self._dispatcher.queue(str(job.range))
        try:
            await run_job(job, self._store, queue, ahead=self._ahead)
        except PrimesvcError as error:
            job.fail(error)
        except Exception as error:
            log.exception("the job %s failed", job.range)
            job.fail(error)
        else:
            job.succeed()

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        job.cancel()  # nothing if it is finished: only a cancelled task left it unfinished
        self._tasks.discard(task)
        if self._running.get(job.id) is task:
            del self._running[job.id]
        self.ended[job.state] += 1
        self._finish(job)

    def _finish(self, job: Job) -> None:
        self.table.note_end(job)
        if self._recorder is not None:
            self._recorder.ended(job)

    def cancel(self, job: Job) -> None:
        """Stop a job; what it shares with others goes on. Nothing if it is finished.

        Chunks that no worker has begun are dropped, those begun end within
        a chunk's time.
        """
        task = self._running.get(job.id)
        if task is not None and not job.state.final:
            job.cancel()
            task.cancel()
            # Not only when the task has ended: its place is free at once, and the
            # service may stop before that.
            self._finish(job)

    def forget(self, job: Job) -> None:
        """Cancel a job if it is unfinished, and forget it."""
        self.cancel(job)
        self.table.forget(job)

    async def resume(self, journal: Journal, *, ttl_s: float) -> None:
        """Take up the jobs of a journal, and note in it what happens from now on."""
        jobs, pieces = await journal.load()
        recorder = self._recorder = Recorder(journal, self.table)
        for grid in (SEGMENTS, CELLS):
            for signature, index, count, digits in pieces:
                if signature == grid.signature:
                    self._store.recall(grid, index, Summary(count, digits))
        for known in jobs:
            try:
                job = restore(known, ttl_s=ttl_s, check_size=self.table.check_size)
                if job is not None:
                    self.table.add(job)
            except (RangeNotAllowed, ServiceFull) as error:
                log.warning("the job %s stays in the journal, not taken up: %s", known.range, error)
                continue
            if job is None:
                journal.forget(known.id)
            elif job.state.final:
                self.table.note_end(job)
            else:
                self._start(job)
        recorder.resumed(pieces)

    def sieved(self, grid: Grid, summaries: dict[int, Summary]) -> None:
        """Note pieces that were sieved, for the journal."""
        if self._recorder is not None:
            self._recorder.sieved(grid, summaries)

    def forgotten(self, job: Job) -> None:
        """Note that the table forgot a job, for the journal."""
        if self._recorder is not None:
            self._recorder.forgotten(job)

    def drain(self) -> None:
        """Take no new jobs from now on."""
        self._draining = True

    async def settle(self, within_s: float) -> int:
        """Wait for the jobs that will end within so many seconds, by their estimates.

        Others are not waited for. Returns how many have ended.
        """
        clock = asyncio.get_running_loop().time
        until_s = clock() + within_s
        waited_for: set[Job] = set()
        while (left_s := until_s - clock()) > 0:
            unfinished = (job for job in self.table if not job.state.final)
            soon = {job for job in unfinished if self.admission.left_s(job) <= left_s}
            if not soon:
                break
            waited_for |= soon
            # Looked at again now and then: an estimate may have been wrong.
            await asyncio.wait(
                [job.ended for job in soon],
                timeout=min(left_s, LOOK_S),
                return_when=asyncio.FIRST_COMPLETED,
            )
        return sum(job.state.final for job in waited_for)

    async def close(self) -> None:
        """Stop the jobs; the journal keeps those that are unfinished as they are."""
        self.drain()
        self._recorder = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def __repr__(self) -> str:
        return f"<JobManager {len(self._running)} running of {len(self.table)} jobs>"
