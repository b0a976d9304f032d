"""PrimeService: everything primesvc does, without HTTP."""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar, cast

import numpy as np
from aiocache.base import BaseCache
from numpy.typing import NDArray

from primesvc.budget import Budget
from primesvc.collect.plan import Plan
from primesvc.compute.cpus import usable_cpus
from primesvc.compute.memory import usable_memory_bytes
from primesvc.errors import ServiceClosed
from primesvc.formats.base import Format, total_bytes, whole_body
from primesvc.jobs.job import Job
from primesvc.jobs.table import JobTable
from primesvc.kinds.base import Question
from primesvc.kinds.count import Count
from primesvc.kinds.nth import Nth
from primesvc.kinds.primes import Primes
from primesvc.kinds.statistics import BINS, MODULUS, Statistics
from primesvc.numbers import NumberFacts
from primesvc.results.buffers import Buffers, Lease
from primesvc.results.layout import Layout
from primesvc.results.pieces import cut_page, piece_bytes, prime_arrays, reading_s
from primesvc.results.reader import ByteReader, Part, full_bytes, gentle_bytes, held_bytes
from primesvc.results.result import Result
from primesvc.runtime import Runtime, Snapshot, open_runtime
from primesvc.settings import Settings
from primesvc.sieve.engine import Engine
from primesvc.sieve.range import Range
from primesvc.sieve.selection import ALL, Selection

log = logging.getLogger(__name__)

T = TypeVar("T")

SMALL_BODY_BYTES: Final = 16 * 2**10
"""Bodies up to here are made on the event loop and kept with their job: 2,000
primes take 20 µs, a fraction of the round trip to a worker."""


class Readiness(StrEnum):
    """Whether a service should be sent work."""

    STARTING = "starting"  # not entered yet, or its workers are not up
    READY = "ready"
    DRAINING = "draining"  # what is there can still be read, new jobs are refused


class _NotRunning:
    """Stands for the runtime while there is none: whatever is asked of it raises."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ServiceClosed("the service is not running: enter it with `async with`")


NOT_RUNNING: Final = cast("Runtime", _NotRunning())


class PrimeService:
    """Sieves ranges on all cores and hands out their primes; enter it with `async with`.

    `executor` is any `concurrent.futures.Executor` to use instead of processes of
    our own, `executor_slots` how many calls it takes at a time (0: as many as
    `settings.workers`); `cache` is any aiocache backend to use instead of the
    byte-bounded one in memory. Both stay open when the service closes.

    Whatever it is asked for before it is entered, or when it is closed, raises `ServiceClosed`.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        executor: Executor | None = None,
        executor_slots: int = 0,
        cache: BaseCache | None = None,
    ) -> None:
        self.settings = settings or Settings()
        workers = self.settings.workers or usable_cpus()
        self._executor = executor
        self._executor_slots = executor_slots
        self._cache = cache
        usable_bytes = usable_memory_bytes()
        self._budget = Budget.of(
            self.settings,
            # With the spare one; those of an embedder's executor are the embedder's matter.
            processes=workers + 1 if executor is None else 0,
            usable_bytes=usable_bytes,
        )
        if self._budget.total_bytes > usable_bytes:
            log.warning(
                "%d MiB of memory may be needed, there are %d: fewer workers would need less",
                self._budget.total_bytes >> 20,
                usable_bytes >> 20,
            )
        self.runtime = NOT_RUNNING
        """The parts of the service while it runs; for whoever has to look inside."""
        self._exit = AsyncExitStack()
        self._warming = False
        self._draining = False

    async def __aenter__(self) -> Self:
        if not self.closed:
            raise RuntimeError("this service is running: make one for each application")
        self.runtime = await self._exit.enter_async_context(
            open_runtime(
                self.settings,
                self._budget,
                executor=self._executor,
                executor_slots=self._executor_slots,
                cache=self._cache,
            )
        )
        self._draining = False
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel what runs, stop the workers; may be called again. Bounded in time."""
        if not self.closed:
            self.drain()
            self.runtime = NOT_RUNNING
        await self._exit.aclose()

    @property
    def closed(self) -> bool:
        """Whether the service is not (or no longer) entered."""
        return self.runtime is NOT_RUNNING

    @property
    def engine(self) -> Engine:
        """What sieves."""
        return self.runtime.engine

    @property
    def workers(self) -> int:
        """How many calls run at a time."""
        return self.runtime.backend.slots

    @property
    def jobs(self) -> JobTable:
        """The jobs that are known."""
        return self.runtime.jobs

    @property
    def buffers(self) -> Buffers:
        """Memory for results on their way to clients."""
        return self.runtime.buffers

    @property
    def readiness(self) -> Readiness:
        """Whether the service should be sent work."""
        if self._draining:
            return Readiness.DRAINING
        if self.closed:
            return Readiness.STARTING
        backend = self.runtime.backend.snapshot()
        starting = backend.problem is not None or (self._warming and not backend.pids)
        return Readiness.STARTING if starting else Readiness.READY

    def snapshot(self) -> Snapshot:
        """What there is to tell of the service now; looks at each job."""
        return self.runtime.snapshot()

    async def warm_up(self) -> None:
        """Start the workers now instead of with the first work.

        Until one is there the service is `Readiness.STARTING`, and works. Raises
        `WorkersUnavailable`; then it may be called again.
        """
        backend = self.runtime.backend
        self._warming = True
        try:
            await backend.start()
        finally:
            self._warming = False

    def drain(self) -> None:
        """Take no new jobs from now on; those there are go on, and all can be read."""
        self.runtime.manager.drain()
        self._draining = True

    async def settle(self, within_s: float) -> int:
        """Wait for the jobs that will end within so many seconds, by their estimates.

        Others are not waited for. Returns how many have ended.
        """
        return await self.runtime.manager.settle(within_s)

    def find(self, asked: Question | Range) -> Job | None:
        """The job for a question, if there is one that has a result or will have."""
        # Not by `_question`: a service is asked for nothing more often.
        return self.runtime.jobs.find(Primes(asked) if isinstance(asked, Range) else asked)

    def estimate(self, asked: Question | Range) -> tuple[Mapping[str, Any], float]:
        """About what a job would find, and how many seconds it would take here.

        Nothing is started; what is cached already is not looked for. Raises
        `RangeNotAllowed` as `submit` does.
        """
        question = _question(asked)
        return question.expected(), self.runtime.manager.admission.check(question)

    async def submit(self, asked: Question | Range) -> Job:
        """The job for a question: the one there is, or a new one that starts at once.

        A range asks for its primes. Raises `RangeNotAllowed` beyond `max_span`,
        `max_job_s` and `max_job_bytes`, `ServiceFull`, `ServiceClosed`, and with `journal_sync`
        `JournalBehind`.
        """
        return await self.runtime.manager.submit(_question(asked))

    def left_s(self, job: Job) -> float:
        """About how many seconds an unfinished job still takes."""
        return self.runtime.manager.admission.left_s(job)

    def job(self, job_id: str) -> Job:
        """The job with this id. Raises `UnknownJob`."""
        return self.runtime.jobs.get(job_id)

    def cancel(self, job: Job) -> None:
        """Stop a job; what it shares with others goes on. Nothing if it is finished.

        Chunks that no worker has begun are dropped; those begun end within 0.1 s, or
        are ended with their workers.
        """
        self.runtime.manager.cancel(job)

    def forget(self, job: Job) -> None:
        """Cancel a job if it is unfinished, and forget it."""
        self.runtime.manager.forget(job)

    async def written(self, job: Job) -> None:
        """Wait until what happened to a job is in the journal; only with `journal_sync`.

        Raises `JournalBehind`.
        """
        await self.runtime.manager.written(job)

    async def count(self, range_: Range, selection: Selection = ALL) -> int:
        """How many primes of the selection the range holds; of a constellation it holds all.

        Raises as `submit` and `Job.check` do.
        """
        job = await self.submit(Count(range_, selection))
        await job.wait()
        return job.count

    async def nth(self, n: int, start: int = 0) -> int:
        """The n-th prime above `start`, or for a negative n below it.

        Raises `InvalidParameter` for an n of 0, and as `submit` and `Job.check` do.
        """
        job = await self.submit(Nth(n, start))
        await job.wait()
        prime: int = job.work.findings["result"]["prime"]
        return prime

    async def statistics(
        self, range_: Range, *, modulus: int = MODULUS, bins: int = BINS
    ) -> Mapping[str, Any]:
        """The statistics of the primes of a range, as the `result` of a job's document has them.

        How many primes lie in each of up to 2,000 bins, which gaps, residues by a modulus of up
        to 10,000 and constellations there are, and how often. Raises `InvalidParameter` for
        other bins and moduli, and as `submit` and `Job.check` do.
        """
        job = await self.submit(Statistics(range_, modulus, bins))
        await job.wait()
        result: Mapping[str, Any] = job.work.findings["result"]
        return result

    async def number(self, number: int) -> NumberFacts:
        """Everything about a number: whether it is a prime, its factors, its neighbours.

        Takes milliseconds. Raises `RangeNotAllowed` for one that is negative or above 2^64 - 1.
        """
        return await self.runtime.lookups.number(number)

    async def are_prime(self, numbers: Sequence[int] | NDArray[np.integer[Any]]) -> list[bool]:
        """Whether each of up to 100,000 numbers is a prime; 5 µs a number on one core.

        Raises `RangeNotAllowed` for more of them, and for numbers that are negative or
        above 2^64 - 1, and `TypeError` for those that are not `int`.
        """
        return await self.runtime.lookups.are_prime(numbers)

    async def read_numbers(self, text: bytes) -> NDArray[np.uint64]:
        """The numbers of the JSON object `{"numbers": [...]}`, in any form that the API reads.

        Raises `InvalidParameter` and `RangeNotAllowed`.
        """
        return await self.runtime.lookups.read_numbers(text)

    async def primes(self, job: Job) -> AsyncGenerator[NDArray[np.uint64], None]:
        """The primes of a succeeded job, ascending, as uint64 arrays of up to 2^16 each.

        Constant memory whatever the range. Raises as `Job.check` does.
        """
        job.check()
        source, plan = self.runtime.source, job.collected.plan
        work_s = reading_s(source, plan, len(plan.indices))
        queue = self.runtime.dispatcher.queue(f"primes {job.range}", work_s=work_s)
        async with aclosing(prime_arrays(source, plan, queue)) as arrays:
            async for array in arrays:
                yield array

    async def page(self, result: Result, offset: int, limit: int) -> Result | None:
        """The primes at the positions [offset, offset + limit) of a result; None if there are none.

        Costs the same anywhere: at most two pieces are looked into.
        """
        work_s = reading_s(self.runtime.source, result.plan, 2)
        queue = self.runtime.dispatcher.queue(f"page {result.plan.range}", work_s=work_s)
        pieces = min(2, len(result.plan.indices))
        async with self.runtime.buffers.working(pieces * piece_bytes(result.plan)):
            return await cut_page(self.runtime.source, result, queue, offset, limit)

    def lease(self, plan: Plan) -> Lease:
        """Memory to send a file with, to be held while it is sent. Raises `ServiceFull`.

        As it is it suffices for what was read gently, extended to read at full speed.
        """
        return self.runtime.buffers.lease(
            held_bytes(plan), for_speed=full_bytes(plan, self.runtime.source)
        )

    async def read(
        self,
        layout: Layout,
        first: int,
        stop: int,
        *,
        coding: str | None = None,
        gentle: bool = False,
    ) -> AsyncGenerator[Part, None]:
        """The bytes [first, stop) of a result in a format; see `results.reader.ByteReader`.

        With `gentle` memory is taken while the generator is open: close it before waiting long.
        """
        queue = self.runtime.dispatcher.queue(f"read {layout.result.plan.range}")
        reader = ByteReader(
            self.runtime.source, layout, queue, first, stop, coding=coding, gentle=gentle
        )
        async with AsyncExitStack() as stack:
            if gentle:
                memory = self.runtime.buffers.working(gentle_bytes(layout.result.plan))
                await stack.enter_async_context(memory)
            async for part in await stack.enter_async_context(aclosing(reader.parts())):
                yield part

    async def small_body(self, job: Job, format_: Format) -> bytes | None:
        """The whole file if it is small, else None. Kept with the job. Raises as `Job.check`."""
        body = self.runtime.jobs.kept(job, format_.name)
        if body is None:
            job.check()
            total = job.collected.summary
            if total_bytes(format_, total) > SMALL_BODY_BYTES:
                return None
            primes = np.concatenate([np.empty(0, np.uint64), *[p async for p in self.primes(job)]])
            body = whole_body(format_, total, primes)
            self.runtime.jobs.keep(job, format_.name, body)
        return body

    def __repr__(self) -> str:
        if self.closed:
            return "<PrimeService closed>"
        return f"<PrimeService {self.engine.name}, {self.workers} workers, {len(self.jobs)} jobs>"


def _question(asked: Question | Range) -> Question:
    return Primes(asked) if isinstance(asked, Range) else asked
