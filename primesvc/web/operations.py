"""What those who run the service ask it: whether it lives, whether it is ready, how it does."""

from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from primesvc.errors import NotReady
from primesvc.runtime import Snapshot
from primesvc.service import Readiness
from primesvc.states import State
from primesvc.web.counters import counters_of
from primesvc.web.events import streams_of
from primesvc.web.keys import service_of
from primesvc.web.problems import from_error

if TYPE_CHECKING:
    from primesvc.web.metrics import Metrics


async def get_live(request: web.Request) -> web.Response:
    """GET /health/live: the process answers."""
    return web.json_response({"status": "live"}, headers={"Cache-Control": "no-store"})


async def get_ready(request: web.Request) -> web.Response:
    """GET /health/ready: whether to send it work, and how it does; 503 if not."""
    service = service_of(request.app)
    readiness = service.readiness
    facts: dict[str, Any] = {"phase": readiness.value, "version": _version()}
    problem = None
    if not service.closed:
        snapshot = service.snapshot()
        problem = snapshot.backend.problem
        facts |= _facts(snapshot)
    if readiness is not Readiness.READY:
        return from_error(NotReady(readiness, problem), facts)
    document = {"status": readiness.value, **facts}
    return web.json_response(document, headers={"Cache-Control": "no-store"})


def _facts(snapshot: Snapshot) -> dict[str, Any]:
    cache = snapshot.cache
    return {
        "engine": {"name": snapshot.engine.name, "version": snapshot.engine.version},
        "workers": snapshot.slots,
        "worker_deaths": snapshot.backend.deaths,
        "cache": None if cache is None else {
            "bytes": cache.current_bytes, "max_bytes": cache.max_bytes,
            "hits": cache.hits, "misses": cache.misses, "evictions": cache.evictions,
        },
        "jobs": {state.value: snapshot.jobs.get(state, 0) for state in State},
    }  # fmt: skip


@cache
def _version() -> str:
    return version("primesvc")


class _Scrapes:
    """Makes the metrics when they are first asked for: their library takes 25 ms to import."""

    def __init__(self) -> None:
        self._metrics: Metrics | None = None

    def metrics(self, app: web.Application) -> "Metrics":
        """The metrics of the application."""
        if self._metrics is None:
            from primesvc.web.metrics import Metrics

            self._metrics = Metrics(service_of(app), counters_of(app), streams_of(app))
        return self._metrics


_METRICS_HEADERS: Final = {
    "Content-Type": "text/plain; version=0.0.4; charset=utf-8",
    "Cache-Control": "no-store",
}

_SCRAPES: Final = web.AppKey("primesvc.scrapes", _Scrapes)


def prepare_metrics(app: web.Application) -> None:
    """Let the application tell of its metrics."""
    app[_SCRAPES] = _Scrapes()


async def get_metrics(request: web.Request) -> web.Response:
    """GET /metrics: in the text format of Prometheus."""
    body = request.app[_SCRAPES].metrics(request.app).exposition()
    return web.Response(body=body, headers=_METRICS_HEADERS)


OPEN_TO_ALL: Final = frozenset({get_live, get_ready})
"""The handlers that answer without a token."""
