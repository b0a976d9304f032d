"""GET /jobs/{id}/events: server-sent events about one job.

`progress` while it runs, `done` at its end, each with the job document as data.
However many streams watch a job, an update is serialised once. The id of an
event counts the pieces done, so a client that reconnects with `Last-Event-ID`
gets nothing twice.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from aiohttp import web

from primesvc.errors import ServiceFull
from primesvc.jobs.job import Job
from primesvc.web.documents import job_document
from primesvc.web.forwarded import path_prefix
from primesvc.web.keys import find_job, service_of
from primesvc.web.parameters import wants_strings
from primesvc.web.streams import Stream

INTERVAL_S: Final = 0.5
"""Seconds between two updates at the least."""

HEARTBEAT_S: Final = 15.0
"""Seconds of silence after which a comment is sent: proxies close what is silent for long."""

STREAM_BYTES: Final = 2**16
"""What the transport holds for a client that does not take its events, at the most."""

_HEAD: Final = b"retry: 2000\n\n"
"""Milliseconds after which a client that lost the connection is to come back."""

_HEARTBEAT: Final = b": still here\n\n"

_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}

_RETRY_S: Final = 5.0
"""Seconds after which a client may ask again when there are too many streams."""


class EventStreams:
    """The event streams of one application: how many there are, and what they are told.

    At most `limit` are open at a time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open = 0
        self.serialised = 0
        """How many updates were serialised, for however many streams."""
        # By job, and by what its document depends on besides.
        self._events: defaultdict[Job, dict[tuple[bool, str], _Event]] = defaultdict(dict)
        self._streams: Counter[Job] = Counter()
        self._closed = False
        self._closing: asyncio.Future[None] | None = None

    @contextmanager
    def entered(self, job: Job) -> Iterator[None]:
        """Count a stream of a job as open meanwhile. Raises `ServiceFull`."""
        if self.open >= self.limit:
            raise ServiceFull("too many event streams", limit=self.limit, retry_after_s=_RETRY_S)
        self.open += 1
        self._streams[job] += 1
        try:
            yield
        finally:
            self.open -= 1
            self._streams[job] -= 1
            if not self._streams[job]:
                del self._streams[job]
                self._events.pop(job, None)

    def event(self, request: web.Request, job: Job) -> "_Event":
        """What the streams of a job are told now: not older than `INTERVAL_S`, or the end."""
        events, key = self._events[job], (wants_strings(request), path_prefix(request))
        known = events.get(key)
        now = time.monotonic()
        if known is None or (
            known.id != event_id(job) and (job.state.final or now - known.made_s >= INTERVAL_S)
        ):
            name = "done" if job.state.final else "progress"
            data = json.dumps(job_document(request, job))
            id_ = event_id(job)
            text = f"event: {name}\nid: {id_}\ndata: {data}\n\n"
            known = events[key] = _Event(id_, text.encode(), job.state.final, now)
            self.serialised += 1
        return known

    async def next(self, job: Job) -> bool:
        """Wait until there may be news; False if the streams are to end."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
        if not self._closed:
            await asyncio.wait(
                [job.ended, self._closing],
                timeout=INTERVAL_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        return not self._closed

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)


class _Event(NamedTuple):
    id: str
    data: bytes
    final: bool
    made_s: float


_STREAMS: Final = web.AppKey("primesvc.event_streams", EventStreams)


def set_streams(app: web.Application, streams: EventStreams) -> None:
    """Make `streams` those of the application, which ends them when it shuts down."""
    app[_STREAMS] = streams

    async def end(_: web.Application) -> None:
        streams.close()

    app.on_shutdown.append(end)


def streams_of(app: web.Application) -> EventStreams:
    """The event streams of an application made by `create_app`."""
    return app[_STREAMS]


def event_id(job: Job) -> str:
    """The id of the event that tells of the job as it is now."""
    return f"{job.work.updates}-{job.state.value}"


async def get_events(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{id}/events: see the module."""
    job = find_job(request)
    wants_strings(request)  # a wrong one is an error before the stream begins
    last = request.headers.get("Last-Event-ID")
    if job.state.final and last == event_id(job):
        # An EventSource takes this as the end; anything else makes it come back.
        return web.Response(status=204, headers={"Cache-Control": "no-store"})
    response = Stream(request, headers=_HEADERS)
    if request.method == "HEAD":
        return response
    streams, service = streams_of(request.app), service_of(request.app)
    stall_s = service.settings.stall_timeout_s
    with streams.entered(job), service.buffers.lease(STREAM_BYTES):
        try:
            await response.prepare(request)
            async with asyncio.timeout(stall_s):
                await response.write(_HEAD)
            await _tell(request, response, streams, job, last, stall_s)
        except ConnectionError:
            pass  # the client has gone
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
    return response


async def _tell(
    request: web.Request,
    response: web.StreamResponse,
    streams: EventStreams,
    job: Job,
    last: str | None,
    stall_s: float,
) -> None:
    told_s = time.monotonic()
    while request.transport is not None:  # as it is once the client has gone
        event = streams.event(request, job)
        news = event.data if event.id != last else b""
        if not news and time.monotonic() - told_s >= HEARTBEAT_S:
            news = _HEARTBEAT
        if news:
            last, told_s = event.id, time.monotonic()
            async with asyncio.timeout(stall_s):
                await response.write(news)
                await request.writer.drain()
        if event.final or not await streams.next(job):
            return
