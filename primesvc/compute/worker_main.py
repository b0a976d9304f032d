"""What a worker process does from its first line to its last: take a call, run it, answer."""

import contextlib
import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, NamedTuple

NICE: Final = 10
"""How far workers stand back behind the event loop, and whatever else the machine
does: with all cores sieving, a small request is answered in a third of the time."""

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class Hello(NamedTuple):
    """The first message of a worker: it is up."""

    pid: int
    parent_pid: int
    """The process that started it: the fork server, where there is one."""


def main(pipe: Connection) -> None:
    """Run the calls that come through the pipe, one after another, until it is closed.

    The first message is a `Hello`, or the error why there is none. A call is a pickled
    `(function, args)`, an answer a pickled `(succeeded, value or error)`.
    """
    try:
        _prepare(pipe)
    except (OSError, RuntimeError) as error:  # too many files, too many threads
        with contextlib.suppress(OSError):
            pipe.send(error)
        return
    with contextlib.suppress(EOFError, OSError):  # the server has closed the pipe, or was killed
        pipe.send(Hello(os.getpid(), os.getppid()))
        while True:
            pipe.send_bytes(_answer(pipe.recv_bytes()))


def _answer(call: bytes) -> bytes:
    try:
        function, args = pickle.loads(call)  # noqa: S301 - from the server, which started us
        return pickle.dumps((True, function(*args)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return _pickled_error(error)


def _pickled_error(error: Exception) -> bytes:
    try:
        data = pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)
        pickle.loads(data)  # noqa: S301 - some errors can be pickled, but not made again
    except Exception:
        data = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
    return data


def _prepare(pipe: Connection) -> None:
    # Ctrl-C and the end of a terminal reach the whole process group; only the server
    # decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.set_wakeup_fd(-1)
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICE)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if sys.platform.startswith("linux"):
        # A worker that is stopped cannot watch the server. The kernel ends it with the fork
        # server, which ends with the server if no worker holds the pipe by which it watches.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if not _is_grandparent(parent):
            os._exit(1)  # the fork server had ended before that
        _close_all_but(0, 1, 2, pipe.fileno(), parent.sentinel)
    # A killed server cannot stop its workers: they watch it themselves.
    watch = threading.Thread(target=_exit_with, args=(parent,), daemon=True)
    try:
        watch.start()
    except RuntimeError:  # out of threads
        if not sys.platform.startswith("linux"):
            raise


def _is_grandparent(server: BaseProcess) -> bool:
    """Whether who started this process is a child of the server, as a fork server is."""
    try:
        stat = Path(f"/proc/{os.getppid()}/stat").read_text()
    except OSError:
        return False
    return int(stat.rpartition(")")[2].split()[1]) == server.pid


def _close_all_but(*kept: int) -> None:
    """Close what the fork server handed down, all of which is other people's."""
    for path in list(Path("/proc/self/fd").iterdir()):
        if int(path.name) not in kept:
            with contextlib.suppress(OSError):  # that of the list itself
                os.close(int(path.name))


def _exit_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
