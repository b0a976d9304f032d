"""How the handlers find the service of the application they belong to, and its jobs."""

from typing import Final

from aiohttp import web

from primesvc.errors import JobGone, UnknownJob
from primesvc.jobs.job import Job
from primesvc.service import PrimeService
from primesvc.web.parameters import canonical_id

_SERVICE: Final = web.AppKey("primesvc.service", PrimeService)


def set_service(app: web.Application, service: PrimeService) -> None:
    """Make `service` the one that the handlers of `app` serve."""
    app[_SERVICE] = service


def service_of(app: web.Application) -> PrimeService:
    """The service that an application made by `create_app` serves.

    Raises `KeyError` for any other application.
    """
    return app[_SERVICE]


def find_job(request: web.Request) -> Job:
    """The job that the path of a request names. Raises `UnknownJob` and `JobGone`."""
    service = service_of(request.app)
    job_id = request.match_info["id"]
    try:
        return service.job(job_id)
    except JobGone:
        raise
    except UnknownJob:
        return service.job(canonical_id(job_id))
