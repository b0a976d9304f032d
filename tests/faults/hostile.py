"""Clients that mean no good, and what must hold of a server once they are gone."""

import contextlib
import json
import re
import resource
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import psutil

from tests.helpers import WAIT_S
from tests.program import MODULE, Server, eventually

ROOT = str(Path(__file__).parents[2])

HEAD = "Host: localhost\r\n"

BOUND_BYTES = 48 * 2**20
"""What the server may have grown by after an attack, unless a test says otherwise."""


BATCH = 64
"""Connections that are begun at once: of more than the server's backlog some would be late."""


class Answer(NamedTuple):
    """What a server answered; status 0 if nothing."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes
    """What came behind the answer."""

    def json(self) -> Any:
        """The document in the body."""
        return json.loads(self.body)

    def problem(self) -> dict[str, Any]:
        """The document of an error, which is sound and tells nothing of the inside."""
        assert self.headers["content-type"] == "application/problem+json", self
        document: dict[str, Any] = self.json()
        assert document["status"] == self.status
        assert document["message"] == document["detail"]
        for inside in ("Traceback", "aiohttp", ".py", "Error("):
            assert inside not in self.body.decode(), self
        return document


class Target:
    """A server under attack."""

    def __init__(self, *flags: str, program: list[str] | None = None, silent: bool = True) -> None:
        self.server = Server(*flags, program=program or MODULE, PYTHONPATH=ROOT)
        self.silent = silent

    def __enter__(self) -> Self:
        try:
            self.server.ready()
            self.process = psutil.Process(self.server.pid)
            self.server.family()
            eventually(lambda: ask(self, get("/health/ready")).status == 200)
            self.is_well()
        except BaseException:
            self.server.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if error[0] is None:
                self.server.signal(signal.SIGTERM)
                assert self.server.ends(within_s=WAIT_S) == 0
                wrong = re.compile("Traceback|Unhandled|ERROR|Warning|Exception")
                assert [line for line in self.server.errors if wrong.search(line)] == []
                assert not self.silent or self.server.errors == [], self.server.errors
        finally:
            self.server.stop()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        parts = urlsplit(self.server.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def connect(self, *, receives_bytes: int | None = None) -> socket.socket:
        """A new connection, which keeps little of what it is sent if so asked for."""
        client = _client(receives_bytes)
        client.settimeout(WAIT_S)
        client.connect(self.address)
        return client

    def crowd(
        self, number: int, says: bytes = b"", *, receives_bytes: int | None = None
    ) -> list[socket.socket]:
        """So many connections: as fast as it accepts them, no faster; each says the same."""
        clients: list[socket.socket] = []
        with selectors.DefaultSelector() as selector:
            while len(clients) < number:
                for _ in range(min(BATCH, number - len(clients))):
                    client = _client(receives_bytes)
                    client.setblocking(False)
                    client.connect_ex(self.address)
                    clients.append(client)
                    selector.register(client, selectors.EVENT_WRITE, client)
                while selector.get_map():
                    ready = selector.select(timeout=WAIT_S)
                    assert ready, "the server accepts no more connections"
                    for key, _ in ready:
                        selector.unregister(key.fileobj)
                        if says:
                            assert key.data.send(says) == len(says)
        for client in clients:
            client.settimeout(WAIT_S)
        return clients

    @property
    def files(self) -> int:
        """How many file descriptors it has open."""
        return int(self.process.num_fds())

    @property
    def memory_bytes(self) -> int:
        """Its own memory, without its workers'; what it shares with them in part."""
        return int(self.process.memory_full_info().pss)

    def is_well(self) -> None:
        """A normal client is answered, and exactly."""
        job_id = self.server.submit(4, 11)
        assert self.server.fetch(f"/result/{job_id}") == '"[5, 7, 11]"\n'

    @contextlib.contextmanager
    def attacked(self, *, bound_bytes: int = BOUND_BYTES) -> Iterator[None]:
        """What happens within costs the server nothing lasting, and others nothing at all."""
        files, memory_bytes = self.files, self.memory_bytes
        yield
        self.is_well()
        eventually(lambda: self.files <= files + 2)  # a client of ours may still be closing
        grown = self.memory_bytes - memory_bytes
        assert grown <= bound_bytes, f"the server has grown by {grown} bytes"


def _client(receives_bytes: int | None) -> socket.socket:
    client = socket.socket()
    if receives_bytes is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
    return client


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    """A request without a body, as bytes; `headers` are whole lines."""
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"{method} {path} HTTP/1.1\r\n{HEAD}{lines}\r\n".encode()


def post(path: str, *headers: str, body: bytes = b"") -> bytes:
    """A POST as bytes."""
    length = () if any("Transfer-Encoding" in line for line in headers) else (
        f"Content-Length: {len(body)}",
    )  # fmt: skip
    return get(path, *length, *headers, method="POST") + body


def ask(target: Target, data: bytes, *, half: bool = False) -> Answer:
    """Send bytes on a connection of its own, with `half` the end after them; give the answer."""
    with target.connect() as client:
        # It may be refused before all is sent.
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
            if half:
                client.shutdown(socket.SHUT_WR)
        return receive(client)


def receive(client: socket.socket, received: bytes = b"", *, body: bool = True) -> Answer:
    """The next answer on a connection, or its head alone; `received` is what was read of it."""
    while b"\r\n\r\n" not in received:
        part = _receive(client)
        if not part:
            return Answer(0, {}, b"", received)
        received += part
    head, _, received = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
    length = int(headers.get("content-length", "0")) if body else 0
    while len(received) < length and (part := _receive(client)):
        received += part
    return Answer(int(status_line.split(" ")[1]), headers, received[:length], received[length:])


def _receive(client: socket.socket) -> bytes:
    try:
        return client.recv(2**16)
    except ConnectionError:
        return b""


def push(stack: contextlib.ExitStack, clients: list[socket.socket]) -> list[socket.socket]:
    """Have the connections closed in the end."""
    for client in clients:
        stack.enter_context(client)
    return clients


def is_closed(client: socket.socket) -> bool:
    """Wait until the server has closed the connection; what it still sends is dropped."""
    while _receive(client):
        pass
    return True


def drips(client: socket.socket, data: Iterable[bytes], pause_s: float = 0.05) -> bytes:
    """Send one piece after another for as long as nothing comes back; give what comes."""
    client.settimeout(pause_s)
    try:
        deadline = time.monotonic() + WAIT_S
        for piece in data:
            assert time.monotonic() < deadline, "the server is too patient"
            try:
                client.sendall(piece)
                return client.recv(2**16)
            except TimeoutError:
                continue
            except ConnectionError:
                return b""
        raise AssertionError("the server took everything")
    finally:
        client.settimeout(WAIT_S)


def flood(
    clients: list[socket.socket], piece: bytes, *, meanwhile: Callable[[], None] = lambda: None
) -> int:
    """Send the same piece on all connections, again and again, until the server has closed them.

    Reads nothing, and does something else in between. Returns how many bytes the server and the
    system took.
    """
    sent = 0
    deadline = time.monotonic() + WAIT_S
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_WRITE)
        while selector.get_map():
            assert time.monotonic() < deadline, "the server does not close the connections"
            meanwhile()
            for key, _ in selector.select(timeout=1):
                client = key.fileobj  # type: ignore[assignment] # we registered sockets
                try:
                    sent += client.send(piece)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    selector.unregister(client)
    return sent


@contextlib.contextmanager
def many_files(number: int) -> Iterator[contextlib.ExitStack]:
    """Have so many descriptors more in this process; the stack closes what is pushed on it."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = psutil.Process().num_fds() + number + 64
    assert most == resource.RLIM_INFINITY or most >= wanted, f"raise the hard limit to {wanted}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, wanted), most))
    try:
        with contextlib.ExitStack() as stack:
            yield stack
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
