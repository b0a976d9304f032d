"""A pool of worker processes that heals itself.

`ProcessPoolExecutor` is broken for good by one dead worker: every unfinished
call and every later one raises. `ProcessPool` replaces the executor and
retries what was lost; a call that was there at two deaths runs alone from
then on, so that the guilty one is known for sure, and fails alone.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from primesvc.compute.processes import Workers
from primesvc.errors import ExecutorLost, ServiceClosed, WorkerDied

log = logging.getLogger(__name__)

SHARED_DEATHS: Final = 2
"""Deaths a call is retried after among others. The first may be another call's fault."""

ALONE_DEATHS: Final = 3
"""Deaths a call is allowed while it runs alone: one or two may be the system's fault."""

STARTS: Final = 5
"""How often workers are tried to be started: for a moment after its death the fork
server is still taken for alive, and a system that is out of processes may recover."""

START_PAUSE_S: Final = 0.1
"""Seconds between two of these."""

LOST: Final = (BrokenExecutor, MemoryError)
"""What a call raises that is to be run again by other workers."""

T = TypeVar("T")


class Runner(Protocol):
    """Runs functions somewhere else: the one interface the dispatcher needs."""

    async def run(
        self, function: Callable[..., T], *args: object, deadline_s: float | None = None
    ) -> T:
        """The value of `function(*args)`; raises what it raises.

        A call that takes longer than `deadline_s` may be taken for hung.
        """

    async def close(self) -> None:
        """Stop; bounded in time; may be called again."""


def _mark_seen(call: "asyncio.Future[Any]") -> None:
    """Keep asyncio from logging an error that nobody waits for any more."""
    if not call.cancelled():
        call.exception()


class ProcessPool:
    """`processes` worker processes, started with the first call, replaced when one dies.

    `deaths` counts the times a worker died, hung, or ran out of memory, and
    `lost_calls` the calls that it ended.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.deaths = 0
        self.lost_calls = 0
        self._workers: Workers | None = None
        self._started: set[Workers] = set()
        self._starting = asyncio.Lock()
        self._alone = asyncio.Lock()
        self._retiring: set[asyncio.Future[None]] = set()
        self._closed = False

    async def run(
        self, function: Callable[..., T], *args: object, deadline_s: float | None = None
    ) -> T:
        """The value of `function(*args)` in a worker process; raises what it raises.

        After `deadline_s` seconds the call counts as hung, and the workers are
        killed, for it is not known which of them hangs: the others' calls run
        again. The same if the call raises `MemoryError`: a worker that is new
        may have what one lacks. Raises `WorkerDied` if the call keeps killing
        its worker and `ServiceClosed` if the pool is closed meanwhile.
        Cancelled, it leaves the call to run for nobody.
        """
        for _ in range(SHARED_DEATHS):
            workers = self._workers or await self._start_shared()
            try:
                return await self._submit(workers, function, args, deadline_s)
            except LOST as error:
                await self._bury(workers, error)
        return await self._run_alone(function, args, deadline_s)

    async def warm_up(self) -> None:
        """Start all worker processes now."""
        await self._start_shared()

    async def _run_alone(
        self, function: Callable[..., T], args: tuple[object, ...], deadline_s: float | None
    ) -> T:
        why = ""
        async with self._alone:
            for _ in range(ALONE_DEATHS):
                workers = await self._start(1)
                try:
                    return await self._submit(workers, function, args, deadline_s)
                except LOST as error:
                    await self._bury(workers, error)
                    why = workers.why
                finally:
                    await self._retire(workers)
        raise WorkerDied(SHARED_DEATHS + ALONE_DEATHS, why)

    async def _bury(self, workers: Workers, error: Exception) -> None:
        """Count a death, once for all calls that it ended, and wait until no worker is left."""
        self.lost_calls += 1
        if isinstance(error, MemoryError):
            workers.why = workers.why or f"it ran out of memory ({error})"
        self._count_death(workers)
        await self._retire(workers)

    def _ended(self, workers: Workers) -> None:
        # Those that had nothing to do when one died: no call will tell.
        if workers.stopped is None and not self._closed:
            self._count_death(workers)
            self._retire(workers)

    def _count_death(self, workers: Workers) -> None:
        if workers is self._workers:
            self._workers = None
        if not workers.lost:
            workers.lost = True
            self.deaths += 1

    async def _start_shared(self) -> Workers:
        async with self._starting:
            if self._workers is None:
                self._workers = await self._start(self.processes)
            return self._workers

    async def _start(self, processes: int) -> Workers:
        for _ in range(STARTS - 1):
            try:
                return await self._try_to_start(processes)
            except (OSError, EOFError) as error:
                log.warning("workers cannot be started: %s; trying again", error)
                await asyncio.sleep(START_PAUSE_S)
        return await self._try_to_start(processes)

    async def _try_to_start(self, processes: int) -> Workers:
        self._check_open()
        loop = asyncio.get_running_loop()

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before them
                loop.call_soon_threadsafe(self._ended, workers)

        workers = Workers(processes, end)
        self._started.add(workers)
        try:
            call = asyncio.wrap_future(await loop.run_in_executor(None, workers.start))
            call.add_done_callback(_mark_seen)
            # Awaited so that no deadline counts the start; shielded as in `_submit`.
            with contextlib.suppress(BrokenExecutor):  # the next call meets it too
                await asyncio.shield(call)
        except BaseException as error:
            self._retire(workers)
            if isinstance(error, RuntimeError):  # it was stopped meanwhile
                self._check_open()
            raise
        return workers

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceClosed

    async def _submit(
        self,
        workers: Workers,
        function: Callable[..., T],
        args: tuple[object, ...],
        deadline_s: float | None,
    ) -> T:
        self._check_open()
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(workers.executor, function, *args)
        call.add_done_callback(_mark_seen)
        try:
            # Shielded: when a worker dies, Python 3.11 stumbles over a future that was
            # cancelled while it waited, and leaves those behind it pending for ever.
            async with asyncio.timeout(deadline_s):
                return await asyncio.shield(call)
        except TimeoutError:
            if call.done():
                raise  # the function's own
            workers.why = workers.why or f"a call hung: it did not end within {deadline_s:g} s"
            raise BrokenExecutor from None
        except BrokenExecutor:
            self._check_open()
            raise

    def _retire(self, workers: Workers) -> "asyncio.Future[None]":
        """End what is left of some workers, once, whoever asks; shielded from the asker's end."""
        if workers.stopped is None:
            self._started.discard(workers)
            workers.stopped = asyncio.get_running_loop().run_in_executor(None, workers.stop)
            self._retiring.add(workers.stopped)
            workers.stopped.add_done_callback(partial(self._retired, workers))
        return asyncio.shield(workers.stopped)

    def _retired(self, workers: Workers, stopped: "asyncio.Future[None]") -> None:
        self._retiring.discard(stopped)
        if workers.lost:
            log.warning(
                "a worker process died: %s; what it and its neighbours ran is run again",
                workers.why,
            )

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that are running."""
        workers = self._workers
        return [process.pid for process in workers.processes if process.pid] if workers else []

    async def close(self) -> None:
        """Kill the workers, whatever they do: their work is pure and can be done again."""
        self._closed = True
        self._workers = None
        for workers in list(self._started):
            self._retire(workers)
        if self._retiring:
            await asyncio.wait(list(self._retiring))

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.processes} processes, {self.deaths} deaths"
        return f"<ProcessPool {state}>"


class ForeignExecutor:
    """An embedder's executor as a `Runner`: used as it is, and never shut down.

    Any `concurrent.futures.Executor` will do: threads, another pool, Dask's
    `Client.get_executor(pure=False)`.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def run(
        self, function: Callable[..., T], *args: object, deadline_s: float | None = None
    ) -> T:
        """The value of `function(*args)`; raises what it raises, and `ExecutorLost`.

        The deadline is the embedder's business: there is nothing here to kill.
        """
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(self._executor, partial(function, *args))
        try:
            return await call
        except asyncio.CancelledError:
            # Dask cancels its futures when the scheduler is gone: that is no cancel of ours.
            task = asyncio.current_task()
            if call.cancelled() and task is not None and not task.cancelling():
                raise ExecutorLost from None
            raise

    async def close(self) -> None:
        """Nothing to do: the executor belongs to who made it."""

    def __repr__(self) -> str:
        return f"<ForeignExecutor {self._executor!r}>"
