"""A server process that can be killed and started again, and what it leaves behind."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

import psutil

from tests.helpers import WAIT_S, eventually
from tests.program import environ


class Server:
    """`python -m primesvc` in a process group of its own; `async with` ends it."""

    def __init__(self, *flags: str) -> None:
        self.flags = flags
        self.url = ""
        self.log: list[str] = []
        """The lines it wrote to standard error, over all its lives."""
        self._process: subprocess.Popen[str] | None = None
        self._family: set[psutil.Process] = set()

    async def start(self) -> None:
        """Start it, and wait until it says where it listens."""
        self._process = await asyncio.to_thread(self._launch)

    def _launch(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "primesvc", "--port", "0", *self.flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ(),
            start_new_session=True,
        )
        assert process.stdout is not None
        timer = threading.Timer(WAIT_S, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        found = re.search(r"http://\S+", line)
        assert found, f"no address in {line!r}"
        self.url = found[0]
        # Read on, or a pipe fills and the server stops at its next line.
        for stream, take in ((process.stdout, len), (process.stderr, self.log.append)):
            threading.Thread(target=_drain, args=(stream, take), daemon=True).start()
        return process

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[psutil.Process]:
        """The worker processes that are running now."""
        family = psutil.Process(self.pid).children(recursive=True)
        self._family.update(family)
        # The fork server and its workers have the same command line: workers are its children.
        workers = []
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.ppid() != self.pid and runs(process):
                    workers.append(process)
        return workers

    def wake(self) -> None:
        """Have those that were stopped go on, also those whose fork server is gone."""
        for process in {*self.workers(), *self._family}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def fork_server(self) -> psutil.Process:
        """The process that starts the workers."""
        (found,) = {worker.parent() for worker in self.workers()}
        assert found is not None
        return found

    def memory_bytes(self) -> int:
        """Memory of the server and all its processes, shared pages counted once."""
        total = 0
        for process in [psutil.Process(self.pid), *psutil.Process(self.pid).children(True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
                total += process.memory_full_info().pss
        return total

    def open_files(self) -> int:
        """How many descriptors the server holds."""
        return int(psutil.Process(self.pid).num_fds())

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send the server a signal and wait until nothing of it is left; returns its exit code."""
        self.workers()
        shared = _named_memory(self.pid)
        os.kill(self.pid, number)
        assert self._process is not None
        code = await asyncio.to_thread(self._process.wait, WAIT_S)
        await eventually(lambda: not any(runs(process) for process in self._family))
        await eventually(lambda: not any(path.exists() for path in shared))
        self._family.clear()
        return code

    async def terminate(self) -> int:
        """End it in order; see that nothing is left; returns its exit code."""
        return await self.kill(signal.SIGTERM)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._process is not None and self._process.poll() is None:
            await self.kill()


def runs(process: psutil.Process) -> bool:
    """Whether a process has not ended; what the system has yet to clear away has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _drain(stream: IO[str], take: Callable[[str], object]) -> None:
    with stream:
        for line in stream:
            take(line)


def _named_memory(pid: int) -> list[Path]:
    """The files in shared memory that a process has mapped."""
    maps = Path(f"/proc/{pid}/maps")
    if not maps.exists():
        return []
    return [Path(name) for name in re.findall(r"/dev/shm/[^\s]+", maps.read_text())]  # noqa: S108
