"""A connection whose state can be seen from outside.

All that is read of aiohttp (3.14) behind its public face is read here.
"""

import asyncio
import logging
import socket
from enum import Enum
from typing import Any, Final, Protocol, cast

from aiohttp import web

from primesvc.web.problems import from_http

log = logging.getLogger(__name__)

MAX_SURPLUS_BYTES: Final = 2**15
"""Bytes that are parsed behind the head of a request under way: twice the longest body."""

RECEIVED_BYTES: Final = 2**14
"""Bytes that the system keeps of what a client sends until it is read: a request has less.

So nobody has more than this parsed before others have their turn, which as chunks of one byte
takes 4 ms, and a crowd that sends faster than it is read takes little of the system's memory.
"""

_receive: Final = web.RequestHandler.data_received  # called for every request: faster than super()


class Wait(Enum):
    """What a connection can wait for, on the side of its client, that must not take for ever."""

    READING = "the client to take what was sent"
    HEAD = "the rest of the head of a request"
    LEAVING = "the client that sends no more to take its answer"
    NOTHING = "nothing: the client sends no more, and has its answers"


class Gate(Protocol):
    """Who is told of connections."""

    def opened(self, connection: "Connection") -> bool:
        """Whether a new connection is let in."""

    def closed(self, connection: "Connection") -> None:
        """A connection is closed; also one that was not let in."""

    def refuse(self, transport: asyncio.Transport) -> None:
        """Take over the transport of a connection that was not let in."""


class Connection(web.RequestHandler):
    """One connection: aiohttp's, that can be looked at."""

    __slots__ = (
        "_counted",
        "_gate",
        "_half_closed",
        "_head_began",
        "_surplus_bytes",
        "seen",
        "since_s",
        "wire",
    )

    def __init__(self, server: web.Server, gate: Gate, **options: Any) -> None:
        super().__init__(server, **options)
        self._gate = gate
        self._half_closed = False
        self._head_began = False
        self._counted = 0
        self._surplus_bytes = 0
        self.wire: asyncio.Transport
        """The transport, also when aiohttp has closed it and it is still to be flushed."""
        self.seen: tuple[Wait, int] | None = None
        self.since_s = 0.0
        """Since when it waits for what it was `seen` to wait for."""

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and not self._messages

    @property
    def idle_since_s(self) -> float:
        """When it became idle last, by the clock of the loop."""
        return self._next_keepalive_close_time - self._keepalive_timeout

    def waits_for(self) -> tuple[Wait, int] | None:
        """What it waits for, and a number that changes whenever there is progress."""
        held = self.wire.get_write_buffer_size()
        idle = self.idle
        if held or (self._half_closed and not idle):
            request = self._current_request
            written = 0 if request is None else request.writer.output_size
            return Wait.READING if held else Wait.LEAVING, written - held
        if idle and self._half_closed:
            return Wait.NOTHING, 0
        if idle and self._head_began:
            return Wait.HEAD, self._request_count
        return None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or have it refused."""
        self.wire = cast("asyncio.Transport", transport)
        if self._gate.opened(self):
            super().connection_made(transport)
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
        else:
            self._gate.refuse(self.wire)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        self._gate.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note whether what came is a head that is not complete yet, or a body that is too long."""
        _receive(self, data)
        waiter = self._waiter
        if waiter is not None:
            self._head_began = not waiter.done()
        else:
            self._head_began = not self._request_count  # or aiohttp does not wait for it yet
            self._count(len(data))

    def _count(self, size: int) -> None:
        """Stop to read a body that nobody asked for, instead of parsing it as fast as it comes."""
        if self._request_count != self._counted:  # other requests were among it
            self._counted, self._surplus_bytes = self._request_count, 0
            return
        self._surplus_bytes += size
        if self._surplus_bytes > MAX_SURPLUS_BYTES:
            self.close()  # once the request under way is answered; until then nothing is parsed

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio takes an answer
        """The client sends no more; whether the connection stays open, for it may read on."""
        self._half_closed = True
        request = self._current_request
        if self.idle or (request is not None and not request.content.is_eof()):
            return False
        if not self._messages and not self._buffer_paused:
            self.close()  # once the request under way is answered
        return True

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
