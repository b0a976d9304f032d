"""Server-sent events as a client reads them, and those of a job.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import codecs
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Final, NamedTuple

from primesvc.client.documents import RemoteJob
from primesvc.client.transport import Transport, shown
from primesvc.errors import ApiError, ServerUnreachable, UnexpectedAnswer

MAX_EVENT_CHARACTERS: Final = 2**20
"""Characters of one event at the most; those of a job have about 600."""

LONGEST_RETRY_S: Final = 30.0
"""Seconds before a broken stream is opened again at the most, whatever the service says."""


class Event(NamedTuple):
    """One event of a stream."""

    name: str
    data: str


class EventParser:
    """Turns the bytes of an event stream, in pieces of any size, into events.

    `last_id` is the id of the last event, `retry_s` after how many seconds one
    is to come back, if the stream said so. Raises `ValueError` for an event
    that is too long.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.retry_s: float | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._name = ""
        self._data: list[str] = []
        self._id = ""
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that end in these bytes."""
        text = self._rest + self._decoder.decode(data)
        # A CR at the end may be half of a CRLF.
        held = "\r" if text.endswith("\r") else ""
        lines = text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = lines.pop() + held
        for line in lines:
            self._size += len(line)
            self._check_size(0)
            if not line:
                yield from self._end()
            elif not line.startswith(":"):
                self._field(*line.partition(":")[::2])
        self._check_size(len(self._rest))

    def _check_size(self, more: int) -> None:
        if self._size + more > MAX_EVENT_CHARACTERS:
            raise ValueError(f"an event of more than {MAX_EVENT_CHARACTERS} characters")

    def _field(self, name: str, value: str) -> None:
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = min(int(value[:9]) / 1000, LONGEST_RETRY_S)

    def _end(self) -> Iterator[Event]:
        self.last_id = self._id
        if self._data:
            yield Event(self._name or "message", "\n".join(self._data))
        self._name, self._data, self._size = "", [], 0


async def watch(transport: Transport, job_id: str) -> AsyncGenerator[RemoteJob, None]:
    """The job whenever its event stream reports on it, until it ends or no stream can be had.

    A stream that breaks is opened again behind the last event that came.
    """
    last_id = ""
    retries = transport.retries()
    while True:
        parser = EventParser()
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        try:
            async with transport.open("GET", "jobs", job_id, "events", headers=headers) as response:
                if response.content_type != "text/event-stream":
                    return  # also 204: there is no more to tell
                async for data in response.content.iter_any():
                    for event in parser.feed(data):
                        job = RemoteJob.read(json.loads(event.data))
                        retries.progress()
                        yield job
                        if job.final:
                            return
            raise ServerUnreachable(shown(transport.url("jobs", job_id)), "the event stream ended")
        except ServerUnreachable as error:
            last_id = parser.last_id or last_id
            error.retry_after_s = parser.retry_s
            try:
                await retries.pause(error)
            except ServerUnreachable:
                return
        except (ApiError, UnexpectedAnswer, KeyError, TypeError, ValueError, RecursionError):
            return
