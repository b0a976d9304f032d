"""Submits, runs, cancels and forgets jobs, and keeps the journal of it all."""

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import Final

from primesvc.compute.dispatcher import Dispatcher
from primesvc.errors import PrimesvcError, RangeNotAllowed, ServiceClosed, ServiceFull
from primesvc.jobs.admission import Admission
from primesvc.jobs.job import Job
from primesvc.jobs.recorder import NullRecorder
from primesvc.jobs.restorer import left_s, restore
from primesvc.jobs.table import JobTable
from primesvc.kinds.base import Question, Resources
from primesvc.sieve.grid import find_grid
from primesvc.sieve.packed import Summary
from primesvc.states import State

log = logging.getLogger(__name__)

LOOK_S: Final = 0.2
"""Seconds from one look at what is left to do to the next, while jobs settle."""


class JobManager:
    """All jobs of a service; each unfinished one is an `asyncio.Task`.

    The recorder notes what happens to them. `resume` first; `close` in the end.
    """

    def __init__(
        self,
        table: JobTable,
        recorder: NullRecorder,
        resources: Resources,
        dispatcher: Dispatcher,
        admission: Admission,
    ) -> None:
        self.table = table
        self.admission = admission
        self.ended: Counter[State] = Counter()
        """How many jobs ended in each state, also those that were forgotten since."""
        self._recorder = recorder
        self._resources = resources
        self._dispatcher = dispatcher
        self._running: dict[str, asyncio.Task[None]] = {}
        # Also those of cancelled jobs whose question was submitted again before they ended.
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    async def submit(self, question: Question) -> Job:
        """The job for a question: the one there is, or a new one that starts at once.

        Raises `RangeNotAllowed` as `Admission.check` does, `ServiceFull` and `ServiceClosed`,
        and with `journal_sync` `JournalBehind`.
        """
        job = await self._find_or_start(question)
        await self.written(job)
        return job

    async def _find_or_start(self, question: Question) -> Job:
        job = self.table.find(question)
        if job is not None:
            return job
        self.admission.check(question)
        work = await question.plan(self._resources)
        # Another request for it may have come meanwhile.
        job = self.table.find(question)
        if job is not None:
            return job
        if self._draining:
            raise ServiceClosed
        job = Job(question, work)
        self.table.add(job)
        self._start(job)
        return job

    def _start(self, job: Job) -> None:
        self._recorder.begun(job)
        task = asyncio.create_task(self._run(job), name=f"job {job.question.key}")
        self._running[job.id] = task
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, job))

    async def _run(self, job: Job) -> None:
        job.start()
        work_s = self.admission.work_s(job.question)
        queue = self._dispatcher.queue(job.question.key, work_s=work_s)
        try:
            await job.work.run(self._resources, queue)
        except PrimesvcError as error:
            job.fail(error)
        except Exception as error:
            log.exception("the job for %s failed", job.question)
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
        self._recorder.ended(job)

    def cancel(self, job: Job) -> None:
        """Stop a job; what it shares with others goes on. Nothing if it is finished.

        Calls that no worker has begun are dropped; those begun end within 0.1 s, or
        are ended with their workers.
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

    async def written(self, job: Job) -> None:
        """Wait until what happened to a job is in the journal, with `journal_sync`.

        Raises `JournalBehind`.
        """
        await self._recorder.promised(job.id)

    async def resume(self) -> None:
        """Take up the jobs that an earlier run noted."""
        jobs, pieces = await self._recorder.load()
        for signature, index, count, digits in pieces:
            if (grid := find_grid(signature)) is not None:
                self._resources.store.recall(grid, index, Summary(count, digits))
        for known in jobs:
            left = left_s(known, self.table.ttl_s)
            if left <= 0:
                self._recorder.forgotten(known.id)
                continue
            try:
                self.admission.check_known(known.question)
                job = restore(known)
                self.table.add(job)
            except (RangeNotAllowed, ServiceFull) as error:
                log.warning(
                    "the job for %s stays in the journal, not taken up: %s", known.question, error
                )
                continue
            if job.state.final:
                self.table.note_end(job, left_s=left)
            else:
                self._start(job)
        self._recorder.resumed(pieces)

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
        self._recorder.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def __repr__(self) -> str:
        return f"<JobManager {len(self._running)} running of {len(self.table)} jobs>"
