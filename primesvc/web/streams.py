"""Answers that are sent piece by piece: counted, and with the headers that every answer has."""

from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web
from multidict import istr

from primesvc.web.meter import meter_of

NOSNIFF: Final = istr("X-Content-Type-Options")

_MORE: Final = web.RequestKey("primesvc.more", Sequence[tuple[str, str]])


def set_more_headers(request: web.Request, headers: Sequence[tuple[str, str]]) -> None:
    """Remember what a stream that answers the request has in its head besides its own headers."""
    request[_MORE] = headers


def stream_of(request: web.Request) -> "Stream | None":
    """The stream that answers a request, if its head was sent."""
    stream = request.get(_STREAM)
    return stream if stream is not None and stream.prepared else None


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
        self._meter = meter_of(request.app)
        self.sent_bytes = 0
        """Bytes of the body that were handed to the transport."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a piece of the body; waits while the client takes nothing."""
        self.sent_bytes += len(data)
        self._meter.sent_bytes += len(data)
        await super().write(data)


_STREAM: Final = web.RequestKey("primesvc.stream", Stream)
