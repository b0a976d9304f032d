"""Answers that are sent piece by piece: counted, and with the headers that every answer has."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from multidict import istr

from primesvc.web.context import context_of

NOSNIFF: Final = istr("X-Content-Type-Options")

CLIENT_LEFT: Final = 499
"""The status that requests are counted under whose client did not wait for the answer."""

PLAIN_BODY_BYTES: Final = 2**16
"""Bodies up to here are answered as one: as much as the transport takes without a wait."""


class Stream(web.StreamResponse):
    """A response whose body is written piece by piece."""

    def __init__(
        self, request: web.Request, *, status: int = 200, headers: Mapping[str, str]
    ) -> None:
        super().__init__(status=status, headers=headers)
        # When the handler is done it is too late: by then the head is sent.
        self.headers[NOSNIFF] = "nosniff"
        answer = _answer_of(request)
        self.headers.extend(answer.headers)
        answer.stream = self
        context = context_of(request)
        self._counters = context.counters
        self._stall_s = context.service.settings.stall_timeout_s
        self._to = request
        self.sent_bytes = 0
        """Bytes of the body that were handed to the transport."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a piece of the body; waits while the client takes nothing."""
        self.sent_bytes += len(data)
        self._counters.sent_bytes += len(data)
        await super().write(data)

    async def write_in_time(self, data: bytes) -> None:
        """Send a piece of the body, and wait until the transport holds little of what was sent.

        Raises `TimeoutError` if the client takes nothing for `stall_timeout_s`.
        """
        async with asyncio.timeout(self._stall_s):
            await self.write(data)
            await self._to.writer.drain()

    def cut(self) -> None:
        """Close the connection at once: a body that ends early tells that something is wrong."""
        if self._to.transport is not None:
            self._to.transport.abort()


@dataclass(slots=True)
class _Answer:
    """What is known of the answer to a request before its handler has ended."""

    headers: Sequence[tuple[str, str]] = ()
    stream: Stream | None = None


_ANSWER: Final = web.RequestKey("primesvc.answer", _Answer)


def _answer_of(request: web.Request) -> _Answer:
    answer = request.get(_ANSWER)
    if answer is None:
        answer = request[_ANSWER] = _Answer()
    return answer


def set_more_headers(request: web.Request, headers: Sequence[tuple[str, str]]) -> None:
    """Remember what a stream that answers the request has in its head besides its own headers."""
    _answer_of(request).headers = headers


def stream_of(request: web.Request) -> Stream | None:
    """The stream that answers a request, if its head was sent."""
    stream = _answer_of(request).stream
    return stream if stream is not None and stream.prepared else None


async def send_body(
    request: web.Request,
    body: bytes,
    headers: Mapping[str, str],
    *,
    status: int = 200,
    shared: bool = False,
) -> web.StreamResponse:
    """An answer whose body is in memory: sent in pieces if it is large, to a client in time.

    A `shared` body is kept anyway, not only for this client. A client that takes
    nothing for `stall_timeout_s` is cut. Raises `ServiceFull` if there are too
    many large bodies on their way.
    """
    if len(body) <= PLAIN_BODY_BYTES or request.method == "HEAD":
        return web.Response(status=status, body=body, headers=headers)
    buffers = context_of(request).service.buffers
    with buffers.lease(2 * PLAIN_BODY_BYTES + (0 if shared else len(body))):
        response = Stream(request, status=status, headers=headers)
        response.content_length = len(body)
        try:
            await response.prepare(request)
            for start in range(0, len(body), PLAIN_BODY_BYTES):
                await response.write_in_time(body[start : start + PLAIN_BODY_BYTES])
        except (ConnectionError, TimeoutError):
            response.cut()
    return response
