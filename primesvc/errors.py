"""Every error that primesvc raises on purpose, as one tree.

    PrimesvcError
    ├── InvalidParameter        (ValueError)       a request that cannot be read
    ├── LimitError                                 a limit forbids it
    │   ├── RangeNotAllowed     (ValueError)       a range outside a limit, which it names
    │   └── ServiceFull         (RuntimeError)     a limit of the service is reached for now
    ├── JobError                                   it cannot be done with this job
    │   ├── UnknownJob          (LookupError)      no job has this id
    │   │   └── JobGone                            a job had it, and was forgotten
    │   ├── JobNotFinished      (RuntimeError)     its result was asked for too early
    │   ├── JobCancelled        (RuntimeError)     it will never have a result
    │   ├── JobFailed           (RuntimeError)     it ended without a result, with a reason
    │   └── JobConflict         (RuntimeError)     not in this state of the job
    ├── ServiceClosed           (RuntimeError)     the service is stopping or not started
    ├── JournalBehind           (RuntimeError)     the journal has yet to write a job
    ├── CountsDisagree          (RuntimeError)     a result that did not stand its check
    ├── CallError                                  the workers could not do a call
    │   ├── WorkerDied          (RuntimeError)     it keeps killing its worker process
    │   ├── WorkersUnavailable  (RuntimeError)     no worker process can be started
    │   ├── ExecutorLost        (RuntimeError)     an embedder's executor lost it
    │   └── EngineFailed        (RuntimeError)     the engine reported an error
    │       └── EngineOutOfMemory (MemoryError)    it could not get the memory it needs
    ├── SetupError                                 the service cannot run as it was set up
    │   ├── InvalidSetting      (ValueError)       a setting whose value cannot be used
    │   ├── EngineUnavailable   (RuntimeError)     the engine asked for cannot be loaded
    │   └── JournalUnusable     (RuntimeError)     the journal cannot be opened
    └── RemoteError                                what `PrimeClient` raises about a service
        ├── ApiError            (RuntimeError)     it answered with an error, held here
        ├── ServerUnreachable   (ConnectionError)  it gave no answer, however often asked
        └── UnexpectedAnswer    (ValueError)       it gave an answer that is none of the API's

Constructors take values and compose the message.
"""

from collections.abc import Mapping
from typing import ClassVar


class PrimesvcError(Exception):
    """The root of the tree: catch it to catch every error primesvc raises on purpose."""

    retry_after_s: float | None = None
    """Seconds after which the same request may succeed, where that is known."""

    def __reduce__(self) -> tuple[object, ...]:
        # As pickle would by itself, the constructor is called with the message alone.
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(cls: type[PrimesvcError], args: tuple[object, ...]) -> PrimesvcError:
    return cls.__new__(cls, *args)


class InvalidParameter(PrimesvcError, ValueError):
    """A parameter is missing, or its value cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class LimitError(PrimesvcError):
    """A limit of the engines or of the settings forbids it."""

    limit: float
    """The limit."""


class RangeNotAllowed(LimitError, ValueError):
    """A range lies outside of what the engines or the settings allow."""

    def __init__(self, reason: str, *, limit: float, estimate_s: float | None = None) -> None:
        super().__init__(reason)
        self.limit = limit
        self.estimate_s = estimate_s


class ServiceFull(LimitError, RuntimeError):
    """A limit of the service is reached for now; the same request may succeed later."""

    def __init__(self, what: str, *, limit: int, retry_after_s: float) -> None:
        super().__init__(f"{what}; the limit is {limit}, try again in {retry_after_s:g} s")
        self.limit = limit
        self.retry_after_s = retry_after_s


class JobError(PrimesvcError):
    """What was asked of a job cannot be done, or there is no such job."""


class UnknownJob(JobError, LookupError):
    """No job has this id: it was never submitted, or was forgotten since."""

    def __init__(self, job_id: str) -> None:
        super().__init__(self.says.format(job_id))

    says: ClassVar[str] = (
        "no job has the id {}; results are kept for a limited time, "
        "so submit the range again to get its primes"
    )


class JobGone(UnknownJob):
    """There was a job with this id, which was deleted, or forgotten after its time."""

    says = "the job {} was deleted or its time is over; submit the range again to get its primes"


class JobNotFinished(JobError, RuntimeError):
    """The result of a job was asked for while the job is unfinished."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the job {job_id} is not finished; wait for it first")


class JobCancelled(JobError, RuntimeError):
    """The job was cancelled, so it has no result."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the job {job_id} was cancelled; submit the range again to start it anew")


class JobFailed(JobError, RuntimeError):
    """The job ended without a result; `reason` says why."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"the job {job_id} failed: {reason}; submit the range again to retry")
        self.reason = reason


class JobConflict(JobError, RuntimeError):
    """The job is in a state in which this cannot be done."""

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"the job {job_id} has {state} already: there is nothing to cancel")


class ServiceClosed(PrimesvcError, RuntimeError):
    """The service is stopping, or was not started."""

    retry_after_s = 5.0  # about how long it takes until another one stands in its place

    def __init__(self, what: str = "the service is stopping") -> None:
        super().__init__(what)


class JournalBehind(PrimesvcError, RuntimeError):
    """What happened to a job is not in the journal yet, which `journal_sync` promises."""

    retry_after_s = 1.0

    def __init__(self, why: str) -> None:
        super().__init__(f"it is done, but not yet written to the journal: {why}")


class CountsDisagree(PrimesvcError, RuntimeError):
    """What was found holds another number of primes than an independent count says."""

    def __init__(self, range_: str, found: int, counted: int) -> None:
        super().__init__(
            f"{found} primes were found in {range_}, but libprimecount counts {counted}: one of "
            "them is wrong; what was kept of the range is forgotten, and will be sieved anew"
        )


class CallError(PrimesvcError):
    """A call failed for good: its worker, its executor or the engine could not do it."""


class WorkerDied(CallError, RuntimeError):
    """A call loses every worker process that runs it."""

    def __init__(self, deaths: int, why: str) -> None:
        super().__init__(f"its worker process died {deaths} times: {why}")
        self.deaths = deaths


class ExecutorLost(CallError, RuntimeError):
    """An embedder's executor dropped a call that nobody had cancelled, or did not answer."""

    def __init__(self, deadline_s: float | None = None) -> None:
        what = "dropped the call" if deadline_s is None else f"did not answer in {deadline_s:g} s"
        super().__init__(f"the executor {what}; are its workers still there?")


class WorkersUnavailable(CallError, RuntimeError):
    """No worker process can be started."""

    retry_after_s = 5.0

    def __init__(self, why: str) -> None:
        super().__init__(f"worker processes cannot be started: {why}")


class EngineFailed(CallError, RuntimeError):
    """The engine reported an error for a call that should have succeeded."""


class EngineOutOfMemory(EngineFailed, MemoryError):
    """The engine could not get the memory that it needs; a fresh worker may."""


class SetupError(PrimesvcError):
    """The service cannot run with the settings, on this machine or with these files."""


class InvalidSetting(SetupError, ValueError):
    """A setting has a value that cannot be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class EngineUnavailable(SetupError, RuntimeError):
    """The engine that was asked for cannot be loaded on this machine."""


class JournalUnusable(SetupError, RuntimeError):
    """The journal cannot be used; the file is left as it is."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"the journal {path} cannot be used: {reason}")


class RemoteError(PrimesvcError):
    """Something went wrong with a service that is used through `PrimeClient`."""


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
