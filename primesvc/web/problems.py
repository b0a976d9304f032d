"""Every error as problem details (RFC 9457), made in one place."""

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, cast

from aiohttp import web
from multidict import CIMultiDict

from primesvc.errors import (
    PrimesvcError,
    RangeNotSatisfiable,
    RequestTimedOut,
    Unauthorized,
)

MEDIA_TYPE: Final = "application/problem+json"

_MEMBERS: Final = ("limit", "estimate_s", "formats", "length")
"""Attributes of errors that become members of the problem document."""

# Of the headers of aiohttp's own errors, those that describe the body it would have sent.
_BODY_HEADERS: Final = ("Content-Type", "Content-Length")


def problem_document(error: PrimesvcError) -> dict[str, object]:
    """The problem document for an error that primesvc raised on purpose."""
    members = {
        name: value for name in _MEMBERS if (value := getattr(error, name, None)) is not None
    }
    type_ = f"urn:primesvc:problem:{error.slug}"
    return _document(type_, error.title, error.status, str(error)) | members


def _document(type_: str, title: str, status: int, detail: str) -> dict[str, object]:
    # Clients of the old service read `message`.
    return {
        "type": type_,
        "title": title,
        "status": status,
        "detail": detail,
        "message": detail,
    }


def _answer(document: dict[str, object], headers: "CIMultiDict[str]") -> web.Response:
    headers["Cache-Control"] = "no-store"
    headers["Content-Type"] = MEDIA_TYPE
    body = json.dumps(document).encode() + b"\n"
    return web.Response(status=cast("int", document["status"]), body=body, headers=headers)


def from_error(error: PrimesvcError, more: Mapping[str, object] | None = None) -> web.Response:
    """The response for an error that primesvc raised on purpose; `more` goes into its document."""
    headers: CIMultiDict[str] = CIMultiDict()
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.length}"
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = error.challenge
    answer = _answer(problem_document(error) | dict(more or {}), headers)
    if isinstance(error, RequestTimedOut):
        answer.force_close()  # the rest of the request may still come
    return answer


def from_http(error: web.HTTPException) -> web.Response:
    """The response for an error that aiohttp raised: its status and its headers, such as Allow."""
    headers = CIMultiDict(error.headers)
    for name in _BODY_HEADERS:
        headers.popall(name, None)
    reason = HTTPStatus(error.status).description or error.reason
    detail = _SAYS.get(error.status, reason)
    return _answer(_document("about:blank", error.reason, error.status, detail), headers)


_SAYS: Final = {
    400: "this cannot be read as HTTP/1.1: the first line, a header or the length of the body "
    "is wrong, or something is too long",
    404: "there is nothing at this path",
    405: "this path does not take this method; the Allow header says which it takes",
}
