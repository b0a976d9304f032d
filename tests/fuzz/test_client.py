"""What a service sends to a client, in any bytes: a value, or one of the errors there are."""

import asyncio
import json
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from primesvc import PrimeClient
from primesvc.client.documents import RemoteJob
from primesvc.client.downloads import read_npy
from primesvc.client.events import LONGEST_RETRY_S, MAX_EVENT_CHARACTERS, EventParser
from primesvc.client.transport import _retry_after_s
from primesvc.errors import JobCancelled, JobFailed, JobNotFinished, RemoteError, UnexpectedAnswer
from primesvc.formats.binary import NPY
from primesvc.sieve.packed import Summary
from tests.client.test_retries import document
from tests.fuzz.search import cases, damages, misspelt
from tests.helpers import WAIT_S

# --- server-sent events --------------------------------------------------------------------------

STREAM = (
    "\ufeffretry: 1500\n\n: a comment\r\nevent: progress\r\nid: 7-running\r\ndata: {\r\n"
    "data: 1}\r\n\r\ndata\n\ndata:no\rdata:  two\r\rid: 8\n\nevent: done\ndata: ü€𝄞\n\n"
).encode()  # fmt: skip

lines = st.sampled_from([
    "data: x", "data:", "data", "event: a", "event", "id: 1", "id: a\0b", "id", "retry: 5",
    "retry: \u0661", "retry: " + "9" * 5000, ":", "", "", "", "x: y", "\ufeffdata: y", "\u2028",
])  # fmt: skip
ends = st.sampled_from(["\n", "\r\n", "\r", ""])
streams = st.one_of(
    st.lists(st.tuples(lines, ends).map("".join), max_size=20).map(lambda v: "".join(v).encode()),
    damages(STREAM),
    st.binary(max_size=200),
)


def events_of(stream: bytes) -> tuple[list[tuple[str, str]], str]:
    """The events of a whole stream and the last id, word for word as the standard says."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *whole, _ = re.split("\r\n|\n|\r", text)
    found, name, data, id_, last_id = [], "", "", "", ""
    for line in whole:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            last_id = id_
            if data:
                found.append((name or "message", data[:-1]))
            name = data = ""
        elif field == "event":
            name = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            id_ = value
    return found, last_id


@cases(300)
@given(streams, st.lists(st.integers(0, 200), max_size=10).map(sorted))
def test_any_stream_has_the_events_of_the_standard(stream: bytes, cuts: list[int]) -> None:
    """Whatever the bytes, and however they come: the events are those that the standard reads."""
    if stream.endswith(b"\r"):
        stream += b" "  # a parser that waits cannot know whether it is half of a line's end
    parser = EventParser()
    found = []
    for start, stop in zip([0, *cuts], [*cuts, None], strict=True):
        found += [tuple(event) for event in parser.feed(stream[start:stop])]
    assert (found, parser.last_id) == events_of(stream)
    assert parser.retry_s is None or 0 <= parser.retry_s <= LONGEST_RETRY_S


# --- documents -----------------------------------------------------------------------------------

NAMES = sorted(document())
junk = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
        st.sampled_from(["succeeded", "failed", "primes", "2026-01-01", "7", "-1", "\u0667"]),
        st.just(10**400), st.just(math.inf),
    ),
    lambda more: st.lists(more, max_size=3) | st.dictionaries(st.text(max_size=6), more),
    max_leaves=4,
)  # fmt: skip
changed = st.dictionaries(st.sampled_from(NAMES), junk, max_size=3)


@cases(400)
@given(st.one_of(changed.map(lambda more: document(**more)), junk))
@example(document(count=math.inf))
@example(document(start=4.5))
@example(document(error="a text", state="failed"))
@example(document(error={"detail": [1]}, state="failed"))
@example(document(state=None))
@example(document(progress=10**400))
@example(document(links=[1]))
def test_any_document_is_a_job_or_none(value: Any) -> None:
    """A document is a job of the types it should have, or one of three errors."""
    try:
        job = RemoteJob.read(value)
    except (KeyError, TypeError, ValueError):
        return
    assert type(job.id) is str
    assert isinstance(job.kind, str)
    assert job.state in ("queued", "running", "succeeded", "failed", "cancelled")
    for number in (job.start, job.end, job.count):
        assert type(number) is int
        assert number >= 0
    for seconds in (job.progress, job.rate, job.eta_s):
        assert seconds is None or math.isfinite(seconds)
    assert job.progress is not None
    assert job.links == dict(job.links)
    try:
        job.check()
    except (JobNotFinished, JobCancelled, JobFailed) as error:
        assert job.id in str(error)  # noqa: PT017 - either is right
    else:
        assert job.state == "succeeded"


# --- Retry-After ---------------------------------------------------------------------------------

DATES = [
    format_datetime(datetime(2026, 11, 24, 8, 27, 41, tzinfo=UTC), usegmt=True),
    "Tue, 24 Nov 2026 08:27:41 -0000", "24 Nov 26 08:27 +9999", "Tuesday, 24-Nov-26 08:27:41 GMT",
    "Tue Nov 24 08:27:41 2026", "1 Jan 1 0:0:0 +0000", "31 Dec 9999 23:59:59 -2359",
]  # fmt: skip


@cases(300)
@given(
    st.one_of(
        st.text(),
        st.text("0123456789.-+ e", max_size=30),
        st.sampled_from(["9" * 5000, "120", "1e5", "\u0661", "nan", "inf", "-1"]),
        misspelt(st.sampled_from(DATES), "0123456789+-:, ADGMNTacdeov"),
    )
)
@example("Tue, 99999999999999999999 Nov 2026 08:27:41 GMT")
@example("Tue, 24 Nov 2026 08:27:41 +99999999999999999999")
@example("1 Jan 1 0:0:0")
def test_any_wish_is_a_time_or_none(text: str) -> None:
    """`Retry-After` is some seconds, zero or more, or says nothing."""
    seconds = _retry_after_s(SimpleNamespace(headers={"Retry-After": text}))  # type: ignore[arg-type]
    assert seconds is None or seconds >= 0
    if text.isascii() and text.strip().isdigit():
        assert seconds == float(text)


# --- files ---------------------------------------------------------------------------------------

PRIMES = np.array([2, 3, 5, 7], "<u8")
FILE = NPY.head(Summary(4, 4)) + PRIMES.tobytes()


def with_header(text: bytes) -> bytes:
    """A file with this header."""
    return FILE[:8] + len(text).to_bytes(2, "little") + text + PRIMES.tobytes()


@cases(300)
@given(
    st.one_of(
        damages(FILE),
        st.binary(max_size=100).map(with_header),
        st.text("{}()[]'\"shapedcr<u8:,0123456789-+~ *\0\n", max_size=60).map(
            lambda text: with_header(text.encode())
        ),
    ),
    st.lists(st.integers(0, 200), max_size=5).map(sorted),
)
@example(with_header(b"(" * 900), [])
@example(with_header(b"-" * 900 + b"1"), [])
@example(with_header(b"[" * 90 + b"]" * 90), [])
@example(with_header(b"{'descr': '<u8', 'shape': (-4,)}"), [])
@example(with_header(b"{'descr': '<u8', 'shape': (True,)}"), [])
@example(with_header(b"{'descr': '<u8', 'shape': (9" + b"9" * 900 + b",)}"), [])
async def test_any_file_is_its_primes_or_an_error(data: bytes, cuts: list[int]) -> None:
    """Bytes are a whole file of primes, or an answer that was not expected."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        for start, stop in zip([0, *cuts], [*cuts, None], strict=True):
            yield data[start:stop]

    found = 0
    try:
        async for array in read_npy(chunks(), "url"):
            assert array.dtype == np.uint64
            found += len(array)
    except UnexpectedAnswer:
        return
    assert 8 * found <= len(data)


# --- answers -------------------------------------------------------------------------------------

BODY = json.dumps(document()).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
PROBLEM = b'{"type": "about:blank", "title": "No", "status": 503, "detail": "not now"}'
REFUSAL = (
    b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Type: application/problem+json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
ANSWERS = [HEAD % len(BODY) + BODY, REFUSAL % len(PROBLEM) + PROBLEM]


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    """An answer with this body."""
    return (HEAD % len(body) + body).replace(b"200 OK", status)


class Sender:
    """A server that sends the same bytes to everybody, and hangs up."""

    def __init__(self) -> None:
        self.data = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.data)
        writer.close()


@pytest.fixture
async def sender() -> AsyncIterator[tuple[Sender, str]]:
    """A server that sends what it is told to, and its address."""
    sends = Sender()
    server = await asyncio.start_server(sends, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield sends, f"http://127.0.0.1:{port}"


@cases(200)
@given(
    st.one_of(
        st.sampled_from(ANSWERS).flatmap(damages),
        damages(BODY).map(answer),
        junk.map(lambda value: answer(json.dumps(value).encode())),
        junk.map(lambda value: answer(json.dumps(value).encode(), b"422 No")),
        st.integers(100, 999).map(lambda status: answer(BODY, b"%d ?" % status)),
    )
)
@example(answer(b"[" * 10**5))
@example(answer(b"[" * 10**5, b"500 No"))
@example(answer(b'{"detail": ' + b"[" * 970 + b"]" * 970 + b"}", b"500 No"))
@example(REFUSAL.replace(b": 1", b": 24 Nov 2026 08:27:41 +99999999999999999999") % 0)
async def test_any_answer_is_a_job_or_an_error(sender: tuple[Sender, str], data: bytes) -> None:
    """Whatever a server sends, it is the document of a job, or one of the errors of a client."""
    sends, url = sender
    sends.data = data
    async with PrimeClient(url, retries=0, timeout_s=5) as client, asyncio.timeout(WAIT_S):
        try:
            job = await client.job("00000000-0000-4000-8000-000000000000")
        except RemoteError as error:
            assert len(str(error)) < 10_000  # noqa: PT017 - either is right
        else:
            assert isinstance(job, RemoteJob)


@cases(60)
@given(streams)
@example(b"data: " + b"[" * 10**5 + b"\n\n")
@example(b'data: {"start": 1e999}\n\n')
@example(b"x" * (MAX_EVENT_CHARACTERS + 1))
async def test_any_stream_is_followed_or_left(sender: tuple[Sender, str], stream: bytes) -> None:
    """An event stream of any bytes ends in what is known otherwise, or in an error of a client."""
    sends, url = sender
    sends.data = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + stream
    async with PrimeClient(url, retries=0, timeout_s=5) as client, asyncio.timeout(WAIT_S):
        running = RemoteJob.read(document(state="running"))
        with pytest.raises(RemoteError):
            await client.wait(running)
