"""create_app: the service and its HTTP face as one aiohttp application."""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from typing import TextIO

from aiocache.base import BaseCache
from aiohttp import web

from primesvc.service import PrimeService
from primesvc.settings import Settings
from primesvc.web.access import Access
from primesvc.web.access_log import AccessLog
from primesvc.web.counters import Counters, set_counters
from primesvc.web.events import EventStreams, set_streams
from primesvc.web.front import Front
from primesvc.web.keys import set_service
from primesvc.web.operations import prepare_metrics
from primesvc.web.routes import ROUTES


def create_app(
    settings: Settings | None = None,
    *,
    executor: Executor | None = None,
    executor_slots: int = 0,
    cache: BaseCache | None = None,
    listens_on: Sequence[str] | None = None,
    log_to: TextIO | None = None,
) -> web.Application:
    """A new application, to run by itself or to mount with `parent.add_subapp(prefix, app)`.

    It owns its service, which starts and stops with it; `primesvc.service_of`
    finds it. Worker processes start with the first request that needs them,
    so a parent whose own start-up fails leaves none behind. `executor`,
    `executor_slots` and `cache` are those of `PrimeService`.

    Mounted in an application, it leaves to that which hosts and which pages
    are served, unless `allow_host` and `allow_origin` say so. Served by
    itself, `listens_on` are the addresses, as text, and all that comes from
    elsewhere is refused: see `web.access`. With `access_log` requests are
    logged to the stream `log_to`, or to the logger `primesvc.access`.
    """
    settings = settings or Settings()
    counters = Counters()
    access_log = None
    if settings.access_log:
        access_log = AccessLog(
            settings.log_format, log_to, trust_forwarded=settings.trust_forwarded
        )
    app = web.Application()
    service = PrimeService(settings, executor=executor, executor_slots=executor_slots, cache=cache)
    set_service(app, service)
    set_streams(app, EventStreams(settings.max_event_streams))
    set_counters(app, counters)
    prepare_metrics(app)

    async def run_service(_: web.Application) -> AsyncIterator[None]:
        try:
            async with service:
                yield
        finally:
            if access_log is not None:
                access_log.close()

    app.cleanup_ctx.append(run_service)
    Front(Access(settings, listens_on), counters, access_log).add_routes(app, ROUTES)
    return app
