"""The processes that work: how they start, what becomes of them when one dies, how they end."""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import connection, forkserver
from multiprocessing.context import BaseContext
from typing import Any, Final

NICE: Final = 10
"""How far workers stand back behind the event loop, and whatever else the machine
does: with all cores sieving, a small request is answered in a third of the time."""

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h

_PRELOAD: Final = ["primesvc.compute.worker"]


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


class Workers:
    """Worker processes that end together: `ProcessPoolExecutor` is broken by one that dies.

    What runs then, or waits, raises `BrokenExecutor`; `on_end` is called, in a
    thread of its own, also when they end because they are to `stop`.
    """

    def __init__(self, processes: int, on_end: Callable[[], object]) -> None:
        self._on_end = on_end
        self.executor = ProcessPoolExecutor(processes, start_context(), initializer=_prepare_worker)
        # All at once: with one started for each of the first calls, a death at that time
        # can make `submit` raise OSError, or go unnoticed for ever (Python 3.11 to 3.14).
        self.executor._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]  # noqa: SLF001
        self.lost = False
        """Whether one of them is known to have died, or to be of no use any more."""
        self.why = ""
        """Why that is; known for sure after `stop`."""
        self.stopped: asyncio.Future[None] | None = None
        """Done when `stop` has ended; None before somebody calls it."""
        self._dead: list[multiprocessing.process.BaseProcess] = []
        self._watcher: threading.Thread | None = None

    def start(self) -> "Future[None]":
        """Start the processes; a first call, that made the executor do so.

        For a thread of its own: with the fork server it takes a quarter of a second.
        """
        results: Any = self.executor._result_queue  # noqa: SLF001
        call = _submit_first(self.executor)
        if sys.platform != "win32":  # there the processes have yet to take it over
            # Our end for writing. While anybody has one open, who reads waits for the rest of
            # a result, also if the process that wrote it has died.
            results._writer.close()  # noqa: SLF001
        self._watcher = threading.Thread(target=self._watch, args=(self.processes,), daemon=True)
        self._watcher.start()
        return call

    def _watch(self, processes: "list[multiprocessing.process.BaseProcess]") -> None:
        """Wait until a process dies; kill the others.

        The executor would only terminate them, which one that is stopped ignores, and sees
        nothing while it waits for the rest of a result.
        """
        by_sentinel = {process.sentinel: process for process in processes}
        if by_sentinel:
            ready = connection.wait(list(by_sentinel))
            self._dead = [by_sentinel[one] for one in ready if isinstance(one, int)]
            self.kill()
        self._on_end()

    @property
    def processes(self) -> "list[multiprocessing.process.BaseProcess]":
        """The processes, as long as the executor knows them."""
        # Public only from Python 3.14 on, as kill_workers().
        return list((self.executor._processes or {}).values())  # noqa: SLF001

    def kill(self) -> None:
        """Kill the processes, whatever they do: their work is pure and can be done again."""
        for process in self.processes:
            with contextlib.suppress(ValueError):  # closed already
                process.kill()

    def stop(self) -> None:
        """Kill the processes and wait until they are gone: none writes to shared memory after."""
        if self.lost and not self.why and self._watcher is not None:
            # One has died, so it comes to an end; after a kill none could be told from another.
            self._watcher.join()
        self.kill()
        self.executor.shutdown(wait=True)
        if self._watcher is not None:
            self._watcher.join()
        codes = [process.exitcode or 0 for process in self._dead]
        self._dead.clear()  # they hold descriptors
        if codes and not self.why:
            # The executor may have terminated others before we looked.
            self.why = _how_it_ended(next((c for c in codes if c != -signal.SIGTERM), codes[0]))


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"it left with exit code {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"it was ended by signal {-code}"


def _prepare_worker() -> None:
    """Runs first in every worker process."""
    # Ctrl-C reaches the whole process group; only the server decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICE)
    if sys.platform.startswith("linux"):
        # A worker that is stopped cannot watch anything: it ends with the fork server, and that
        # with the server, if no worker keeps the pipe open by which the fork server watches it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        watched = getattr(forkserver, "_forkserver", None)
        fd = getattr(watched, "_forkserver_alive_fd", None)
        if fd is not None:
            os.close(fd)
            setattr(watched, "_forkserver_alive_fd", None)  # noqa: B010 - it is not public
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed server cannot stop its workers: they watch it themselves.
        threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)


def _submit_first(executor: ProcessPoolExecutor) -> "Future[None]":
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
