"""Starts and stops the services as processes, on free ports of 127.0.0.1."""

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.benchmarks.errors import BenchmarkError

ROOT: Final = Path(__file__).resolve().parents[2]
"""Where `python -m` finds primesvc and the tests."""

START_S: Final = 30.0
"""Seconds until a server must say that it is ready."""

STOP_S: Final = 15.0
"""Seconds a server may take to stop before it is killed."""

_SERVES: Final = re.compile(r"serves on http://127\.0\.0\.1:(\d+)[^\n]*\n")
_WORKERS: Final = re.compile(r"(\d+) workers")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: its port, and the line with which it said that it is ready."""

    process: "subprocess.Popen[bytes]"
    port: int
    ready_line: str

    @property
    def workers(self) -> int:
        """How many processors primesvc says it sieves on."""
        match = _WORKERS.search(self.ready_line)
        if match is None:
            raise BenchmarkError(f"{self.ready_line!r} does not say how many workers")
        return int(match[1])

    def cpu_s(self) -> float:
        """Processor time of the server process itself so far, without its descendants."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def family_cpu_s(self) -> float:
        """Processor time of the server and its descendants that are there so far."""
        server = psutil.Process(self.process.pid)
        times = [one.cpu_times() for one in (server, *server.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))


@contextmanager
def primesvc(*flags: str) -> Iterator[Server]:
    """A fresh primesvc with default settings, but for those given."""
    with _running([sys.executable, "-m", "primesvc", "--port", "0", *flags]) as process:
        yield _ready(process)


@contextmanager
def bare() -> Iterator[Server]:
    """The bare aiohttp handler."""
    with _running([sys.executable, "-m", "tests.benchmarks.peers.bare"]) as process:
        yield _ready(process)


@contextmanager
def rq_service() -> Iterator[Server]:
    """The Flask + RQ + Redis service with one worker, as `rq worker` starts it."""
    with ExitStack() as stack:
        redis_port = stack.enter_context(_redis())
        worker = [sys.executable, "-m", "rq.cli", "worker", "--quiet"]
        stack.enter_context(_running([*worker, "--url", f"redis://127.0.0.1:{redis_port}"]))
        command = [sys.executable, "-m", "tests.benchmarks.peers.rq_service", str(redis_port)]
        yield _ready(stack.enter_context(_running(command)))


@contextmanager
def _redis() -> Iterator[int]:
    """A Redis that keeps nothing; its port."""
    port = _free_port()
    options = {"bind": "127.0.0.1", "port": str(port), "save": "", "appendonly": "no"}
    with tempfile.TemporaryDirectory(prefix="primesvc-bench-") as directory:
        command = ["redis-server", "--dir", directory]
        for name, value in options.items():
            command += [f"--{name}", value]
        with _running(command) as process:
            _read_until(process, re.compile("Ready to accept connections"))
            yield port


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _environment() -> dict[str, str]:
    """Ours without settings of primesvc: the defaults are measured."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PRIMESVC_")}


@contextmanager
def _running(command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    # A session of its own: Ctrl-C reaches us alone, and the group can be killed as a whole.
    process = subprocess.Popen(
        command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_S)
    finally:
        if process.stdout is not None:
            process.stdout.close()


def _ready(process: "subprocess.Popen[bytes]") -> Server:
    match = _read_until(process, _SERVES)
    return Server(process, int(match[1]), match[0].strip())


def _read_until(process: "subprocess.Popen[bytes]", pattern: re.Pattern[str]) -> re.Match[str]:
    assert process.stdout is not None
    deadline = time.monotonic() + START_S
    said = ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (match := pattern.search(said)) is None:
            left_s = deadline - time.monotonic()
            data = os.read(process.stdout.fileno(), 4096) if selector.select(left_s) else b""
            if not data:
                raise BenchmarkError(f"{process.args!r} did not start; it said {said!r}")
            said += data.decode()
    return match
