"""Answers that are sent piece by piece: counted, and with the headers that every answer has."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web
from multidict import istr

from primesvc.web.counters import counters_of
from primesvc.web.keys import service_of

NOSNIFF: Final = istr("X-Content-Type-Options")

_MORE: Final = web.RequestKey("primesvc.more", Sequence[tuple[str, str]])


def set_more_headers(request: web.Request, headers: Sequence[tuple[str, str]]) -> None:
    """Remember what a stream that answers the request has in its head besides its own headers."""
    request[_MORE] = headers


def stream_of(request: web.Request) -> "Stream | None":
    """The stream that answers a request, if its head was sent."""
    stream = request.get(_STREAM)
    return stream if stream is not None and stream.prepared else None


WRITE_AT_ONCE_BYTES: Final = 2**16
"""Bodies up to here are handed to the transport at once: as much as it takes without a wait."""


async def send_body(
    request: web.Request, body: bytes, headers: Mapping[str, str], *, shared: bool = False
) -> web.StreamResponse:
    """200 with a body that is in memory already: in pieces if it is large, to a client in time.

    A `shared` body is kept anyway, not only for this client. A client that takes
    nothing for `stall_timeout_s` is cut. Raises `ServiceFull` if there are too
    many large bodies on their way.
    """
    if len(body) <= WRITE_AT_ONCE_BYTES or request.method == "HEAD":
        return web.Response(body=body, headers=headers)
    service = service_of(request.app)
    with service.buffers.lease(2 * WRITE_AT_ONCE_BYTES + (0 if shared else len(body))):
        response = Stream(request, headers=headers)
        response.content_length = len(body)
        try:
            await response.prepare(request)
            for start in range(0, len(body), WRITE_AT_ONCE_BYTES):
                async with asyncio.timeout(service.settings.stall_timeout_s):
                    await response.write(body[start : start + WRITE_AT_ONCE_BYTES])
                    await request.writer.drain()
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
    return response


class Stream(web.StreamResponse):
    """A response whose body is written piece by piece."""

    def __init__(
        self, request: web.Request, *, status: int = 200, headers: Mapping[str, str]
    ) -> None:
        super().__init__(status=status, headers=headers)
        # When the handler is done it is too late: by then the head is sent.
        self.headers[NOSNIFF] = "nosniff"
        self.headers.extend(request.get(_MORE, ()))
        request[_STREAM] = self
        self._counters = counters_of(request.app)
        self.sent_bytes = 0
        """Bytes of the body that were handed to the transport."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a piece of the body; waits while the client takes nothing."""
        self.sent_bytes += len(data)
        self._counters.sent_bytes += len(data)
        await super().write(data)


_STREAM: Final = web.RequestKey("primesvc.stream", Stream)
