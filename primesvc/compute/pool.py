"""A pool of worker processes that heals itself.

`ProcessPoolExecutor` is broken for good by one dead worker: every unfinished
call and every later one raises. `ProcessPool` replaces the executor and
retries what was lost; a call that was there at two deaths runs alone from
then on, so that the guilty one is known for sure, and fails alone.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from functools import partial
from multiprocessing.context import BaseContext
from typing import Any, Final, Protocol, TypeVar

from primesvc.errors import ExecutorLost, ServiceClosed, WorkerDied

log = logging.getLogger(__name__)

SHARED_DEATHS: Final = 2
"""Deaths a call is retried after among others. The first may be another call's fault."""

ALONE_DEATHS: Final = 3
"""Deaths a call is allowed while it runs alone: one or two may be the system's fault."""

NICE: Final = 10
"""How far workers stand back behind the event loop, and whatever else the machine
does: with all cores sieving, a small request is answered in a third of the time."""

_PRELOAD: Final = ["primesvc.compute.worker"]

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


def start_context() -> BaseContext:
    """The way worker processes start: never by forking this process, which has threads.

    On POSIX a fork server that has imported what the workers need, so that
    they start in milliseconds and share its memory; on Windows spawn.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


def _prepare_worker() -> None:
    """Runs first in every worker process."""
    # Ctrl-C reaches the whole process group; only the server decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICE)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed server cannot stop its workers: they watch it themselves.
        threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)


def _processes(executor: ProcessPoolExecutor) -> "list[multiprocessing.process.BaseProcess]":
    # Public only from Python 3.14 on, as kill_workers().
    return list((executor._processes or {}).values())  # noqa: SLF001


def _stop(executor: ProcessPoolExecutor) -> None:
    """Kill the workers and wait until they are gone: none writes to shared memory after.

    What runs or waits raises `BrokenExecutor`.
    """
    _kill(executor)
    executor.shutdown(wait=True)


def _kill(executor: ProcessPoolExecutor) -> None:
    for process in _processes(executor):
        with contextlib.suppress(ValueError):  # closed already
            process.kill()


def _launch(executor: ProcessPoolExecutor) -> "Future[None]":
    """Have the executor start its workers; the call that made it do so.

    For a thread of its own: with the fork server it takes a quarter of a second.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return executor.submit(_do_nothing)
    # What this thread blocks is blocked in what it starts: a Ctrl-C would end the fork
    # server and the workers, with a traceback each, before they come to ignoring it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return executor.submit(_do_nothing)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _do_nothing() -> None:
    """Run in a worker, so that the executor starts its workers."""


def _mark_seen(call: "asyncio.Future[Any]") -> None:
    """Keep asyncio from logging an error that nobody waits for any more."""
    if not call.cancelled():
        call.exception()


class ProcessPool:
    """`processes` worker processes, started with the first call, replaced when one dies.

    `deaths` counts the times a worker died.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.deaths = 0
        self._context = start_context()
        self._executor: ProcessPoolExecutor | None = None
        self._started: set[ProcessPoolExecutor] = set()
        self._starting = asyncio.Lock()
        self._alone = asyncio.Lock()
        self._healing: dict[ProcessPoolExecutor, asyncio.Future[None]] = {}
        self._closed = False

    async def run(
        self, function: Callable[..., T], *args: object, deadline_s: float | None = None
    ) -> T:
        """The value of `function(*args)` in a worker process; raises what it raises.

        After `deadline_s` seconds the call counts as hung, and the workers are
        killed, for it is not known which of them hangs: the others' calls run
        again. Raises `WorkerDied` if the call keeps killing its worker and
        `ServiceClosed` if the pool is closed meanwhile. Cancelled, it leaves
        the call to run for nobody.
        """
        for _ in range(SHARED_DEATHS):
            executor = self._executor or await self._start_shared()
            try:
                return await self._submit(executor, function, args, deadline_s)
            except BrokenExecutor:
                if executor is self._executor:
                    self._executor = None
                    self._note_death()
                await self._retire(executor)
        return await self._run_alone(function, args, deadline_s)

    async def warm_up(self) -> None:
        """Start all worker processes now."""
        await self._start_shared()

    def _note_death(self) -> None:
        self.deaths += 1
        log.warning("a worker process died; what it and its neighbours ran is run again")

    async def _run_alone(
        self, function: Callable[..., T], args: tuple[object, ...], deadline_s: float | None
    ) -> T:
        async with self._alone:
            for _ in range(ALONE_DEATHS):
                executor = await self._start(1)
                try:
                    return await self._submit(executor, function, args, deadline_s)
                except BrokenExecutor:
                    self._note_death()
                finally:
                    await self._retire(executor)
        raise WorkerDied(SHARED_DEATHS + ALONE_DEATHS)

    async def _start_shared(self) -> ProcessPoolExecutor:
        async with self._starting:
            if self._executor is None:
                self._executor = await self._start(self.processes)
            return self._executor

    async def _start(self, processes: int) -> ProcessPoolExecutor:
        self._check_open()
        executor = ProcessPoolExecutor(processes, self._context, initializer=_prepare_worker)
        # All at once: with one started for each of the first calls, a death at that time
        # can make `submit` raise OSError, or go unnoticed for ever (Python 3.11 to 3.14).
        executor._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]  # noqa: SLF001
        self._started.add(executor)
        try:
            loop = asyncio.get_running_loop()
            call = asyncio.wrap_future(await loop.run_in_executor(None, _launch, executor))
            call.add_done_callback(_mark_seen)
            # Awaited so that no deadline counts the start; shielded as in `_submit`.
            with contextlib.suppress(BrokenExecutor):  # the next call meets it too
                await asyncio.shield(call)
        except BaseException as error:
            self._retire(executor)
            if isinstance(error, RuntimeError):  # it was stopped meanwhile
                self._check_open()
            raise
        return executor

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceClosed

    async def _submit(
        self,
        executor: ProcessPoolExecutor,
        function: Callable[..., T],
        args: tuple[object, ...],
        deadline_s: float | None,
    ) -> T:
        self._check_open()
        call = asyncio.get_running_loop().run_in_executor(executor, function, *args)
        call.add_done_callback(_mark_seen)
        try:
            # Shielded: when a worker dies, Python 3.11 stumbles over a future that was
            # cancelled while it waited, and leaves those behind it pending for ever.
            async with asyncio.timeout(deadline_s):
                return await asyncio.shield(call)
        except TimeoutError:
            if call.done():
                raise  # the function's own
            log.warning("a call did not end within %g s: its workers are killed", deadline_s)
            await asyncio.get_running_loop().run_in_executor(None, _kill, executor)
            raise BrokenExecutor from None
        except BrokenExecutor:
            self._check_open()
            raise

    def _retire(self, executor: ProcessPoolExecutor) -> "asyncio.Future[None]":
        """End what is left of an executor, once, whoever asks; shielded from the asker's end."""
        if executor not in self._healing:
            self._started.discard(executor)
            loop = asyncio.get_running_loop()
            stopping = loop.run_in_executor(None, _stop, executor)
            self._healing[executor] = stopping
            stopping.add_done_callback(lambda _: self._healing.pop(executor, None))
        return asyncio.shield(self._healing[executor])

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that are running."""
        executor = self._executor
        return [p.pid for p in _processes(executor) if p.pid] if executor else []

    async def close(self) -> None:
        """Kill the workers, whatever they do: their work is pure and can be done again."""
        self._closed = True
        self._executor = None
        for executor in list(self._started):
            self._retire(executor)
        if self._healing:
            await asyncio.wait(list(self._healing.values()))

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
