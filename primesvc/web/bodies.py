"""Reads the bodies of requests, bounded in size and in time."""

import asyncio
import socket
from typing import Any, Final

from aiohttp import hdrs, web

from primesvc import numbers
from primesvc.web.errors import PayloadTooLarge, RequestTimedOut, UnsupportedMediaType

MAX_BODY_BYTES: Final = 16 * 2**10
"""Bytes of a body at the most; what a job needs takes 100."""

WANTED_BYTES: Final = web.RequestKey("wanted_bytes", int)
"""Of a request whose body is read: how long it may be. Others' connections stop to parse them."""

WINDOW_BYTES: Final = 2**17
"""Bytes of a long body that the system takes ahead: as many as connections have by default."""

BODY_TIMEOUT_S: Final = 10.0
"""Seconds a client has to send its body."""


async def read_json_object(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body, empty if there is no body. Its numbers are left as text.

    Raises `InvalidParameter`, and as `read_json`.
    """
    data = await read_json(request, max_bytes=MAX_BODY_BYTES)
    return numbers.read_json_object(data, '{"start": 0, "end": 100}') if data else {}


async def read_json(request: web.Request, *, max_bytes: int) -> bytes:
    """The body, which is said to be JSON, or empty.

    Raises `UnsupportedMediaType`, `PayloadTooLarge` and `RequestTimedOut`.
    """
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "identity")
    if coding.lower() != "identity":  # aiohttp would decode it as it comes, by any factor
        raise UnsupportedMediaType(f"Content-Encoding: {coding}", ["it as it is"])
    data = await _read(request, max_bytes)
    if data and request.content_type != "application/json":
        raise UnsupportedMediaType(request.content_type, ["application/json"])
    return data


async def _read(request: web.Request, max_bytes: int) -> bytes:
    if (request.content_length or 0) > max_bytes:
        raise PayloadTooLarge(max_bytes)
    data = bytearray()
    request[WANTED_BYTES] = max_bytes
    if (request.content_length or 0) > MAX_BODY_BYTES and not request.content.is_eof():
        _widen(request)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while chunk := await request.content.read(max_bytes + 1):
                data += chunk
                if len(data) > max_bytes:
                    raise PayloadTooLarge(max_bytes)
    except TimeoutError:
        raise RequestTimedOut(BODY_TIMEOUT_S) from None
    return bytes(data)


def _widen(request: web.Request) -> None:
    """Let the rest of a long body come as fast as it can: our own server takes little ahead.

    Where packets are longer than that, as on the loopback, a sender waits again and again.
    When the request ends the server narrows its connection again.
    """
    if request.transport is None:
        return
    raw = request.transport.get_extra_info("socket")
    if raw.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < WINDOW_BYTES:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
