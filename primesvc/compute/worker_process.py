"""A worker process as an executor: one process, one pipe to it, one thread that uses the pipe.

`ProcessPoolExecutor` is broken for good by one dead process, and cannot end a
call that runs. With an executor a process a death ends one call, it is known
at once which, and a call is ended by killing its process.
"""

import contextlib
import multiprocessing
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from primesvc.compute.worker_main import Hello, main

T = TypeVar("T")


class Blameless(BrokenExecutor):
    """The process had ended before it got the call, or ended with all others."""


_LOST: Final = 255
"""The exit code of a process whose fork server ended before it could tell of another one."""

EXIT_S: Final = 1.0
"""Seconds that a process whose pipe is closed is waited for before it is killed. It has
ended already, but one whose fork server is stopped is not reported as ended."""

_GROUP_SIGNALS: Final = (
    {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} if sys.platform != "win32" else set()
)
"""What is sent to a whole process group, and is the server's to answer."""

_PRELOAD: Final = ["primesvc.compute.preload"]


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


class WorkerProcess(Executor):
    """A process that runs one call at a time; it starts when this is made.

    Once the process has ended, every call that is there or comes raises
    `BrokenExecutor`, which says what ended it. `shutdown` kills it.
    """

    def __init__(self) -> None:
        self.started: Future[Hello] = Future()
        """What the process says when it is up, or why it could not be started."""
        self.ended: Future[None] = Future()
        """Done when process and pipe are gone, after `shutdown`."""
        self.pid: int | None = None
        """The process id, once the process has started."""
        self._calls: SimpleQueue[tuple[bytes, Future[Any]] | None] = SimpleQueue()
        self._killed = self._shut = False
        self._context = start_context()
        self._ours, theirs = self._context.Pipe()
        self._process = self._context.Process(  # type: ignore[attr-defined]  # each context has one
            target=main, args=(theirs,), name="primesvc worker", daemon=True
        )
        # A daemon: the interpreter's end does not wait for a start that hangs.
        thread = threading.Thread(target=self._run, args=(theirs,), daemon=True)
        try:
            thread.start()
        except BaseException:
            self._ours.close()
            theirs.close()
            raise

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the process has ended; until `shutdown`."""
        sentinel: int = self._process.sentinel
        return sentinel

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Run `function(*args)` in the process, after the calls submitted before.

        Raises what pickling the call raises. `kwargs` are not taken.
        """
        if kwargs:
            raise TypeError("a call to a worker process has no keyword arguments")
        if self._shut:
            raise RuntimeError("the worker process was shut down")
        future: Future[T] = Future()
        self._calls.put((pickle.dumps((function, args), pickle.HIGHEST_PROTOCOL), future))
        return future

    def kill(self) -> None:
        """End the process, whatever it does: its work is pure and can be done again."""
        self._killed = True
        if self.pid is not None:
            with contextlib.suppress(ValueError):  # closed already
                self._process.kill()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """Kill the process, and with `wait` wait until it is gone. What waits is cancelled."""
        self.kill()
        self._shut = True
        self._calls.put(None)
        if wait:
            self.ended.result()

    def _run(self, theirs: Connection) -> None:
        """The thread: start the process, pass calls on and answers back, tidy up."""
        try:
            try:
                with _signals_blocked():
                    self._process.start()
                self.pid = self._process.pid
            finally:
                theirs.close()  # else the end of the process would not be the end of the pipe
            if self._killed:
                self.kill()
            self.started.set_result(self._ours.recv())
        except BaseException as error:
            self.started.set_exception(error)
        while (item := self._calls.get()) is not None:
            data, future = item
            if future.set_running_or_notify_cancel():
                self._pass_on(data, future)
        self._ours.close()
        if self.pid is not None:
            self._wait_for_exit()
            with contextlib.suppress(ValueError):  # it could not be killed in time
                self._process.close()
        self.ended.set_result(None)

    def _pass_on(self, call: bytes, future: "Future[Any]") -> None:
        begun = False
        try:
            self._ours.send_bytes(call)
            begun = True
            answer = self._ours.recv_bytes()
        except (EOFError, OSError):
            # Whoever gets the error may take it that nothing writes to shared memory any more.
            code = self._wait_for_exit()
            error = BrokenExecutor if begun and code != _LOST else Blameless
            future.set_exception(error(_how_it_ended(code)))
            return
        try:
            succeeded, value = pickle.loads(answer)  # noqa: S301 - from a process of ours
        except Exception as error:
            succeeded, value = False, error
        if succeeded:
            future.set_result(value)
        else:
            future.set_exception(value)

    def _wait_for_exit(self) -> int | None:
        self._process.join(EXIT_S)
        code: int | None = self._process.exitcode
        if code is None:
            self._process.kill()
        return code

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.pid}>"


def _how_it_ended(code: int | None) -> str:
    """What an exit code, or a signal, says of the end of a process."""
    if code is None:
        return "it closed its pipe"
    if code == _LOST:
        return "it ended with the process that starts workers"
    if code >= 0:
        return f"it left with exit code {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"it was ended by signal {-code}"


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals for the whole process group in what this thread starts.

    Ctrl-C and SIGHUP would end workers before they ignore them, and these and SIGTERM
    the fork server, which is needed until the last answer is given.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
