"""The backend of this machine: worker processes that are replaced when they die."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final

from primesvc.compute.arena import Arena
from primesvc.compute.backend import BackendSnapshot, CallResult
from primesvc.compute.worker_process import Blameless, WorkerProcess
from primesvc.errors import ServiceClosed, WorkerDied, WorkersUnavailable
from primesvc.repeated import Trouble

log = logging.getLogger(__name__)

MAX_DEATHS: Final = 3
"""Deaths of its worker a call is given: one or two may be the system's fault."""

MAX_TRIES: Final = 20
"""Workers that a call is given in all: those that end with the fork server are not its fault."""

STARTS: Final = 5
"""Failed starts in a row after which calls are not kept waiting: for a moment after its death
the fork server is still taken for alive, and a system that is out of processes may recover."""

START_PAUSE_S: Final = 0.1
"""Seconds between two of these; doubled from one to the next."""

START_TIMEOUT_S: Final = 20.0
"""Seconds that a worker may take to start; doubled from one try to the next. It takes 0.05, the
first one 0.3, ten times that on a busy machine, and it imports the main module, whatever that
does. A fork server that is stopped would take for ever."""

END_S: Final = 5.0
"""Seconds that killed processes are waited for: the kernel may hold one that waits for a disk,
and on a busy machine the fork server takes its time to tell of the end of one."""

_CANCELLED: Final = "its call was cancelled"


class Worker:
    """One worker process of the backend, from its start to its end."""

    __slots__ = ("_loop", "gone", "process", "why")

    def __init__(self, starting: threading.Lock) -> None:
        self._loop = asyncio.get_running_loop()
        self.process = WorkerProcess(starting)
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when it is of no use any more; `why` then says what ended it."""
        self.why = ""

    def watch(self) -> None:
        """Notice its death also while it has no call; on Windows the next call does."""
        with suppress(NotImplementedError):
            self._loop.add_reader(self.process.sentinel, self._look)

    def _look(self) -> None:
        self._loop.remove_reader(self.process.sentinel)
        # Only its own thread may ask what ended it.
        look = self._loop.run_in_executor(self.process, os.getpid)
        look.add_done_callback(self._looked)

    def _looked(self, look: "asyncio.Future[int]") -> None:
        if not look.cancelled() and (error := look.exception()) is not None:
            self.note_end(str(error))

    def note_end(self, why: str) -> None:
        """It is of no use any more; may be told again, and the first reason counts."""
        self.why = self.why or why
        if not self.gone.done():
            self.gone.set_result(None)

    def end(self, why: str) -> None:
        """Kill it."""
        self.why = self.why or why
        self.process.kill()

    def retire(self) -> "asyncio.Future[None]":
        """Kill it if it still runs, and let go of it; done when it is gone."""
        if self.process.pid is not None:
            with suppress(NotImplementedError, ValueError):
                self._loop.remove_reader(self.process.sentinel)
        self.process.shutdown(wait=False)
        return asyncio.wrap_future(self.process.ended)


class LocalBackend:
    """Worker processes: `workers`, and a spare one for short calls; see `Dispatcher`.

    They start with the first call. One that dies ends its call only, which is
    run again, and is replaced at once. Large results come through the `arena`.
    """

    spare_slots = 1

    def __init__(self, workers: int, arena: Arena | None = None) -> None:
        self.slots = workers
        self._arena = arena
        self._keepers: set[asyncio.Task[None]] = set()
        self._workers: set[Worker] = set()
        self._up: set[Worker] = set()
        # Last in, first out: the worker used last has the most of what it needs in its caches.
        self._idle: list[Worker] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._deaths = self._lost_calls = 0
        self._problem: str | None = None
        self._trouble = Trouble(log, "worker processes can be started again")
        self._fork_server: int | None = None
        self._starting = threading.Lock()
        self._closed = False

    async def start(self) -> None:
        """Start all worker processes, and wait until they answer.

        Raises `WorkersUnavailable`, also if only some cannot be started.
        """
        self._begin()
        while (up := len(self._up)) < (wanted := self.slots + self.spare_slots):
            if len(self._keepers) < wanted:
                raise WorkersUnavailable(self._problem or f"{up} of {wanted} run")
            await self._wait()

    async def run(
        self, function: Callable[..., Any], *args: Any, deadline_s: float | None = None
    ) -> CallResult:
        """The result of `function(*args, slot)` in a worker process; raises what it raises.

        A worker that does not answer within `deadline_s` seconds is killed, and so is
        one whose call raises `MemoryError`: a new one may have what it lacks. Raises
        `WorkerDied` if the call loses `MAX_DEATHS` workers, `WorkersUnavailable` if
        none can be started, and `ServiceClosed`. Cancelled, it kills the worker.
        """
        why, deaths = "", 0
        for _ in range(MAX_TRIES):
            worker = await self._take()
            slot = self._arena.lease() if self._arena else None
            call = partial(function, *args, None if slot is None else slot.ref)
            try:
                return CallResult(await self._call(worker, call, deadline_s), slot)
            except BaseException as error:
                # The worker has answered, or is gone: it does not write to the slot any more.
                if slot is not None:
                    slot.release()
                if not isinstance(error, BrokenExecutor):
                    raise
                why = worker.why
                if not isinstance(error, Blameless):
                    deaths += 1
                    self._lost_calls += 1
            self._check_open()
            if deaths == MAX_DEATHS:
                break
        raise WorkerDied(deaths, why)

    async def _call(self, worker: Worker, call: Callable[[], Any], deadline_s: float | None) -> Any:
        """What the call returns. Raises what it raises, or `BrokenExecutor` if the worker died."""
        loop = asyncio.get_running_loop()
        deadline = None
        try:
            answer = loop.run_in_executor(worker.process, call)
            answer.add_done_callback(_mark_seen)
            if deadline_s is not None:
                hung = f"a call hung: it did not end within {deadline_s:g} s"
                deadline = loop.call_later(deadline_s, worker.end, hung)
            try:
                return await asyncio.shield(answer)
            except asyncio.CancelledError:
                if not answer.done():
                    worker.end(_CANCELLED)
                    await asyncio.wait([answer], timeout=END_S)
                raise
        except BrokenExecutor as error:
            worker.note_end(str(error))
            raise
        except MemoryError as error:
            worker.end(f"it ran out of memory ({error})")
            raise BrokenExecutor from error
        finally:
            if deadline is not None:
                deadline.cancel()
            self._give_back(worker)

    async def _take(self) -> Worker:
        """A worker that has no call."""
        self._begin()
        while not self._idle:
            await self._wait()
        return self._idle.pop()

    def _give_back(self, worker: Worker) -> None:
        if worker.why:
            worker.note_end(worker.why)
        elif not self._closed:
            self._idle.append(worker)
            self._wake()

    async def _wait(self) -> None:
        """Wait until something about the workers changes. Raises if nothing will."""
        self._check_open()
        if not self._keepers:
            raise WorkersUnavailable(str(self._problem))
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceClosed

    def _begin(self) -> None:
        """See to it that every worker is kept running."""
        self._check_open()
        while len(self._keepers) < self.slots + self.spare_slots:
            keeper = asyncio.create_task(self._keep(), name="worker")
            self._keepers.add(keeper)
            keeper.add_done_callback(self._given_up)

    def _given_up(self, keeper: "asyncio.Task[None]") -> None:
        self._keepers.discard(keeper)
        self._wake()

    async def _keep(self) -> None:
        """Keep one worker running, until it cannot be started again and again."""
        while (worker := await self._start_worker()) is not None:
            self._up.add(worker)
            self._give_back(worker)
            await worker.gone
            self._up.discard(worker)
            with suppress(ValueError):
                self._idle.remove(worker)
            if worker.why != _CANCELLED:
                self._deaths += 1
                log.warning("a worker process died: %s; what it ran is run again", worker.why)
            self._retire(worker)

    async def _start_worker(self) -> Worker | None:
        pause_s, timeout_s = START_PAUSE_S, START_TIMEOUT_S
        for _ in range(STARTS):
            try:
                worker = Worker(self._starting)
            except (OSError, RuntimeError) as error:  # too many files, too many threads
                self._note_problem(error)
            else:
                self._workers.add(worker)
                started = asyncio.wrap_future(worker.process.started)
                started.add_done_callback(_mark_seen)
                try:
                    # Not `wait_for`: before Python 3.12 it may overlook a cancel.
                    async with asyncio.timeout(timeout_s):
                        hello = await asyncio.shield(started)
                except Exception as error:
                    self._retire(worker)
                    self._note_problem(error)
                    if isinstance(error, TimeoutError):
                        self._kill_fork_server()
                else:
                    self._fork_server = hello.parent_pid
                    self._note_problem(None)
                    worker.watch()
                    return worker
            await asyncio.sleep(pause_s)
            pause_s, timeout_s = 2 * pause_s, 2 * timeout_s
        return None

    def _note_problem(self, error: Exception | None) -> None:
        self._problem = None if error is None else str(error) or type(error).__name__
        if self._problem is None:
            self._trouble.end()
        else:
            self._trouble.note(
                "worker processes cannot be started: %s; trying again", self._problem
            )

    def _kill_fork_server(self) -> None:
        """End the process that starts workers, if it does not: the next start makes a new one."""
        pid, self._fork_server = self._fork_server, None
        if pid is not None and pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _retire(self, worker: Worker) -> "asyncio.Future[None]":
        ended = worker.retire()
        ended.add_done_callback(lambda _: self._workers.discard(worker))
        return ended

    async def close(self) -> None:
        """Kill the workers, whatever they do: their work is pure and can be done again."""
        self._closed = True
        for keeper in self._keepers:
            keeper.cancel()
        self._up.clear()
        self._idle.clear()
        self._wake()
        ended = [self._retire(worker) for worker in self._workers]
        if ended:
            _, left = await asyncio.wait(ended, timeout=END_S)
            if left:
                self._kill_fork_server()
                await asyncio.wait(left, timeout=END_S)

    def snapshot(self) -> BackendSnapshot:
        """What there is to tell of the workers now."""
        pids = tuple(pid for worker in self._up if (pid := worker.process.pid) is not None)
        return BackendSnapshot(pids, self._deaths, self._lost_calls, self._problem)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._up)} up, {self._deaths} deaths"
        return f"<LocalBackend {self.slots} + {self.spare_slots} workers, {state}>"


def _mark_seen(future: "asyncio.Future[Any]") -> None:
    """Keep asyncio from logging an error that nobody waits for any more."""
    if not future.cancelled():
        future.exception()
