"""The event streams of one application: counts them, and makes the events that they send.

However many streams watch a job, an update is serialised once. The id of an
event counts what became known, so a client that reconnects with `Last-Event-ID`
gets nothing twice.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from primesvc.errors import ServiceFull
from primesvc.jobs.job import Job

INTERVAL_S: Final = 0.5
"""Seconds between two updates at the least."""

_RETRY_S: Final = 5.0
"""Seconds after which a client may ask again when there are too many streams."""


class EventStreams:
    """The open event streams of one application, and the events that they send.

    At most `limit` are open at a time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open = 0
        self.serialised = 0
        """How many updates were serialised, for however many streams."""
        self._events: defaultdict[Job, dict[Hashable, Event]] = defaultdict(dict)
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

    def event(self, job: Job, form: Hashable, document: Callable[[], object]) -> "Event":
        """The event that the streams of a job send now: not older than `INTERVAL_S`, or the end.

        `document` makes the document of the job as it is now, in one of its forms.
        """
        events = self._events[job]
        known = events.get(form)
        now = time.monotonic()
        if known is None or (
            known.id != event_id(job) and (job.state.final or now - known.made_s >= INTERVAL_S)
        ):
            name = "done" if job.state.final else "progress"
            data = json.dumps(document())
            id_ = event_id(job)
            text = f"event: {name}\nid: {id_}\ndata: {data}\n\n"
            known = events[form] = Event(id_, text.encode(), job.state.final, now)
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


class Event(NamedTuple):
    """An update as it is sent."""

    id: str
    data: bytes
    final: bool
    made_s: float


def event_id(job: Job) -> str:
    """The id of the event that tells of the job as it is now."""
    return f"{job.work.updates}-{job.state.value}"
