"""The program as a process: a server that can be asked, watched, signalled, and a slow client."""

import contextlib
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psutil

from tests.helpers import WAIT_S

MODULE = [sys.executable, "-W", "error", "-m", "primesvc"]
SCRIPT = [str(Path(sys.executable).parent / "primesvc")]

SOON_S = 5.0
"""What happens at once happens within this, also on a busy machine."""

WORKERS = 2
PROCESSES = WORKERS + 3
"""What a server starts: its workers, the spare one, the fork server, the resource tracker."""

FILE = (0, 3 * 10**7)
"""A range whose primes, 18 MB of text, are more than sockets hold."""

Here = Callable[..., tuple[int, str, str]]
"""Of the fixture `here`: runs the program in this process; its exit code, output and errors."""

READY = re.compile(r"primesvc serves on (http://\S+) \((\w+ [\w.]+, )+2 workers\)")


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and document of an answer; underscores in names of headers are hyphens."""
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    request = urllib.request.Request(url, method=method, headers=sent)  # noqa: S310 - it is http
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as response:  # noqa: S310
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def environ(**variables: str) -> dict[str, str]:
    """Our environment without settings, plus some variables."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PRIMESVC_")}
    return clean | variables


def eventually(condition: Callable[[], bool], *, within_s: float = WAIT_S) -> None:
    """Return when the condition holds; fail if it does not within the time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not become true in {within_s} s"
        time.sleep(0.005)


class Server:
    """The program, running, and what it says."""

    def __init__(self, *arguments: str, program: list[str] | None = None, **variables: str) -> None:
        self.process = subprocess.Popen(
            [*(program or MODULE), "--port", "0", "--workers", str(WORKERS), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ(**variables),
            start_new_session=True,
        )
        self.pid = self.process.pid
        self.errors: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=args, daemon=True)
            for args in (
                (self.process.stdout, self._lines.put),
                (self.process.stderr, self.errors.append),
            )
        ]
        for reader in self._readers:
            reader.start()
        self.url = ""

    @staticmethod
    def _read(stream: IO[str], take: Callable[[str], object]) -> None:
        with stream:
            for line in stream:
                take(line)

    def says(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """The next line of its output, which must match."""
        line = self._lines.get(timeout=WAIT_S)
        match = re.search(pattern, line)
        assert match is not None, line
        return match

    def ready(self) -> "Server":
        """Wait until it says where it listens."""
        self.url = self.says(READY)[1]
        self.says(re.escape(f"try: curl -X POST '{self.url}/primes"))
        return self

    def family(self) -> "list[psutil.Process]":
        """Itself and all processes it started, once all of them run."""
        server = psutil.Process(self.pid)
        eventually(lambda: len(server.children(recursive=True)) == PROCESSES)
        return [server, *server.children(recursive=True)]

    def submit(self, start: int, end: int) -> str:
        """POST a range; give the id."""
        query = f"start_num={start}&end_num={end}"
        return self.fetch(f"/primes?{query}", method="POST").strip().strip('"')

    def fetch(self, path: str, *, method: str = "GET") -> str:
        """The body of an answer, once it is 200."""
        request = urllib.request.Request(self.url + path, method=method)  # noqa: S310 - it is http
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            with urllib.request.urlopen(request, timeout=WAIT_S) as response:  # noqa: S310
                if response.status == 200:
                    return str(response.read().decode())
        raise AssertionError(f"{path} was not done in time")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def ctrl_c(self) -> None:
        """What Ctrl-C does: SIGINT for every process of the group."""
        os.killpg(self.pid, signal.SIGINT)

    def ends(self, *, within_s: float = SOON_S) -> int:
        """Wait until it has ended; give its exit code."""
        code = self.process.wait(within_s)
        for reader in self._readers:
            reader.join(WAIT_S)
        return code

    def stop(self) -> None:
        """Make sure that nothing of it is left after a test, however it went."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.ends(within_s=WAIT_S)


class SlowReader:
    """A client that begins a download and then reads when it is told to."""

    def __init__(self, server: Server, start: int, end: int) -> None:
        path = f"/result/{server.submit(start, end)}"
        address = urlsplit(server.url)
        deadline = time.monotonic() + WAIT_S
        head = b""
        while not head.startswith(b"HTTP/1.1 200"):
            assert time.monotonic() < deadline, head
            self._socket = socket.socket()
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
            self._socket.settimeout(WAIT_S)
            self._socket.connect((address.hostname, address.port))
            self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = self._socket.recv(4096)
            if not head.startswith(b"HTTP/1.1 200"):
                self._socket.close()
        header, _, body = head.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", header)
        assert length is not None
        self.length = int(length[1])
        self.received = len(body)

    def read_on(self) -> None:
        """Read until all is there or the server has closed the connection."""
        while self.received < self.length:
            try:
                part = self._socket.recv(2**20)
            except ConnectionResetError:
                return
            if not part:
                return
            self.received += len(part)

    def close(self) -> None:
        """Leave."""
        self._socket.close()


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The program run to its end."""
    return subprocess.run(
        [*MODULE, *arguments], capture_output=True, text=True, env=environ(**variables),
        timeout=WAIT_S, check=False,
    )  # fmt: skip
