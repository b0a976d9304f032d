"""What operators ask for: whether the process is live, whether it is ready, and its metrics."""

from functools import cache
from importlib.metadata import version
from typing import Any, Final

from aiohttp import web

from primesvc.jobs.job import State
from primesvc.service import PrimeService, Readiness
from primesvc.web.context import context_of
from primesvc.web.errors import NotReady
from primesvc.web.problems import from_error


async def get_live(request: web.Request) -> web.Response:
    """GET /health/live: the process answers."""
    return web.json_response({"status": "live"}, headers={"Cache-Control": "no-store"})


async def get_ready(request: web.Request) -> web.Response:
    """GET /health/ready: whether to send it work, and how it does; 503 if not."""
    service = context_of(request).service
    facts = _facts(service)
    if service.phase is not Readiness.READY:
        return from_error(NotReady(service.phase), facts)
    document = {"status": service.phase.value, **facts}
    return web.json_response(document, headers={"Cache-Control": "no-store"})


def _facts(service: PrimeService) -> dict[str, Any]:
    facts: dict[str, Any] = {"phase": service.phase.value, "version": _version()}
    if service.closed:
        return facts
    stats, by_state = service.cache_stats, service.jobs_by_state()
    return facts | {
        "engine": {"name": service.engine.name, "version": service.engine.version},
        "workers": service.workers,
        "worker_deaths": None if service.pool is None else service.pool.deaths,
        "cache": None if stats is None else {
            "bytes": stats.current_bytes, "max_bytes": stats.max_bytes,
            "hits": stats.hits, "misses": stats.misses, "evictions": stats.evictions,
        },
        "jobs": {state.value: by_state.get(state, 0) for state in State},
    }  # fmt: skip


@cache
def _version() -> str:
    return version("primesvc")


_METRICS_HEADERS: Final = {
    "Content-Type": "text/plain; version=0.0.4; charset=utf-8",
    "Cache-Control": "no-store",
}


async def get_metrics(request: web.Request) -> web.Response:
    """GET /metrics: in the text format of Prometheus."""
    body = context_of(request).metrics.exposition()
    return web.Response(body=body, headers=_METRICS_HEADERS)


OPEN_TO_ALL: Final = frozenset({get_live, get_ready})
"""The handlers that answer without a token."""
