"""The application behind a real server, asked in bytes: whatever a client can send."""

import asyncio
import http.client
import io
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from primesvc import Range, Settings, create_app, service_of
from tests.helpers import WAIT_S

SMALL: Final = Range(0, 100)
LARGE: Final = Range(0, 2 * 10**5)

MAX_HEAD: Final = 8190
"""Bytes of one header at the most: aiohttp answers longer ones with 400 by itself."""


class Errors(logging.Handler):
    """Keeps what is logged as an error, or cannot be written as a line."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record of an error, with its traceback.

        What is no HTTP does not reach the application: that is a matter of its server.
        """
        line = self.format(record)
        error = record.exc_info and record.exc_info[1]
        if record.levelno >= logging.ERROR and not isinstance(error, HttpProcessingError):
            self.found.append(line)


@dataclass(frozen=True)
class Answer:
    """An answer, read by a client that is not ours."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Server:
    """An application on a port of its own, in a thread of its own, and the jobs it has."""

    def __init__(self, settings: Settings, *, listens_on: list[str] | None, jobs: int = 2) -> None:
        self.log = io.StringIO()
        self.errors = Errors()
        self.settings = settings
        self._listens_on = listens_on
        self._jobs = jobs
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end: asyncio.Event
        self.port = 0
        self.ids: dict[Range, str] = {}
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        app = create_app(self.settings, listens_on=self._listens_on, log_to=self.log)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            for range_ in (SMALL, LARGE)[: self._jobs]:
                job = await service_of(app).submit(range_)
                self.ids[range_] = (await job.wait()).id
            self._ready.set()
            await self._end.wait()
        finally:
            self._ready.set()
            await runner.cleanup()

    @contextmanager
    def serving(self) -> Iterator["Server"]:
        """Serve meanwhile; what was logged is looked at in the end."""
        root = logging.getLogger()
        root.addHandler(self.errors)
        self._thread.start()
        try:
            assert self._ready.wait(WAIT_S)
            assert self.port
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(WAIT_S)
            self._loop.close()
            root.removeHandler(self.errors)

    def ask(
        self,
        method: str,
        path: str,
        headers: list[tuple[str, bytes]] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """The answer to a request, which is sent as it is, and is not a mistake of the server."""
        lines = [f"{method} {path} HTTP/1.1".encode("latin1")]
        headers = headers or []
        if not any(name.lower() == "host" for name, _ in headers):
            lines.append(b"Host: localhost")
        lines += [name.encode() + b": " + value for name, value in headers]
        if body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        data = b"\r\n".join([*lines, b"Connection: close", b"", body or b""])
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as connection:
            connection.sendall(data)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            answer = Answer(response.status, response.headers, response.read())
        assert answer.status < 500, answer
        found, self.errors.found = self.errors.found, []
        assert not found, found
        media_type = answer.headers.get_content_type()
        if answer.status != 206 and media_type.endswith(("/json", "+json")):
            json.loads(answer.body or b"null")
        for name, value in answer.headers.items():
            assert value.isprintable(), (name, value)
        return answer
