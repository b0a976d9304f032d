"""The documents that tell of jobs, as JSON."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from primesvc.errors import PrimesvcError
from primesvc.jobs.job import Job
from primesvc.kinds.base import Question
from primesvc.states import State
from primesvc.web.links import path_of
from primesvc.web.negotiation import as_written, wants_strings
from primesvc.web.problems import problem_document


def job_document(request: web.Request, job: Job, *, outline: bool = False) -> dict[str, Any]:
    """All that is known of a job, or its `outline`, as lists of jobs show it.

    Numbers as strings if the request has `numbers=string`.
    """
    strings = wants_strings(request)
    findings = job.work.outline if outline else job.work.findings
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state.value,
        **as_written(job.question.parameters, strings=strings),
        "progress": job.progress,
        **as_written(findings, strings=strings),
        "rate": job.rate and round(job.rate),
        "eta_s": None if job.eta_s is None else round(job.eta_s, 3),
        "created": _time(job.created_s),
        "started": _time(job.started_s),
        "finished": _time(job.finished_s),
        "error": _error(job),
        "links": links(request, job),
    }


def links(request: web.Request, job: Job) -> dict[str, str]:
    """Where to go from a job, as paths with the prefix the application is mounted under."""
    names = ["job", "events"]
    if not job.state.final:
        names.append("cancel")
    if job.question.listed and job.state not in (State.FAILED, State.CANCELLED):
        names += ["primes", "result"]
    return {"self" if name == "job" else name: path_of(request, name, id=job.id) for name in names}


def estimate_document(
    request: web.Request, question: Question, expected: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """What a job would give and cost, before it is submitted."""
    strings = wants_strings(request)
    return {
        "kind": question.kind,
        **as_written(question.parameters, strings=strings),
        "estimate": {**as_written(expected, strings=strings), "seconds": round(seconds, 6)},
    }


def _time(seconds: float | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(job: Job) -> dict[str, object] | None:
    if job.state is not State.FAILED:
        return None
    error = job.error
    if isinstance(error, PrimesvcError):
        return problem_document(error)
    return problem_document(PrimesvcError("the service made a mistake; its log says which"))
