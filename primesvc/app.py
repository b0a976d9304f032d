"""create_app: the service and its HTTP face as one aiohttp application."""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from typing import TextIO

from aiocache.base import BaseCache
from aiohttp import web

from primesvc.service import PrimeService
from primesvc.settings import Settings
from primesvc.web.access import Access, set_access
from primesvc.web.access_log import AccessLog
from primesvc.web.context import Context, set_context
from primesvc.web.counters import Counters
from primesvc.web.event_streams import EventStreams
from primesvc.web.routes import ROUTES
from primesvc.web.wrapper import HandlerWrapper


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

    Mounted in another application, it answers for every host and to every
    page, unless `allow_host` and `allow_origin` name those that may ask: the
    other application decides. Served by itself, it is given the addresses that
    it listens on, as text, and refuses what comes from elsewhere: see
    `web.access`. With `access_log` it logs requests to the stream `log_to`, or
    to the logger `primesvc.access`.
    """
    settings = settings or Settings()
    access_log = None
    if settings.access_log:
        access_log = AccessLog(
            settings.log_format, log_to, trust_forwarded=settings.trust_forwarded
        )
    app = web.Application()
    service = PrimeService(settings, executor=executor, executor_slots=executor_slots, cache=cache)
    counters, streams = Counters(), EventStreams(settings.max_event_streams)
    set_context(app, Context(service, counters, streams))

    async def run_service(_: web.Application) -> AsyncIterator[None]:
        try:
            async with service:
                yield
        finally:
            if access_log is not None:
                access_log.close()

    async def end_streams(_: web.Application) -> None:
        streams.close()

    app.cleanup_ctx.append(run_service)
    app.on_shutdown.append(end_streams)
    access = Access(settings, listens_on)
    set_access(app, access)
    HandlerWrapper(access, counters, access_log).add_routes(app, ROUTES)
    return app
