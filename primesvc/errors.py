"""Every error primesvc raises on purpose, as one tree.

    PrimesvcError
    ├── InvalidParameter        (ValueError)    400  a request that cannot be read
    ├── Unauthorized         (PermissionError)  401  no token, or another than is asked for
    ├── OriginNotAllowed     (PermissionError)  403  a page of another site sent it
    ├── HostNotAllowed       (PermissionError)  421  meant for a host that is not this one
    ├── JobConflict             (RuntimeError)  409  not in this state of the job
    ├── PayloadTooLarge         (ValueError)    413  a body larger than is read
    ├── UnsupportedMediaType    (ValueError)    415  a body in a form that is not read
    ├── RequestTimedOut         (RuntimeError)  408  a body that does not arrive
    ├── RangeNotAllowed         (ValueError)    422  a range outside a limit, which it names
    ├── NotAcceptable           (ValueError)    406  no format the client accepts
    ├── PreconditionFailed      (ValueError)    412  another file than If-Match names
    ├── RangeNotSatisfiable     (ValueError)    416  no byte range that exists
    ├── UnknownJob              (LookupError)   404  no job has this id
    │   └── JobGone                             410  a job had it, and was forgotten
    ├── JobNotFinished          (RuntimeError)  409  its result was asked for too early
    ├── JobCancelled            (RuntimeError)  409  it will never have a result
    ├── JobFailed               (RuntimeError)  500  it ended without a result, with a reason
    ├── ServiceFull             (RuntimeError)  503  a limit of the service is reached for now
    ├── ServiceClosed           (RuntimeError)  503  the service is stopping or not started
    ├── NotReady                (RuntimeError)  503  the service is not to be sent work now
    ├── WorkerDied              (RuntimeError)  500  a call keeps killing its worker process
    ├── ExecutorLost            (RuntimeError)  500  an embedder's executor lost a call
    ├── WorkersUnavailable      (RuntimeError)  503  no worker process can be started
    ├── EngineUnavailable       (RuntimeError)  500  the engine asked for cannot be loaded
    ├── EngineFailed            (RuntimeError)  500  the engine reported an error
    │   └── EngineOutOfMemory    (MemoryError)  500  it could not get the memory it needs
    ├── JournalUnusable         (RuntimeError)  500  the journal cannot be opened
    ├── InvalidSetting          (ValueError)    500  a setting whose value cannot be used
    └── RemoteError                             502  what `PrimeClient` raises about a service
        ├── ApiError            (RuntimeError)       it answered with an error, held here
        ├── ServerUnreachable   (ConnectionError)    it gave no answer, however often asked
        └── UnexpectedAnswer    (ValueError)         it gave an answer that is none of the API's

Each class carries the HTTP status and the problem type (RFC 9457) that the
HTTP face answers with, so that one handler serves them all; nothing here
knows of HTTP beyond that. Constructors take values and compose the message.
"""

from collections.abc import Mapping
from typing import ClassVar


class PrimesvcError(Exception):
    """The root of the tree: catch it to catch every error primesvc raises on purpose."""

    status: int = 500
    """The HTTP status an error of this class is answered with."""

    slug: ClassVar[str] = "internal"
    """The last part of the problem type, `urn:primesvc:problem:<slug>`."""

    title: str = "Internal error"
    """The problem's title: the same for every error of the class."""

    retry_after_s: float | None = None
    """Seconds after which the same request may succeed, where that is known."""


class InvalidParameter(PrimesvcError, ValueError):
    """A parameter is missing, or its value cannot be read."""

    status, slug, title = 400, "invalid-parameter", "Invalid parameter"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class Unauthorized(PrimesvcError, PermissionError):
    """The request has no bearer token, or not the one that the service asks for."""

    status, slug, title = 401, "unauthorized", "Unauthorized"

    def __init__(self, *, wrong: bool) -> None:
        what = "this is not the token that is asked for" if wrong else "there is no token"
        super().__init__(f"{what}; send Authorization: Bearer and the token of the service")
        self.challenge = 'Bearer realm="primesvc"' + (', error="invalid_token"' if wrong else "")


class OriginNotAllowed(PrimesvcError, PermissionError):
    """A web page of another site sent the request, and is none that may."""

    status, slug, title = 403, "origin-not-allowed", "Origin not allowed"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"pages of {origin[:200]} may not do this; --allow-origin (PRIMESVC_ALLOW_ORIGIN) "
            "says which may"
        )


class HostNotAllowed(PrimesvcError, PermissionError):
    """The request is meant for a host that this service is not."""

    status, slug, title = 421, "host-not-allowed", "Host not allowed"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"the host {host[:200]!r} is not served here; --allow-host (PRIMESVC_ALLOW_HOST) "
            "says which are"
        )


class JobConflict(PrimesvcError, RuntimeError):
    """The job is in a state in which this cannot be done."""

    status, slug, title = 409, "job-conflict", "Job conflict"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"the job {job_id} has {state} already: there is nothing to cancel")


class PayloadTooLarge(PrimesvcError, ValueError):
    """The body of a request is larger than is read."""

    status, slug, title = 413, "payload-too-large", "Payload too large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is too large; the limit is {limit} bytes")
        self.limit = limit


class UnsupportedMediaType(PrimesvcError, ValueError):
    """The body of a request is in a form that is not read."""

    status, slug, title = 415, "unsupported-media-type", "Unsupported media type"

    def __init__(self, media_type: str, supported: list[str]) -> None:
        super().__init__(f"{media_type[:60]} is not read here; send {', '.join(supported)}")


class RequestTimedOut(PrimesvcError, RuntimeError):
    """The client took too long to send its request."""

    status, slug, title = 408, "request-timed-out", "Request timed out"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not arrive within {seconds:g} s")


class RangeNotAllowed(PrimesvcError, ValueError):
    """A range lies outside of what the engines or the settings allow."""

    status, slug, title = 422, "range-not-allowed", "Range not allowed"

    def __init__(self, reason: str, *, limit: float, estimate_s: float | None = None) -> None:
        super().__init__(reason)
        self.limit = limit
        self.estimate_s = estimate_s


class NotAcceptable(PrimesvcError, ValueError):
    """None of the formats there are is one the client accepts."""

    status, slug, title = 406, "not-acceptable", "Not acceptable"

    def __init__(self, reason: str, formats: list[str]) -> None:
        super().__init__(f"{reason}; there are {', '.join(formats)}")
        self.formats = formats


class PreconditionFailed(PrimesvcError, ValueError):
    """The file is not the one that `If-Match` names."""

    status, slug, title = 412, "precondition-failed", "Precondition failed"

    def __init__(self, etag: str) -> None:
        super().__init__(f"If-Match does not name this file, whose ETag is {etag}")


class RangeNotSatisfiable(PrimesvcError, ValueError):
    """None of the byte ranges asked for exists."""

    status, slug, title = 416, "range-not-satisfiable", "Range not satisfiable"

    def __init__(self, length: int) -> None:
        super().__init__(f"no byte range asked for exists: the file has {length} bytes")
        self.length = length


class UnknownJob(PrimesvcError, LookupError):
    """No job has this id: it was never submitted, or was forgotten since."""

    status, slug, title = 404, "unknown-job", "Unknown job"

    def __init__(self, job_id: str) -> None:
        super().__init__(self.says.format(job_id))

    says: ClassVar[str] = (
        "no job has the id {}; results are kept for a limited time, "
        "so submit the range again to get its primes"
    )


class JobGone(UnknownJob):
    """There was a job with this id, which was deleted, or forgotten after its time."""

    status, slug, title = 410, "job-gone", "Job gone"

    says = "the job {} was deleted or its time is over; submit the range again to get its primes"


class JobNotFinished(PrimesvcError, RuntimeError):
    """The result of a job was asked for while the job is unfinished."""

    status, slug, title = 409, "job-not-finished", "Job not finished"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the job {job_id} is not finished; wait for it first")


class JobCancelled(PrimesvcError, RuntimeError):
    """The job was cancelled, so it has no result."""

    status, slug, title = 409, "job-cancelled", "Job cancelled"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the job {job_id} was cancelled; submit the range again to start it anew")


class JobFailed(PrimesvcError, RuntimeError):
    """The job ended without a result; `reason` says why."""

    status, slug, title = 500, "job-failed", "Job failed"

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"the job {job_id} failed: {reason}; submit the range again to retry")
        self.reason = reason


class ServiceFull(PrimesvcError, RuntimeError):
    """A limit of the service is reached for now; the same request may succeed later."""

    status, slug, title = 503, "service-full", "Service full"

    def __init__(self, what: str, *, limit: int, retry_after_s: float) -> None:
        super().__init__(f"{what}; the limit is {limit}, try again in {retry_after_s:g} s")
        self.limit = limit
        self.retry_after_s = retry_after_s


class ServiceClosed(PrimesvcError, RuntimeError):
    """The service is stopping, or was not started."""

    status, slug, title = 503, "service-closed", "Service closed"

    retry_after_s = 5.0  # about how long it takes until another one stands in its place

    def __init__(self, what: str = "the service is stopping") -> None:
        super().__init__(what)


class NotReady(PrimesvcError, RuntimeError):
    """The service answers, but is not to be sent work now."""

    status, slug, title = 503, "not-ready", "Not ready"

    def __init__(self, readiness: str, problem: str | None = None) -> None:
        why = "" if problem is None else f": worker processes cannot be started: {problem}"
        super().__init__(f"the service is {readiness}{why}")


class WorkerDied(PrimesvcError, RuntimeError):
    """A call loses every worker process that runs it."""

    slug, title = "worker-died", "Worker died"

    def __init__(self, deaths: int, why: str) -> None:
        super().__init__(f"its worker process died {deaths} times: {why}")
        self.deaths = deaths


class ExecutorLost(PrimesvcError, RuntimeError):
    """An embedder's executor dropped a call that nobody had cancelled, or did not answer."""

    slug, title = "executor-lost", "Executor lost"

    def __init__(self, deadline_s: float | None = None) -> None:
        what = "dropped the call" if deadline_s is None else f"did not answer in {deadline_s:g} s"
        super().__init__(f"the executor {what}; are its workers still there?")


class WorkersUnavailable(PrimesvcError, RuntimeError):
    """No worker process can be started."""

    status, slug, title = 503, "workers-unavailable", "Workers unavailable"

    retry_after_s = 5.0

    def __init__(self, why: str) -> None:
        super().__init__(f"worker processes cannot be started: {why}")


class EngineUnavailable(PrimesvcError, RuntimeError):
    """The engine that was asked for cannot be loaded on this machine."""

    slug, title = "engine-unavailable", "Engine unavailable"


class EngineFailed(PrimesvcError, RuntimeError):
    """The engine reported an error for a call that should have succeeded."""

    slug, title = "engine-failed", "Engine failed"


class EngineOutOfMemory(EngineFailed, MemoryError):
    """The engine could not get the memory that it needs; a fresh worker may."""


class JournalUnusable(PrimesvcError, RuntimeError):
    """The journal cannot be used; the file is left as it is."""

    slug, title = "journal-unusable", "Journal unusable"

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"the journal {path} cannot be used: {reason}")


class InvalidSetting(PrimesvcError, ValueError):
    """A setting has a value that cannot be used."""

    slug, title = "invalid-setting", "Invalid setting"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class RemoteError(PrimesvcError):
    """Something went wrong with a service that is used through `PrimeClient`."""

    status, slug, title = 502, "remote-error", "Remote error"


class ApiError(RemoteError, RuntimeError):
    """The service answered a request with an error.

    `status` is that of the answer, `retry_after_s` what its `Retry-After` says; `type`, `title`
    and `detail` are those of its problem document (RFC 9457), which is `document`.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        document: Mapping[str, object],
        *,
        retry_after_s: float | None = None,
    ) -> None:
        self.status = status
        # What is nested deep could not even be written out.
        texts = {name: value for name, value in document.items() if isinstance(value, str)}
        self.title = texts.get("title") or reason or "Error"
        self.type = texts.get("type") or "about:blank"
        self.detail = texts.get("detail") or self.title
        self.document = document
        self.retry_after_s = retry_after_s
        super().__init__(f"the service answers {status}: {self.detail}")


class ServerUnreachable(RemoteError, ConnectionError):
    """There is no connection to the service, or it broke, also when tried again."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no answer from {url}: {reason}")
        self.url = url


class UnexpectedAnswer(RemoteError, ValueError):
    """The answer is none that this API gives: there may be another service at the address."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"an unexpected answer from {url}: {reason}")
        self.url = url
