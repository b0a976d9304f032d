"""A worker process as an executor: one process, one pipe to it, one thread that uses the pipe.

`ProcessPoolExecutor` is broken for good by one dead process, and cannot end a
call that runs. With an executor a process a death ends one call, it is known
at once which, and a call is ended by killing its process.
"""

import contextlib
import errno
import multiprocessing
import os
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

SPARE_FILES: Final = 16
"""Descriptors that there have to be before a process starts, which takes half of them for a moment:
without any, the server cannot accept who asks how it is."""

SPARE_THREADS: Final = 4
"""Threads that there have to be, which processes count as: the process and its thread, and with
the first one the fork server and the resource tracker."""

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

    One process at a time starts with the same lock, and only while there is room for it.
    """

    def __init__(self, starting: threading.Lock) -> None:
        self.started: Future[Hello] = Future()
        """What the process says when it is up, or why it could not be started."""
        self.ended: Future[None] = Future()
        """Done when process and pipe are gone, after `shutdown`."""
        self.pid: int | None = None
        """The process id, once the process has started."""
        self._calls: SimpleQueue[tuple[bytes, Future[Any]] | None] = SimpleQueue()
        self._killed = self._shut = False
        self._starting = starting
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
                self._start()
            finally:
                theirs.close()  # else the end of the process would not be the end of the pipe
            if self._killed:
                self.kill()
            self.started.set_result(self._receive_hello())
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

    def _start(self) -> None:
        with self._starting:
            if self._killed:
                raise BrokenExecutor("it was killed")
            _check_room()
            try:
                with _signals_blocked():
                    self._process.start()
            except (EOFError, ConnectionError) as error:
                raise BrokenExecutor("the process that starts them ended") from error
            self.pid = self._process.pid

    def _receive_hello(self) -> Hello:
        try:
            hello: Hello | Exception = self._ours.recv()
        except EOFError as error:
            raise BrokenExecutor(f"one did: {_how_it_ended(self._wait_for_exit())}") from error
        if isinstance(hello, Exception):
            raise hello
        return hello

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


def _check_room() -> None:
    """Raise `OSError` or `RuntimeError`, which says what of, if there is not room for a process.

    To find out from the fork server is dear: it ends if it cannot fork, and all workers with it.
    """
    if not _has_spare_files():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    enough = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(SPARE_THREADS):
            thread = threading.Thread(target=enough.wait, daemon=True)
            thread.start()
            threads.append(thread)
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def _has_spare_files() -> bool:
    # Looked for, not opened: nobody is to lack them meanwhile.
    if sys.platform == "win32":
        return True
    import resource  # not on Windows

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return True
    spare = 0
    for number in reversed(range(limit)):  # the lowest are taken first
        try:
            os.fstat(number)
        except OSError:
            spare += 1
            if spare == SPARE_FILES:
                return True
    return False


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
