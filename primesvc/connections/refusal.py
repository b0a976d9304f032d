"""How connections beyond the limit are refused."""

import asyncio
import json
import math

from primesvc.errors import ServiceFull
from primesvc.web.problems import MEDIA_TYPE, problem_document


def refusal(limit: int, retry_after_s: float) -> bytes:
    """A whole answer that refuses any request on a connection there is no room for."""
    error = ServiceFull("too many connections", limit=limit, retry_after_s=retry_after_s)
    body = json.dumps(problem_document(error)).encode() + b"\n"
    head = (
        "HTTP/1.1 503 Service Unavailable\r\n"
        f"Content-Type: {MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Retry-After: {math.ceil(retry_after_s)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n"
        "\r\n"
    )
    return head.encode() + body


class Refused(asyncio.Protocol):
    """A connection that is refused: it is closed once its request has come.

    Closed before, the system would tell the client of a reset instead of what was sent to it.
    """

    def __init__(
        self, transport: asyncio.Transport, among: "set[Refused]", *, patience_s: float
    ) -> None:
        self._transport = transport
        self._among = among
        among.add(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(patience_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        """A request has come, or a part of one, which is answered already."""
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._timer.cancel()
        self._among.discard(self)

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()
