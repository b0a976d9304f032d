"""create_app: the service and its HTTP face as one aiohttp application."""

from collections.abc import AsyncIterator
from concurrent.futures import Executor

from aiocache.base import BaseCache
from aiohttp import web

from primesvc.service import PrimeService
from primesvc.settings import Settings
from primesvc.web.events import EventStreams, set_streams
from primesvc.web.keys import set_service
from primesvc.web.problems import problems_middleware
from primesvc.web.routes import ROUTES


def create_app(
    settings: Settings | None = None,
    *,
    executor: Executor | None = None,
    cache: BaseCache | None = None,
) -> web.Application:
    """A new application, to run by itself or to mount with `parent.add_subapp(prefix, app)`.

    It owns its service, which starts and stops with it; `primesvc.service_of`
    finds it. Worker processes start with the first request that needs them,
    so a parent whose own start-up fails leaves none behind. `executor` and
    `cache` are used instead of our own, and stay open.
    """
    app = web.Application(middlewares=[problems_middleware])
    service = PrimeService(settings, executor=executor, cache=cache)
    set_service(app, service)
    set_streams(app, EventStreams(service.settings.max_event_streams))

    async def run_service(_: web.Application) -> AsyncIterator[None]:
        async with service:
            yield

    app.cleanup_ctx.append(run_service)
    app.add_routes(ROUTES)
    return app
