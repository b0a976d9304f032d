"""The errors that only HTTP knows: who may ask, how bodies and files are sent.

    PrimesvcError
    └── HttpError
        ├── Unauthorized            no token, or another than is asked for
        ├── OriginNotAllowed        a page of another site sent it
        ├── HostNotAllowed          meant for a host that is not this one
        ├── PayloadTooLarge         a body larger than is read
        ├── UnsupportedMediaType    a body in a form that is not read
        ├── RequestTimedOut         a body that does not arrive
        ├── NotAcceptable           no format that the client accepts
        ├── PreconditionFailed      another file than If-Match names
        ├── RangeNotSatisfiable     no byte range that exists
        └── NotReady                the service is not to be sent work now

All others are in `primesvc.errors`; `problems` says which status each is answered with.
"""

from collections.abc import Mapping
from types import MappingProxyType

from primesvc.errors import PrimesvcError


class HttpError(PrimesvcError):
    """An error that has a meaning in HTTP alone."""

    headers: Mapping[str, str] = MappingProxyType({})
    """What the answer has in its head because of it."""


class Unauthorized(HttpError):
    """The request has no bearer token, or not the one that the service asks for."""

    def __init__(self, *, wrong: bool) -> None:
        what = "this is not the token that is asked for" if wrong else "there is no token"
        super().__init__(f"{what}; send Authorization: Bearer and the token of the service")
        challenge = 'Bearer realm="primesvc"' + (', error="invalid_token"' if wrong else "")
        self.headers = {"WWW-Authenticate": challenge}


class OriginNotAllowed(HttpError):
    """A web page of another site sent the request, and is none that may."""

    def __init__(self, origin: str | None) -> None:
        super().__init__(
            f"pages of {(origin or 'another site')[:200]} may not do this; "
            "--allow-origin (PRIMESVC_ALLOW_ORIGIN) says which may"
        )


class HostNotAllowed(HttpError):
    """The request is meant for a host that this service is not."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"the host {host[:200]!r} is not served here; --allow-host (PRIMESVC_ALLOW_HOST) "
            "says which are"
        )


class PayloadTooLarge(HttpError):
    """The body of a request is larger than is read."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is too large; the limit is {limit} bytes")
        self.limit = limit


class UnsupportedMediaType(HttpError):
    """The body of a request is in a form that is not read."""

    def __init__(self, media_type: str, supported: list[str]) -> None:
        super().__init__(f"{media_type[:60]} is not read here; send {', '.join(supported)}")


class RequestTimedOut(HttpError):
    """The client took too long to send its request."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not arrive within {seconds:g} s")


class NotAcceptable(HttpError):
    """None of the formats there are is one the client accepts."""

    def __init__(self, reason: str, formats: list[str]) -> None:
        super().__init__(f"{reason}; there are {', '.join(formats)}")
        self.formats = formats


class PreconditionFailed(HttpError):
    """The file is not the one that `If-Match` names."""

    def __init__(self, etag: str) -> None:
        super().__init__(f"If-Match does not name this file, whose ETag is {etag}")


class RangeNotSatisfiable(HttpError):
    """None of the byte ranges asked for exists."""

    def __init__(self, length: int) -> None:
        super().__init__(f"no byte range asked for exists: the file has {length} bytes")
        self.length = length
        self.headers = {"Content-Range": f"bytes */{length}"}


class NotReady(HttpError):
    """The service answers, but is not to be sent work now."""

    def __init__(self, readiness: str, problem: str | None = None) -> None:
        why = "" if problem is None else f": worker processes cannot be started: {problem}"
        super().__init__(f"the service is {readiness}{why}")
