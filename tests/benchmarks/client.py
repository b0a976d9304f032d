"""A small blocking HTTP client on one kept connection: some 30 µs a request of its own."""

import json
import socket
import time
from typing import Any, Final, NamedTuple, Self

from tests.benchmarks.errors import BenchmarkError

ANSWER_S: Final = 60.0
"""Seconds an answer may keep us waiting."""


class Answer(NamedTuple):
    """What the server answered; `length` is its Content-Length, to a HEAD too."""

    status: int
    length: int
    body: bytes


class Client:
    """One connection to 127.0.0.1, opened again if the server closes it; use it `with`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; may be called again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def request(self, method: str, path: str) -> Answer:
        """Send a request without a body. Raises `BenchmarkError` and `OSError`."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), ANSWER_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request_bytes(method, path, self._port))
        head, body = self._read_head(self._socket)
        status, length, close = _read(head)
        if method != "HEAD":
            body = self._read_body(self._socket, body, length)
        if close:
            self.close()
        return Answer(status, length, body)

    @staticmethod
    def _read_head(sock: socket.socket) -> tuple[bytes, bytes]:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = sock.recv(2**16)
            if not more:
                raise BenchmarkError("the server closed the connection instead of answering")
            data += more
        return data[:end], data[end + 4 :]

    @staticmethod
    def _read_body(sock: socket.socket, begun: bytes, length: int) -> bytes:
        if len(begun) >= length:
            return begun
        parts, missing = [begun], length - len(begun)
        while missing > 0:
            more = sock.recv(2**18)
            if not more:
                raise BenchmarkError(f"{missing} bytes of the answer are missing")
            parts.append(more)
            missing -= len(more)
        return b"".join(parts)

    def compute(
        self,
        start: int,
        end: int,
        *,
        poll: str = "GET",
        pause_s: float = 0.0,
        within_s: float = ANSWER_S,
    ) -> "Computed":
        """POST the closed range, then poll its result until it is there.

        Raises `BenchmarkError` if anything but 204 comes before the 200, or neither within
        `within_s` seconds.
        """
        began = time.perf_counter()
        job_id = self.submit(start, end)
        path = f"/result/{job_id}"
        while True:
            answer = self.request(poll, path)
            seconds = time.perf_counter() - began
            if answer.status == 200:
                return Computed(job_id, seconds, answer)
            if answer.status != 204:
                raise BenchmarkError(f"{poll} {path}: {answer.status} {answer.body[:200]!r}")
            if seconds > within_s:
                raise BenchmarkError(f"no result of {start} to {end} within {within_s} s")
            if pause_s:
                time.sleep(pause_s)

    def count(self, start: int, end: int, kind: str = "count") -> tuple[float, dict[str, Any]]:
        """Seconds until a job that counts is done, and its document. Raises `BenchmarkError`."""
        began = time.perf_counter()
        path = f"/jobs?kind={kind}&start={start}&end={end}"
        document = json.loads(self.request("POST", path).body)
        while document.get("state") in ("queued", "running"):
            document = json.loads(self.request("GET", f"/jobs/{document['id']}?wait=30").body)
        seconds = time.perf_counter() - began
        if document.get("state") != "succeeded":
            raise BenchmarkError(f"POST {path}: {document}")
        return seconds, document

    def warm_up(self) -> None:
        """Wait until all workers work: a job for them, far from all that is measured."""
        self.compute(10**12, 10**12 + 2**32, poll="HEAD", pause_s=0.01)

    def submit(self, start: int, end: int) -> str:
        """POST the closed range; the id of its job."""
        path = range_path(start, end)
        answer = self.request("POST", path)
        if answer.status != 200:
            raise BenchmarkError(f"POST {path}: {answer.status} {answer.body[:200]!r}")
        return answer.body.decode().strip().strip('"')


class Computed(NamedTuple):
    """A finished job: its id, the seconds from POST to the 200, and that answer."""

    job_id: str
    seconds: float
    answer: Answer


def range_path(start: int, end: int) -> str:
    """Where to POST for the closed range."""
    return f"/primes?start_num={start}&end_num={end}"


def request_bytes(method: str, path: str, port: int) -> bytes:
    """A request without a body as it goes over the wire."""
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{length}\r\n".encode()


def _read(head: bytes) -> tuple[int, int, bool]:
    """Status, Content-Length (0 if there is none), and whether the connection is closed."""
    line, *fields = head.decode("latin-1").lower().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    if "chunked" in headers.get("transfer-encoding", ""):
        raise BenchmarkError("the answer has no length")
    close = headers.get("connection") == "close"
    return int(line.split()[1]), int(headers.get("content-length", 0)), close
