"""A connection that knows what it waits for on the side of its client.

It adds to aiohttp's the callbacks of its protocol, and the two calls that aiohttp makes
where a request begins and ends, and reads nothing behind aiohttp's public face.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol, cast

from aiohttp import EMPTY_PAYLOAD, StreamReader, web

from primesvc.web.bodies import WANTED_BYTES
from primesvc.web.problems import from_http

log = logging.getLogger(__name__)

MAX_SURPLUS_BYTES: Final = 2**15
"""Bytes that are parsed of a body that nobody asked for; of another one, twice what is wanted."""

RECEIVED_BYTES: Final = 2**14
"""Bytes that the system keeps of what a client sends until it is read: a request has less.

So nobody has more than this parsed before others have their turn, which as chunks of one byte
takes 4 ms, and a crowd that sends faster than it is read takes little of the system's memory.
"""

SETTLE_S: Final = 0.01
"""Seconds without news after which a connection counts as idle, a new one too.

From the bytes of a request to its handler aiohttp takes two turns of the loop, and as many from
one request to the next that came with it.
"""

SETTLE_TURNS: Final = 8
"""Turns of the loop, for the same: exact, where there is time to wait for them."""

_receive: Final = web.RequestHandler.data_received  # called for every request: faster than super()


class Wait(Enum):
    """What a connection can wait for, on the side of its client, that must not take for ever."""

    READING = "the client to take what was sent"
    HEAD = "the rest of the head of a request"
    LEAVING = "the client that sends no more to take its answer"


class Gate(Protocol):
    """Lets connections in, and learns when they close."""

    def opened(self, connection: "Connection") -> bool:
        """Whether a new connection is let in."""

    def closed(self, connection: "Connection") -> None:
        """A connection is closed; also one that was not let in."""

    def refuse(self, transport: asyncio.Transport) -> None:
        """Take over the transport of a connection that was not let in."""


class Connection(web.RequestHandler):
    """One connection: aiohttp's, which also learns when a request begins and ends."""

    def __init__(
        self, server: web.Server, gate: Gate, *, loop: asyncio.AbstractEventLoop, **options: Any
    ) -> None:
        super().__init__(server, loop=loop, **options)
        self.gate = gate
        self.clock = loop.time
        self.wire: asyncio.Transport
        """The transport, also when aiohttp has closed it and it is still to be flushed."""
        self.request: web.BaseRequest | None = None
        """The request under way."""
        self.body: StreamReader | None = None
        """The body of the request under way, or of the last one if nobody asked for all of it."""
        self.surplus_bytes = 0
        """Bytes that came of the body of the last request, without those beside its head."""
        self.made_s = 0.0
        self.ended_s = 0.0
        """When the last request ended."""
        self.head_s: float | None = None
        """When the first bytes of the next request came."""
        self.half_closed = False
        self.leaving = 0
        """How often it was about to close, once the client sends no more."""
        self.seen: tuple[Wait, float] | None = None
        self.seen_s = 0.0
        """Since when it waits for what it was `seen` to wait for."""

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self.request is not None or (self.body is not None and not self.body.is_eof())

    @property
    def used_s(self) -> float:
        """When the last request ended, or the connection was made."""
        return self.ended_s or self.made_s

    def idle(self, now_s: float) -> bool:
        """Whether nothing is under way, neither a request nor an answer."""
        settled = now_s - max(self.used_s, self.head_s or 0.0) >= SETTLE_S
        return settled and not self.busy and not self.wire.get_write_buffer_size()

    def waits_for(self) -> tuple[Wait, float] | None:
        """What it waits for, and a number that changes whenever there is progress."""
        held = self.wire.get_write_buffer_size()
        if held or (self.half_closed and self.busy):
            written = 0 if self.request is None else self.request.writer.output_size
            return Wait.READING if held else Wait.LEAVING, written - held
        if self.head_s is not None and not self.busy:
            return Wait.HEAD, self.head_s
        return None

    def log_access(
        self, request: web.BaseRequest, response: web.StreamResponse, time: float | None
    ) -> None:
        """A request ends: its answer was handed to the transport. No log is kept here."""
        if self.body is not None and self.body.is_eof():
            self.body = None
        self.request = None
        if self.surplus_bytes and not self.wire.is_closing():
            self._narrow()  # it may have been widened, for a long body
        self.ended_s = self.clock()
        if self.half_closed:
            self._leave_soon()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or have it refused."""
        self.wire = cast("asyncio.Transport", transport)
        self.made_s = self.clock()
        if self.gate.opened(self):
            super().connection_made(transport)
            self._narrow()
        else:
            self.gate.refuse(self.wire)

    def _narrow(self) -> None:
        raw = self.wire.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        self.gate.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note whether what came begins a head, or belongs to a body that is too long."""
        _receive(self, data)
        if self.body is not None and not self.body.is_eof():
            self._count(len(data))
        elif data and self.request is None and self.head_s is None:
            self.head_s = self.clock()

    def _count(self, size: int) -> None:
        """Stop to read a body that nobody asked for, instead of parsing it as fast as it comes."""
        self.surplus_bytes += size
        wanted = 0 if self.request is None else self.request.get(WANTED_BYTES, 0)
        if self.surplus_bytes > max(MAX_SURPLUS_BYTES, 2 * wanted):  # chunks have a frame
            self.close()  # once the request under way is answered; until then nothing is parsed

    def resume_writing(self) -> None:
        """The client has taken most of what was sent."""
        super().resume_writing()
        if self.half_closed:
            self._leave_soon()

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio takes an answer
        """The client sends no more; whether the connection stays open, for it may read on."""
        self.half_closed = True
        if self.body is not None and not self.body.is_eof():
            return False  # the rest of it will not come
        self._leave_soon()
        return True

    def _leave_soon(self) -> None:
        """Close it if from now on no request follows of those that came before the end."""
        self.leaving += 1
        self._leave(self.leaving, SETTLE_TURNS)

    def _leave(self, leaving: int, turns: int) -> None:
        if leaving != self.leaving or self.busy or self.writing_paused:
            return  # a request did follow, or an answer is still to be taken
        if turns:
            asyncio.get_running_loop().call_soon(self._leave, leaving, turns - 1)
        else:
            self.wire.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP: a problem document, and no traceback in the log."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        log.debug("%s sent what is no HTTP: %s", request.remote, message)
        answer = from_http(web.HTTPBadRequest())
        answer.force_close()
        return answer


RequestFactory = Callable[[Any, StreamReader, Any, Any, Any], web.BaseRequest]


def protocol_factory(
    server: web.Server, gate: Gate, **options: Any
) -> Callable[[], asyncio.Protocol]:
    """What makes the connections of a server for `loop.create_server`.

    `options` are those of `web.RequestHandler`.
    """
    server.request_factory = _told(server.request_factory)
    loop = asyncio.get_running_loop()
    return lambda: Connection(server, gate, loop=loop, **options)


def _told(make_request: RequestFactory) -> RequestFactory:
    """The same, and tells the connection of a request that it begins."""

    def make(
        message: Any, body: StreamReader, connection: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        request = make_request(message, body, connection, writer, task)
        connection.request = request
        connection.body = None if body is EMPTY_PAYLOAD else body
        connection.head_s = None
        connection.surplus_bytes = 0
        return request

    return make
