"""Reads the bodies of requests, bounded in size and in time."""

import asyncio
import json
from typing import Any, Final, NoReturn

from aiohttp import hdrs, web

from primesvc.errors import InvalidParameter
from primesvc.web.errors import PayloadTooLarge, RequestTimedOut, UnsupportedMediaType

MAX_BODY_BYTES: Final = 16 * 2**10
"""Bytes of a body at the most; what a job needs takes 100."""

BODY_TIMEOUT_S: Final = 10.0
"""Seconds a client has to send its body."""


async def read_json_object(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body, empty if there is no body. Its numbers are left as text.

    Raises `UnsupportedMediaType`, `PayloadTooLarge`, `RequestTimedOut` and `InvalidParameter`.
    """
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "identity")
    if coding.lower() != "identity":  # aiohttp would decode it as it comes, by any factor
        raise UnsupportedMediaType(f"Content-Encoding: {coding}", ["it as it is"])
    data = await _read(request)
    if not data:
        return {}
    if request.content_type != "application/json":
        raise UnsupportedMediaType(request.content_type, ["application/json"])
    try:
        # As text 1e6 is whole, no digit above 2^53 is lost, and 1e999999999 costs nothing.
        document = json.loads(data, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidParameter("body", "it is not JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise InvalidParameter("body", 'it must be a JSON object such as {"start": 0, "end": 100}')
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")


async def _read(request: web.Request) -> bytes:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise PayloadTooLarge(MAX_BODY_BYTES)
    data = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while chunk := await request.content.read(MAX_BODY_BYTES + 1):
                data += chunk
                if len(data) > MAX_BODY_BYTES:
                    raise PayloadTooLarge(MAX_BODY_BYTES)
    except TimeoutError:
        raise RequestTimedOut(BODY_TIMEOUT_S) from None
    return data
