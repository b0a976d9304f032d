"""GET /jobs/{id}/events: server-sent events about one job.

`progress` while it runs, `done` at its end, each with the job document as data.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import time
from contextlib import ExitStack
from functools import partial
from typing import Final

from aiohttp import web

from primesvc.web.context import context_of, find_job
from primesvc.web.documents import job_document
from primesvc.web.event_streams import event_id
from primesvc.web.forwarded import path_prefix
from primesvc.web.negotiation import wants_strings
from primesvc.web.streams import Stream

HEARTBEAT_S: Final = 15.0
"""Seconds of silence after which a comment is sent: proxies close what is silent for long."""

STREAM_BYTES: Final = 2**16
"""What the transport holds for a client that does not take its events, at the most."""

GROWTH: Final = 2
"""How many times as long as the first event of a stream the last one may be."""

_HEAD: Final = b"retry: 2000\n\n"
"""Milliseconds after which a client that lost the connection is to come back."""

_HEARTBEAT: Final = b": still here\n\n"

_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}


async def get_events(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{id}/events: see the module."""
    job = find_job(request)
    form = wants_strings(request), path_prefix(request)
    last = request.headers.get("Last-Event-ID")
    if job.state.final and last == event_id(job):
        # An EventSource takes this as the end; anything else makes it come back.
        return web.Response(status=204, headers={"Cache-Control": "no-store"})
    response = Stream(request, headers=_HEADERS)
    if request.method == "HEAD":
        return response
    context = context_of(request)
    document = partial(job_document, request, job)
    with ExitStack() as stack:
        stack.enter_context(context.streams.entered(job))
        event = context.streams.event(job, form, document)
        size = max(STREAM_BYTES, GROWTH * len(event.data))
        stack.enter_context(context.service.buffers.lease(size))
        try:
            await response.prepare(request)
            await response.write_in_time(_HEAD)
            told_s = time.monotonic()
            while request.transport is not None:  # as it is once the client has gone
                event = context.streams.event(job, form, document)
                news = event.data if event.id != last else b""
                if not news and time.monotonic() - told_s >= HEARTBEAT_S:
                    news = _HEARTBEAT
                if news:
                    last, told_s = event.id, time.monotonic()
                for at in range(0, len(news), STREAM_BYTES):
                    await response.write_in_time(news[at : at + STREAM_BYTES])
                if event.final or not await context.streams.next(job):
                    break
        except ConnectionError:
            pass  # the client has gone
        except TimeoutError:
            response.cut()
    return response
