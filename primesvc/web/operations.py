"""What operators ask for: whether the process is live, whether it is ready, and its metrics."""

from importlib.metadata import version
from typing import Any, Final

from aiohttp import web

from primesvc.runtime import Snapshot
from primesvc.service import Readiness
from primesvc.states import State
from primesvc.web.context import context_of
from primesvc.web.errors import NotReady
from primesvc.web.problems import from_error

_VERSION: Final = version("primesvc")  # read once: it takes a descriptor


async def get_live(request: web.Request) -> web.Response:
    """GET /health/live: the process answers."""
    return web.json_response({"status": "live"}, headers={"Cache-Control": "no-store"})


async def get_ready(request: web.Request) -> web.Response:
    """GET /health/ready: whether to send it work, and how it does; 503 if not."""
    service = context_of(request).service
    readiness = service.readiness
    facts: dict[str, Any] = {"phase": readiness.value, "version": _VERSION}
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
    cache, journal, primecount = snapshot.cache, snapshot.journal, snapshot.engine.primecount
    return {
        "engine": {"name": snapshot.engine.name, "version": snapshot.engine.version},
        "count_engine": None if primecount is None else {
            "name": primecount.name, "version": primecount.version,
        },
        "workers": snapshot.slots,
        "worker_deaths": snapshot.backend.deaths,
        "journal": None if journal is None else {
            "behind_s": round(journal.behind_s, 3), "waiting": journal.waiting,
            "problem": journal.problem,
        },
        "cache": None if cache is None else {
            "bytes": cache.current_bytes, "max_bytes": cache.max_bytes,
            "hits": cache.hits, "misses": cache.misses, "evictions": cache.evictions,
        },
        "jobs": {state.value: snapshot.jobs.get(state, 0) for state in State},
    }  # fmt: skip


_METRICS_HEADERS: Final = {
    "Content-Type": "text/plain; version=0.0.4; charset=utf-8",
    "Cache-Control": "no-store",
}


async def get_metrics(request: web.Request) -> web.Response:
    """GET /metrics: in the text format of Prometheus."""
    # Many may ask at a time, and it takes a few milliseconds.
    await context_of(request).turns.next()
    body = context_of(request).metrics.exposition()
    return web.Response(body=body, headers=_METRICS_HEADERS)


OPEN_TO_ALL: Final = frozenset({get_live, get_ready})
"""The handlers that answer without a token."""
