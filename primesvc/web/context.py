"""What the handlers of one application share, and how they find it."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from aiohttp import web

from primesvc.errors import JobGone, UnknownJob
from primesvc.jobs.job import Job
from primesvc.jobs.table import JobTable
from primesvc.service import PrimeService
from primesvc.web.counters import Counters
from primesvc.web.event_streams import EventStreams
from primesvc.web.parameters import canonical_id
from primesvc.web.turns import Turns

if TYPE_CHECKING:
    from primesvc.web.metrics import Metrics


@dataclass(frozen=True, eq=False)
class Context:
    """The service of one application, and what counts for it."""

    service: PrimeService
    counters: Counters
    streams: EventStreams
    turns: Turns = field(default_factory=Turns)

    @cached_property
    def metrics(self) -> "Metrics":
        """The metrics, made when they are first asked for: their library takes 25 ms to import."""
        from primesvc.web.metrics import Metrics

        return Metrics(self.service, self.counters, self.streams)


_CONTEXT: Final = web.AppKey("primesvc.context", Context)


def set_context(app: web.Application, context: Context) -> None:
    """Make `context` the one of the handlers of `app`."""
    app[_CONTEXT] = context


def context_in(app: web.Application) -> Context:
    """The context of an application made by `create_app`. Raises `KeyError` for any other."""
    return app[_CONTEXT]


def context_of(request: web.Request) -> Context:
    """The context of the application whose handler got the request, mounted or not."""
    return request.app[_CONTEXT]


def service_of(app: web.Application) -> PrimeService:
    """The service that an application made by `create_app` serves.

    Raises `KeyError` for any other application.
    """
    return context_in(app).service


def find_job(request: web.Request) -> Job:
    """The job that the path of a request names. Raises `UnknownJob` and `JobGone`."""
    return find_job_by_id(context_of(request).service.jobs, request.match_info["id"])


def find_job_by_id(jobs: JobTable, job_id: str) -> Job:
    """The job with this id, in upper or lower case. Raises `UnknownJob` and `JobGone`."""
    try:
        return jobs.get(job_id)
    except JobGone:
        raise
    except UnknownJob:
        return jobs.get(canonical_id(job_id))
