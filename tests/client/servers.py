"""What stands between a client and a service in these tests: a relay that breaks, other servers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer


class Relay:
    """Passes bytes between clients and a server, and breaks connections when it is told to.

    While there are `cuts`, each answer to a request whose path holds `only` is
    broken off after the next of them, in bytes. `requests` are the heads of
    all requests. It listens on a free port of the loopback: `url`.
    """

    def __init__(self, server: TestServer, *, only: str = "/", cuts: tuple[int, ...] = ()) -> None:
        self._to = server
        self._only = only
        self.cuts = deque(cuts)
        self.requests: list[str] = []
        self.on_cut: Callable[[], object] = lambda: None
        self._server: asyncio.Server
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        self.break_all()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def break_all(self) -> None:
        """Break every connection, as a cable that is pulled out."""
        for writer in list(self._open):
            writer.transport.abort()

    def paths(self) -> list[str]:
        """The paths of the requests so far, queries included."""
        return [head.split()[1] for head in self.requests]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self._to.host, self._to.port)
        self._open |= {writer, server_writer}
        budget: int | None = None

        async def requests() -> None:
            nonlocal budget
            while data := await reader.read(2**16):
                if data.startswith((b"GET", b"POST", b"DELETE")):
                    self.requests.append(data.split(b"\r\n\r\n")[0].decode())
                    fits = self._only in self.paths()[-1]
                    budget = self.cuts.popleft() if fits and self.cuts else None
                server_writer.write(data)

        async def answers() -> None:
            nonlocal budget
            while data := await server_reader.read(2**16):
                if budget is not None:
                    data = data[:budget]
                    budget -= len(data)
                writer.write(data)
                await writer.drain()
                if budget == 0:
                    # What was passed on is to arrive: closed, not aborted.
                    self.on_cut()
                    return

        tasks = [asyncio.ensure_future(requests()), asyncio.ensure_future(answers())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for end in (writer, server_writer):
                self._open.discard(end)
                end.close()


@asynccontextmanager
async def serving(handler: Callable[[web.Request], object]) -> AsyncIterator[str]:
    """A server of somebody else, which answers every request with `handler`; its address."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        answer = handler(request)  # type: ignore[arg-type]  # enough of a request
        if asyncio.iscoroutine(answer):
            answer = await answer
        assert isinstance(answer, web.StreamResponse)
        return answer

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
