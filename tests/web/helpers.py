"""What the tests of the HTTP face share: executors to steer, and a client close to the socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn, ParamSpec, TypeVar

from aiohttp import AddrInfoType, web
from aiohttp.test_utils import get_port_socket

from primesvc import Range, Settings, create_app
from tests.helpers import WAIT_S

P = ParamSpec("P")
T = TypeVar("T")


def mounted(settings: Settings, prefix: str) -> web.Application:
    """The service's application, below `prefix` of another one unless that is empty."""
    app = create_app(settings)
    if not prefix:
        return app
    parent = web.Application()
    parent.add_subapp(f"{prefix}/", app)
    return parent


class FaultyExecutor(ThreadPoolExecutor):
    """An embedder's executor that, while `fault` is set, cannot run calls that touch `number`.

    `only` is the name of the function whose calls it cannot run, None for all.
    """

    def __init__(
        self, number: int, fault: BaseException | None, *, only: str | None = None
    ) -> None:
        super().__init__(2)
        self.number = number
        self.fault = fault
        self.only = only

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """As a `ThreadPoolExecutor` does, but for the fault."""
        if self.fault is not None and isinstance(fn, partial) and self._breaks(fn):
            return super().submit(partial(self._fail, self.fault))
        return super().submit(fn, *args, **kwargs)

    def _breaks(self, call: "partial[object]") -> bool:
        if self.only is not None and call.func.__name__ != self.only:
            return False
        ranges = [r for a in call.args for r in (a if isinstance(a, list) else [a])]
        return any(isinstance(r, Range) and r.start <= self.number <= r.end for r in ranges)

    @staticmethod
    def _fail(fault: BaseException) -> NoReturn:
        raise fault


class HeldExecutor(Executor):
    """An embedder's executor that keeps every call that sieves until `run` is told to run it.

    Calls that only write down what was sieved, or count it a second time, run at once.
    """

    def __init__(self) -> None:
        self._held: list[tuple[Future[object], Callable[[], object]]] = []
        self._dropping = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Keep the call, or run it."""
        future: Future[T] = Future()
        if self._dropping:
            future.cancel()
        self._held.append((future, partial(fn, *args, **kwargs)))  # type: ignore[arg-type]
        if isinstance(fn, partial) and fn.func.__name__ in ("render", "count_up_to"):
            self.run(-1)
        return future

    @property
    def held(self) -> int:
        """How many calls wait that somebody still wants."""
        return sum(not future.cancelled() for future, _ in self._held)

    def run(self, at: int = 0) -> None:
        """Run the call at this position, here and now."""
        future, call = self._held.pop(at)
        if future.set_running_or_notify_cancel():
            future.set_result(call())

    def drop(self) -> None:
        """Run no call any more, so that nobody waits for one."""
        self._dropping = True
        for future, _ in self._held:
            future.cancel()


class RawDownload:
    """A GET on a socket with a small receive buffer: what is not read here stays with the server.

    `length` is the Content-Length; `read` hands out the body as far as one asks for it.
    """

    def __init__(self, sock: socket.socket, length: int, body: bytes) -> None:
        self._sock = sock
        self._body = body
        self.length = length

    async def read(self, most: int) -> bytes:
        """Some bytes of the body, at most `most`; none at its end. Raises `ConnectionError`."""
        if not self._body:
            loop = asyncio.get_running_loop()
            return await loop.sock_recv(self._sock, most)
        data, self._body = self._body[:most], self._body[most:]
        return data


@asynccontextmanager
async def raw_download(
    host: str, port: int, path: str, *, receive_bytes: int = 2**16
) -> AsyncIterator[RawDownload]:
    """GET a path; its head is read. Leaving the context closes the socket, read or not."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        # Before connecting: it decides the window that the server is offered.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, port))
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        await loop.sock_sendall(sock, request.encode())
        data = b""
        while b"\r\n\r\n" not in data:
            more = await loop.sock_recv(sock, 2**16)
            assert more, "the server closed the connection before the head was complete"
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        assert status.split()[1] == "200", head
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        yield RawDownload(sock, int(headers["content-length"]), body)


def narrow_server(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """A socket whose connections keep little of what is sent and not taken yet."""
    sock = get_port_socket(host, port, family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
    return sock


def narrow_client(address: AddrInfoType) -> socket.socket:
    """A socket that is offered little at a time."""
    sock = socket.socket(*address[:3])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    sock.setblocking(False)
    return sock


async def raw_exchange(address: tuple[str, int], request: str) -> bytes:
    """All that the server sends for these bytes until it closes the connection."""
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request.encode())
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
    return data


@asynccontextmanager
async def serve(
    app: web.Application, *, handler_cancellation: bool
) -> AsyncIterator[tuple[web.Server, int]]:
    """Run the application as an embedder does; give its server and its port."""
    runner = web.AppRunner(app, handler_cancellation=handler_cancellation, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        assert runner.server is not None
        yield runner.server, runner.addresses[0][1]
    finally:
        await runner.cleanup()
