"""Which status, type and title the errors are answered with."""

from collections.abc import Iterator

import pytest

from primesvc.errors import PrimesvcError
from primesvc.web.errors import HttpError
from primesvc.web.problems import Problem, problem_of

PROBLEMS = {
    "PrimesvcError": ("internal", "Internal error", 500),
    "InvalidParameter": ("invalid-parameter", "Invalid parameter", 400),
    "Unauthorized": ("unauthorized", "Unauthorized", 401),
    "OriginNotAllowed": ("origin-not-allowed", "Origin not allowed", 403),
    "HostNotAllowed": ("host-not-allowed", "Host not allowed", 421),
    "JobConflict": ("job-conflict", "Job conflict", 409),
    "PayloadTooLarge": ("payload-too-large", "Payload too large", 413),
    "UnsupportedMediaType": ("unsupported-media-type", "Unsupported media type", 415),
    "RequestTimedOut": ("request-timed-out", "Request timed out", 408),
    "RangeNotAllowed": ("range-not-allowed", "Range not allowed", 422),
    "NotAcceptable": ("not-acceptable", "Not acceptable", 406),
    "PreconditionFailed": ("precondition-failed", "Precondition failed", 412),
    "RangeNotSatisfiable": ("range-not-satisfiable", "Range not satisfiable", 416),
    "UnknownJob": ("unknown-job", "Unknown job", 404),
    "JobGone": ("job-gone", "Job gone", 410),
    "JobNotFinished": ("job-not-finished", "Job not finished", 409),
    "JobCancelled": ("job-cancelled", "Job cancelled", 409),
    "JobFailed": ("job-failed", "Job failed", 500),
    "ServiceFull": ("service-full", "Service full", 503),
    "ServiceClosed": ("service-closed", "Service closed", 503),
    "NotReady": ("not-ready", "Not ready", 503),
    "CountsDisagree": ("counts-disagree", "Counts disagree", 500),
    "WorkerDied": ("worker-died", "Worker died", 500),
    "JournalBehind": ("journal-behind", "Journal behind", 503),
    "WorkersUnavailable": ("workers-unavailable", "Workers unavailable", 503),
    "ExecutorLost": ("executor-lost", "Executor lost", 500),
    "EngineUnavailable": ("engine-unavailable", "Engine unavailable", 500),
    "EngineFailed": ("engine-failed", "Engine failed", 500),
    "EngineOutOfMemory": ("engine-failed", "Engine failed", 500),
    "JournalUnusable": ("journal-unusable", "Journal unusable", 500),
    "InvalidSetting": ("invalid-setting", "Invalid setting", 500),
    "RemoteError": ("remote-error", "Remote error", 502),
    "ApiError": ("remote-error", "Remote error", 502),
    "ServerUnreachable": ("remote-error", "Remote error", 502),
    "UnexpectedAnswer": ("remote-error", "Remote error", 502),
    # Classes that others are caught by; none is raised itself.
    "LimitError": ("internal", "Internal error", 500),
    "JobError": ("internal", "Internal error", 500),
    "CallError": ("internal", "Internal error", 500),
    "SetupError": ("internal", "Internal error", 500),
    "HttpError": ("internal", "Internal error", 500),
}
"""The last part of the type, the title and the status: clients rely on them."""


def all_below(error: type[PrimesvcError]) -> Iterator[type[PrimesvcError]]:
    """An error of the package and all below it."""
    if error.__module__.startswith("primesvc."):
        yield error
    for below in error.__subclasses__():
        yield from all_below(below)


ERRORS = {error.__name__: error for error in all_below(PrimesvcError)}


def test_every_error_is_in_the_table() -> None:
    """A new error is given its problem type on purpose."""
    assert issubclass(HttpError, PrimesvcError)
    assert set(PROBLEMS) == set(ERRORS)


@pytest.mark.parametrize("name", PROBLEMS)
def test_problem_types_stay(name: str) -> None:
    """They are what they were when clients were written."""
    slug, title, status = PROBLEMS[name]
    assert problem_of(ERRORS[name]) == Problem(f"urn:primesvc:problem:{slug}", title, status)
