"""PrimeService: everything primesvc does, without HTTP."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from aiocache.base import BaseCache
from numpy.typing import NDArray

from primesvc.budget import SHARED_PART, SUMMARY_BYTES, Budget
from primesvc.compute.arena import Arena
from primesvc.compute.cpus import usable_cpus
from primesvc.compute.dispatcher import INLINE_S, Dispatcher
from primesvc.compute.memory import usable_memory_bytes
from primesvc.compute.pool import ForeignExecutor, ProcessPool, Runner
from primesvc.errors import ServiceClosed
from primesvc.formats.base import Format, total_bytes, whole_body
from primesvc.jobs.admission import Admission
from primesvc.jobs.job import Job
from primesvc.jobs.journal import Journal
from primesvc.jobs.manager import JobManager
from primesvc.jobs.recorder import NullRecorder, Recorder
from primesvc.jobs.table import JobTable
from primesvc.kinds.base import Limits, Question, Resources
from primesvc.kinds.count import Count
from primesvc.kinds.primes import Primes
from primesvc.results.buffers import Buffers, Lease
from primesvc.results.layout import Layout
from primesvc.results.pieces import Source, cut_page, piece_bytes, prime_arrays
from primesvc.results.reader import ByteReader, Part, full_bytes, gentle_bytes
from primesvc.results.result import Result
from primesvc.settings import Settings
from primesvc.sieve.engine import Engine, load_engine
from primesvc.sieve.range import Range
from primesvc.states import State
from primesvc.store.lru import CacheStats, LRUCache
from primesvc.store.segments import SegmentStore
from primesvc.store.summaries import SummaryTable

log = logging.getLogger(__name__)

SLOT_BYTES: Final = 4 * 2**20
"""Bytes of one shared slot, and the most a call returns: the text of a segment
of 2^22 numbers, 2.6 MB, fits, and a handful of them stays in the third-level cache."""

SMALL_BODY_BYTES: Final = 16 * 2**10
"""Bodies up to here are made on the event loop and kept with their job: 2,000
primes take 20 µs, a fraction of the round trip to a worker."""


class Readiness(StrEnum):
    """Whether a service should be sent work."""

    STARTING = "starting"  # not entered yet, or its workers are not up
    READY = "ready"
    DRAINING = "draining"  # what is there can still be read, new jobs are refused


class PrimeService:
    """Sieves ranges on all cores and hands out their primes; enter it with `async with`.

    `executor` is any `concurrent.futures.Executor` to use instead of a pool of
    processes of our own, `cache` any aiocache backend to use instead of the
    byte-bounded one in memory; both stay open when the service closes.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        executor: Executor | None = None,
        cache: BaseCache | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.workers = self.settings.workers or usable_cpus()
        """How many processors it sieves on."""
        # One process more than processors: see dispatcher.EXPRESS_S. Those of an
        # embedder's executor are the embedder's business.
        self._processes = 0 if executor is not None else self.workers + 1
        usable_bytes = usable_memory_bytes()
        self.budget = Budget.of(self.settings, processes=self._processes, usable_bytes=usable_bytes)
        """How its memory is shared out."""
        if self.budget.total_bytes > usable_bytes:
            log.warning(
                "%d MiB of memory may be needed, there are %d: fewer workers would need less",
                self.budget.total_bytes >> 20,
                usable_bytes >> 20,
            )
        # Slots of memory shared with the workers: enough for four readers at full speed.
        self._slots = min(
            4 * (self.workers + 2), self.budget.buffer_bytes // SHARED_PART // SLOT_BYTES
        )
        self.buffers = Buffers(self.budget.buffer_bytes - self._slots * SLOT_BYTES)
        """Memory for results on their way to clients."""
        self.engine: Engine
        self.cache: BaseCache
        self.store: SegmentStore
        self.jobs: JobTable
        self.dispatcher: Dispatcher
        self.pool: ProcessPool | None = None
        """The worker processes; None with an embedder's executor."""
        self.phase = Readiness.STARTING
        self._executor = executor
        self._cache = cache
        self._source: Source
        self._manager: JobManager
        self._exit: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise RuntimeError("this service is running: make one for each application")
        settings = self.settings
        async with AsyncExitStack() as stack:
            # First of all: a journal that cannot be used must not cost anything.
            recorder = await self._open_recorder(stack)
            self.engine = await asyncio.to_thread(load_engine, settings.engine)
            arena = self._open_arena(stack)
            runner = await self._open_runner(stack)
            self.dispatcher = Dispatcher(
                runner,
                parallel=self.workers,
                arena=arena,
                # An embedder's executor gets all the work.
                inline_s=0.0 if self._executor is not None else INLINE_S,
                hang_s=settings.hang_timeout_s,
                memory_bytes=None if self._executor is not None else self.budget.call_bytes,
            )
            self.cache = self._open_cache(stack)
            self.store = SegmentStore(
                self.cache,
                SummaryTable(max_bytes=SUMMARY_BYTES),
                self.engine,
                chunk_bytes=SLOT_BYTES * 7 // 8,
                on_sieved=recorder.sieved,
            )
            self.jobs = JobTable(
                max_jobs=settings.max_jobs,
                max_bytes=self.budget.job_bytes,
                ttl_s=settings.job_ttl_s,
                max_unfinished=settings.max_unfinished_jobs,
                on_forget=recorder.forgotten,
            )
            ahead = self.workers + 2
            self._source = Source(self.store, self.engine, ahead=ahead, call_bytes=SLOT_BYTES)
            limits = Limits(
                max_span=settings.max_span,
                max_s=settings.max_job_s,
                max_bytes=self.budget.job_bytes,
            )
            self._manager = JobManager(
                self.jobs,
                recorder,
                Resources(self.store, self.engine, self.budget.cache_bytes, ahead),
                self.dispatcher,
                Admission(self.engine, workers=self.workers, limits=limits),
            )
            stack.push_async_callback(self._stop, runner)
            await self._manager.resume()
            self._exit = stack.pop_all()
        self.phase = Readiness.READY
        return self

    async def _open_recorder(self, stack: AsyncExitStack) -> NullRecorder:
        if not self.settings.journal:
            return NullRecorder()
        journal = await Journal.open(Path(self.settings.journal))
        stack.push_async_callback(journal.close)
        return Recorder(journal)

    def _open_cache(self, stack: AsyncExitStack) -> BaseCache:
        if self._cache is not None:
            return self._cache
        cache = LRUCache(max_bytes=self.budget.cache_bytes)
        stack.push_async_callback(cache.close)
        return cache

    def _open_arena(self, stack: AsyncExitStack) -> Arena | None:
        if self._executor is not None:
            return None  # its workers may be on another machine
        arena = Arena(slots=self._slots, slot_bytes=SLOT_BYTES)
        stack.callback(arena.close)
        return arena

    async def _open_runner(self, stack: AsyncExitStack) -> Runner:
        if self._executor is not None:
            return ForeignExecutor(self._executor)
        self.pool = ProcessPool(self._processes)
        stack.push_async_callback(self.pool.close)
        return self.pool

    async def _stop(self, runner: Runner) -> None:
        await self._manager.close()
        # The calls under way end with their workers.
        await runner.close()
        await self.dispatcher.close()
        await self.store.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel what runs, stop the workers; may be called again. Bounded in time."""
        self.drain()
        stack, self._exit = self._exit, None
        if stack is not None:
            await stack.aclose()

    @property
    def closed(self) -> bool:
        """Whether the service is not (or no longer) entered."""
        return self._exit is None

    async def warm_up(self) -> None:
        """Start the worker processes now instead of with the first work.

        Until they are there the service is `Readiness.STARTING`, and works.
        """
        if self.pool is None or self.phase is not Readiness.READY:
            return
        self.phase = Readiness.STARTING
        try:
            await self.pool.warm_up()
        finally:
            if self.phase is Readiness.STARTING:  # it may have been told to drain meanwhile
                self.phase = Readiness.READY

    def drain(self) -> None:
        """Take no new jobs from now on; those there are go on, and all can be read."""
        self.phase = Readiness.DRAINING
        if not self.closed:
            self._manager.drain()

    async def settle(self, within_s: float) -> int:
        """Wait for the jobs that will end within so many seconds, by their estimates.

        Others are not waited for. Returns how many have ended.
        """
        return await self._manager.settle(within_s)

    def find(self, asked: Question | Range) -> Job | None:
        """The job for a question, if there is one that has a result or will have."""
        return self.jobs.find(_question(asked))

    def estimate(self, asked: Question | Range) -> tuple[Mapping[str, Any], float]:
        """About what a job would find, and how many seconds it would take here.

        Nothing is started; what is cached already is not looked for. Raises
        `RangeNotAllowed` as `submit` does.
        """
        question = _question(asked)
        return question.expected(), self._manager.admission.check(question)

    async def submit(self, asked: Question | Range) -> Job:
        """The job for a question: the one there is, or a new one that starts at once.

        A range asks for its primes. Raises `RangeNotAllowed` beyond `max_span`,
        `max_job_s` and `max_job_bytes`, `ServiceFull`, `ServiceClosed`.
        """
        if self.closed:
            raise ServiceClosed
        return await self._manager.submit(_question(asked))

    def jobs_by_state(self) -> Mapping[State, int]:
        """How many jobs are known, by the state they are in; looks at each."""
        self.jobs.forget_expired()
        return Counter(job.state for job in self.jobs)

    @property
    def jobs_ended(self) -> Mapping[State, int]:
        """How many jobs ended in each state so far, also those that were forgotten since."""
        return self._manager.ended

    @property
    def cache_stats(self) -> CacheStats | None:
        """What the cache holds and did; None for an embedder's of another kind."""
        return self.cache.stats() if isinstance(self.cache, LRUCache) else None

    def job(self, job_id: str) -> Job:
        """The job with this id. Raises `UnknownJob`."""
        return self.jobs.get(job_id)

    def cancel(self, job: Job) -> None:
        """Stop a job; what it shares with others goes on. Nothing if it is finished.

        Chunks that no worker has begun are dropped, those begun end within
        a chunk's time.
        """
        self._manager.cancel(job)

    def forget(self, job: Job) -> None:
        """Cancel a job if it is unfinished, and forget it."""
        self._manager.forget(job)

    async def count(self, range_: Range) -> int:
        """How many primes the range holds. Raises as `submit` and `Job.check` do."""
        job = await self.submit(Count(range_))
        await job.wait()
        return job.count

    async def primes(self, job: Job) -> AsyncGenerator[NDArray[np.uint64], None]:
        """The primes of a succeeded job, ascending, as uint64 arrays of up to 2^16 each.

        Constant memory whatever the range. Raises as `Job.check` does.
        """
        job.check()
        queue = self.dispatcher.queue(f"primes {job.range}")
        async with aclosing(prime_arrays(self._source, job.collected.plan, queue)) as arrays:
            async for array in arrays:
                yield array

    async def page(self, result: Result, offset: int, limit: int) -> Result | None:
        """The primes at the positions [offset, offset + limit) of a result; None if there are none.

        Costs the same anywhere: at most two pieces are looked into. Raises `ServiceFull`.
        """
        queue = self.dispatcher.queue(f"page {result.plan.range}")
        with self.buffers.lease(2 * piece_bytes(result.plan)):
            return await cut_page(self._source, result, queue, offset, limit)

    def lease(self, layout: Layout) -> Lease:
        """Memory to send a file with, to be held while it is sent. Raises `ServiceFull`.

        As it is it suffices to read gently, extended to read at full speed.
        """
        return self.buffers.lease(gentle_bytes(layout), for_speed=full_bytes(layout, self._source))

    def read(
        self,
        layout: Layout,
        first: int,
        stop: int,
        *,
        coding: str | None = None,
        gentle: bool = False,
    ) -> AsyncGenerator[Part, None]:
        """The bytes [first, stop) of a result in a format; see `results.reader.ByteReader`."""
        queue = self.dispatcher.queue(f"read {layout.result.plan.range}")
        reader = ByteReader(self._source, layout, queue, first, stop, coding=coding, gentle=gentle)
        return reader.parts()

    async def small_body(self, job: Job, format_: Format) -> bytes | None:
        """The whole file if it is small, else None. Kept with the job. Raises as `Job.check`."""
        body = self.jobs.kept(job, format_.name)
        if body is None:
            job.check()
            total = job.collected.summary
            if total_bytes(format_, total) > SMALL_BODY_BYTES:
                return None
            primes = np.concatenate([np.empty(0, np.uint64), *[p async for p in self.primes(job)]])
            body = whole_body(format_, total, primes)
            self.jobs.keep(job, format_.name, body)
        return body

    def __repr__(self) -> str:
        if self.closed:
            return "<PrimeService closed>"
        return f"<PrimeService {self.engine.name}, {self.workers} workers, {len(self.jobs)} jobs>"


def _question(asked: Question | Range) -> Question:
    return Primes(asked) if isinstance(asked, Range) else asked
