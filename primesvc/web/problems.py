"""Every error as problem details (RFC 9457), made in one place."""

import json
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple, cast

from aiohttp import web
from multidict import CIMultiDict

from primesvc import errors
from primesvc.errors import PrimesvcError
from primesvc.web import errors as http_errors

MEDIA_TYPE: Final = "application/problem+json"

STATUSES: Final[Mapping[type[PrimesvcError], int]] = {
    PrimesvcError: 500,
    errors.InvalidParameter: 400,
    errors.RangeNotAllowed: 422,
    errors.ServiceFull: 503,
    errors.UnknownJob: 404,
    errors.JobGone: 410,
    errors.JobNotFinished: 409,
    errors.JobCancelled: 409,
    errors.JobFailed: 500,
    errors.JobConflict: 409,
    errors.ServiceClosed: 503,
    errors.JournalBehind: 503,
    errors.CountsDisagree: 500,
    errors.WorkerDied: 500,
    errors.WorkersUnavailable: 503,
    errors.ExecutorLost: 500,
    errors.EngineFailed: 500,
    errors.InvalidSetting: 500,
    errors.EngineUnavailable: 500,
    errors.JournalUnusable: 500,
    errors.RemoteError: 502,
    http_errors.Unauthorized: 401,
    http_errors.OriginNotAllowed: 403,
    http_errors.HostNotAllowed: 421,
    http_errors.PayloadTooLarge: 413,
    http_errors.UnsupportedMediaType: 415,
    http_errors.RequestTimedOut: 408,
    http_errors.NotAcceptable: 406,
    http_errors.PreconditionFailed: 412,
    http_errors.RangeNotSatisfiable: 416,
    http_errors.NotReady: 503,
}
"""The status that an error of each class is answered with.

A class here has a problem type and a title of its own, which follow from its
name. An error of another class gets those of the nearest class above it.
"""

MEMBERS: Final = ("limit", "estimate_s", "formats", "length")
"""Attributes of errors that become members of the problem document."""

# Of the headers of aiohttp's own errors, those that describe the body it would have sent.
_BODY_HEADERS: Final = ("Content-Type", "Content-Length")


class Problem(NamedTuple):
    """What all errors of one problem type have in common."""

    type: str
    title: str
    status: int


def problem_of(error: type[PrimesvcError]) -> Problem:
    """The problem type of a class of errors."""
    told_as = next(above for above in error.__mro__ if above in STATUSES)
    words = re.findall("[A-Z][a-z]+", told_as.__name__)
    slug, title = "-".join(words).lower(), " ".join(words).capitalize()
    if told_as is PrimesvcError:
        slug, title = "internal", "Internal error"
    return Problem(f"urn:primesvc:problem:{slug}", title, STATUSES[told_as])


def problem_document(error: PrimesvcError) -> dict[str, object]:
    """The problem document for an error that primesvc raised on purpose."""
    members = {name: value for name in MEMBERS if (value := getattr(error, name, None)) is not None}
    return _document(*problem_of(type(error)), str(error)) | members


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
    if isinstance(error, http_errors.HttpError):
        headers.extend(error.headers)
    answer = _answer(problem_document(error) | dict(more or {}), headers)
    if isinstance(error, http_errors.RequestTimedOut):
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
