"""The composition root: makes every part of a service, opens them in order, closes them in reverse.

An embedder's executor, an embedder's cache, a journal or none: here it is
decided once which of these a service has, and no part asks again.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from aiocache.base import BaseCache

from primesvc.budget import SHARED_PART, SUMMARY_BYTES, Budget
from primesvc.compute.arena import Arena
from primesvc.compute.backend import Backend, BackendSnapshot
from primesvc.compute.cpus import usable_cpus
from primesvc.compute.dispatcher import INLINE_S, Dispatcher
from primesvc.compute.executor import ExecutorBackend
from primesvc.compute.histogram import Histogram
from primesvc.compute.local import LocalBackend
from primesvc.compute.long_calls import LongCalls
from primesvc.jobs.admission import Admission
from primesvc.jobs.journal import Journal, JournalSnapshot
from primesvc.jobs.manager import JobManager
from primesvc.jobs.recorder import NullRecorder, Recorder
from primesvc.jobs.table import JobTable
from primesvc.kinds.base import CheckStats, Limits, Resources
from primesvc.lookups import Lookups
from primesvc.results.buffers import Buffers
from primesvc.results.pieces import Source
from primesvc.settings import Settings
from primesvc.sieve.engine import Engine, load_engine
from primesvc.states import State
from primesvc.store.lru import CacheStats, LRUCache
from primesvc.store.segments import SegmentStore, StoreStats
from primesvc.store.summaries import SummaryTable
from primesvc.thread import in_thread

SLOT_BYTES: Final = 4 * 2**20
"""Bytes of one shared slot, and the most a call returns: the text of a segment
of 2^22 numbers, 2.6 MB, fits, and a handful of them stays in the third-level cache."""

AHEAD: Final = 2
"""Calls that one job or reader asks for beyond those that can run at a time."""

READERS: Final = 4
"""Readers at full speed that there are shared slots for."""


class MemoryPart(NamedTuple):
    """One part of the memory budget: how much of it is taken, and how much there is."""

    name: str
    taken_bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there is to tell of a running service at one moment, for metrics and readiness."""

    engine: Engine
    slots: int
    """How many calls run at a time."""
    backend: BackendSnapshot
    durations: Histogram
    """How long calls took, with the way to the worker and back."""
    waits: Histogram
    """How long calls waited for a worker."""
    calls: int
    """How many calls were handed to workers."""
    jobs: Mapping[State, int]
    """How many jobs are known, by state."""
    jobs_ended: Mapping[State, int]
    """How many jobs ended in each state so far, also those that were forgotten since."""
    checks: CheckStats
    """How the checks of results ended."""
    journal: JournalSnapshot | None
    """None without a journal."""
    pieces: StoreStats
    cache: CacheStats | None
    """None for an embedder's cache of another kind than ours."""
    memory: tuple[MemoryPart, ...]
    sends_refused: int
    """Answers refused for want of memory."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts of a service that runs."""

    budget: Budget
    engine: Engine
    backend: Backend
    dispatcher: Dispatcher
    cache: BaseCache
    store: SegmentStore
    jobs: JobTable
    manager: JobManager
    lookups: Lookups
    checks: CheckStats
    """How the checks of results ended."""
    recorder: NullRecorder
    """What notes jobs in the journal, if there is one."""
    buffers: Buffers
    """Memory for results on their way to clients."""
    source: Source
    """What readers of results read from."""

    def snapshot(self) -> Snapshot:
        """What there is to tell now; looks at each job."""
        self.jobs.forget_expired()
        cache = self.cache.stats() if isinstance(self.cache, LRUCache) else None
        memory = [
            MemoryPart("jobs", self.jobs.current_bytes, self.budget.job_bytes),
            MemoryPart("buffers", self.buffers.taken_bytes, self.buffers.max_bytes),
        ]
        if cache is not None:
            memory.append(MemoryPart("cache", cache.current_bytes, cache.max_bytes))
        if self.dispatcher.memory_bytes is not None:
            taken = self.dispatcher.taken_bytes
            memory.append(MemoryPart("calls", taken, self.dispatcher.memory_bytes))
        return Snapshot(
            engine=self.engine,
            slots=self.backend.slots,
            backend=self.backend.snapshot(),
            durations=self.dispatcher.durations,
            waits=self.dispatcher.waits,
            calls=self.dispatcher.calls,
            jobs=Counter(job.state for job in self.jobs),
            jobs_ended=self.manager.ended,
            checks=replace(self.checks),
            journal=self.recorder.snapshot(),
            pieces=replace(self.store.stats),
            cache=cache,
            memory=tuple(memory),
            sends_refused=self.buffers.refused,
        )


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    budget: Budget,
    *,
    executor: Executor | None,
    executor_slots: int,
    cache: BaseCache | None,
) -> AsyncIterator[Runtime]:
    """The parts of a service, open inside; a start that fails leaves nothing behind.

    Raises `JournalUnusable` and `EngineUnavailable`.
    """
    async with AsyncExitStack() as stack:
        # First of all: a journal that cannot be used must not cost anything.
        recorder = await _open_recorder(settings, stack)
        engine = await in_thread("engine", load_engine, settings.engine)
        workers = settings.workers or usable_cpus()
        # Slots of memory shared with the workers.
        shared = min(READERS * (workers + AHEAD), budget.buffer_bytes // SHARED_PART // SLOT_BYTES)
        backend: Backend
        inline_s = INLINE_S
        call_bytes: int | None = budget.call_bytes
        if executor is None:
            arena = Arena(slots=shared, slot_bytes=SLOT_BYTES)
            stack.callback(arena.close)
            backend = LocalBackend(workers, arena)
        else:
            backend = ExecutorBackend(executor, executor_slots or workers)
            # It gets all the work, and its memory is the embedder's matter.
            inline_s, call_bytes = 0.0, None
        dispatcher = Dispatcher(
            backend,
            inline_s=inline_s,
            hang_s=settings.hang_timeout_s,
            memory_bytes=call_bytes,
        )
        if cache is None:
            cache = LRUCache(max_bytes=budget.cache_bytes)
            stack.push_async_callback(cache.close)
        store = SegmentStore(
            cache,
            SummaryTable(max_bytes=SUMMARY_BYTES),
            engine,
            chunk_bytes=SLOT_BYTES * 7 // 8,
            on_sieved=recorder.sieved,
        )
        jobs = JobTable(
            max_jobs=settings.max_jobs,
            max_bytes=budget.job_bytes,
            ttl_s=settings.job_ttl_s,
            max_unfinished=settings.max_unfinished_jobs,
            on_forget=recorder.forgotten,
        )
        ahead = backend.slots + AHEAD
        limits = Limits(
            max_span=settings.max_span, max_s=settings.max_job_s, max_bytes=budget.job_bytes
        )
        admission = Admission(engine, workers=backend.slots, limits=limits)
        checks = CheckStats()
        resources = Resources(
            store,
            engine,
            cache_bytes=budget.cache_bytes,
            ahead=ahead,
            # How many processors those of an embedder's executor have, nobody here knows.
            long_calls=LongCalls(backend.slots, threaded=executor is None),
            checks=checks,
        )
        manager = JobManager(jobs, recorder, resources, dispatcher, admission)
        # In reverse: the jobs stop, what they asked for ends with the backend, and so what waits.
        stack.push_async_callback(store.close)
        stack.push_async_callback(dispatcher.close)
        stack.push_async_callback(backend.close)
        stack.push_async_callback(manager.close)
        await manager.resume()
        yield Runtime(
            budget=budget,
            engine=engine,
            backend=backend,
            dispatcher=dispatcher,
            cache=cache,
            store=store,
            jobs=jobs,
            manager=manager,
            lookups=Lookups(dispatcher, engine),
            checks=checks,
            recorder=recorder,
            buffers=Buffers(budget.buffer_bytes - shared * SLOT_BYTES),
            source=Source(store, engine, ahead=ahead, call_bytes=SLOT_BYTES),
        )


async def _open_recorder(settings: Settings, stack: AsyncExitStack) -> NullRecorder:
    if not settings.journal:
        return NullRecorder()
    journal = await Journal.open(Path(settings.journal), sync=settings.journal_sync)
    stack.push_async_callback(journal.close)
    return Recorder(journal, sync=settings.journal_sync)
