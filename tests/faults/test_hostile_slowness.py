"""Clients that send slowly, or without end, or do not read what they are sent."""

import contextlib
import itertools
import sys
from collections.abc import Iterator

import pytest

from tests.faults.hostile import (
    Target,
    ask,
    drips,
    flood,
    get,
    is_closed,
    many_files,
    post,
    push,
    receive,
)
from tests.faults.impatient import impatient
from tests.program import eventually

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"

ALL = (0, 10**9)
"""A range whose primes are half a gigabyte."""


BUFFER_BYTES = 160 * 2**20
"""What results on their way to clients may take of the memory, and a little more."""


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A server with little patience."""
    flags = ("--stall-timeout-s", "1", "--memory-bytes", "768M")
    with Target(*flags, program=impatient(), silent=False) as target:
        yield target


# --- heads -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(
            b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 4000, id="head"
        ),
        pytest.param(b"\r\n" * 2000, id="empty lines", marks=pytest.mark.slow),
        pytest.param(b"GET /" + b"a" * 4000, id="first line", marks=pytest.mark.slow),
    ],
)
def test_a_head_that_drips_is_cut(target: Target, head: bytes) -> None:
    """However often a byte comes, also behind a request that was answered."""
    with target.attacked(), target.connect() as first, target.connect() as second:
        second.sendall(get("/health/live"))
        assert receive(second).status == 200
        for client in (first, second):
            assert drips(client, (head[i : i + 1] for i in range(len(head)))) == b""


def test_thousands_of_heads_that_never_end_are_cut(target: Target) -> None:
    """At once, and they cost little as long as they are there."""
    with target.attacked(), many_files(2000) as stack:
        head = b"GET /jobs HTTP/1.1\r\nX: " + b"a" * 8000
        clients = push(stack, target.crowd(2000, head))
        target.is_well()
        assert all(is_closed(client) for client in clients)


@pytest.mark.parametrize(
    "request_", [post("/jobs?start=4&end=11", JSON, body=b"{}"), get("/jobs")], ids=["body", "head"]
)
def test_a_request_in_parts_does_not_make_the_next_slow(target: Target, request_: bytes) -> None:
    """A connection whose last request came in several pieces is idle, not slow."""
    with target.connect() as client, target.connect() as slow:
        for piece in (request_[:20], request_[20:-2], request_[-2:]):
            client.sendall(piece)
            target.is_well()
        assert receive(client).status in (200, 202)
        slow.sendall(request_[:20])
        assert is_closed(slow)
        client.sendall(get("/health/live"))
        assert receive(client).status == 200


# --- bodies ----------------------------------------------------------------------------------


def test_a_body_that_drips_is_given_up(target: Target) -> None:
    """With 408, and the connection is closed."""
    with target.attacked(), target.connect() as client:
        body = itertools.repeat(b"1\r\n \r\n", 10_000)
        answer = drips(client, itertools.chain([post("/jobs", JSON, CHUNKED)], body))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"urn:primesvc:problem:request-timed-out" in answer
        assert is_closed(client)


@pytest.mark.slow
def test_a_body_that_was_promised_and_does_not_come_is_given_up(target: Target) -> None:
    """Also by a client that waits to be told to send it."""
    with target.attacked(), target.connect() as client:
        client.sendall(
            get("/jobs", JSON, "Content-Length: 2", "Expect: 100-continue", method="POST")
        )
        answer = receive(client)
        assert answer.status == 100
        answer = receive(client, answer.rest)
        assert answer.status == 408
        assert is_closed(client)


@pytest.mark.parametrize(
    "path",
    ["/jobs", pytest.param("/nowhere", marks=pytest.mark.slow), "/primes?start_num=4&end_num=11"],
)
@pytest.mark.parametrize(
    "length", [CHUNKED, pytest.param(f"Content-Length: {10**15}", marks=pytest.mark.slow)]
)
def test_a_body_without_end_is_not_read_for_long(target: Target, path: str, length: str) -> None:
    """The answer comes without it, nothing of it is kept, and the connection is closed."""
    wanted = {"/jobs": 413, "/nowhere": 404}.get(path, 200)
    with target.attacked(bound_bytes=16 * 2**20), target.connect() as client:
        client.sendall(get(path, JSON, length, method="POST") + b"10000\r\n" + b" " * 2**16)
        assert receive(client).status == wanted
        assert flood([client], b"\r\n10000\r\n" + b" " * 2**16) > 2**16


@pytest.mark.slow
def test_a_hundred_bodies_without_end_are_cut(target: Target) -> None:
    """In chunks of a byte, which are the dearest to read; others are served meanwhile."""
    with target.attacked(), many_files(100) as stack:
        clients = push(stack, target.crowd(100, post("/jobs", JSON, CHUNKED)))
        flood(clients, b"1\r\n \r\n" * 10_000, meanwhile=target.is_well)


def test_a_body_that_is_far_too_long_ends_the_connection(target: Target) -> None:
    """Also one that has an end: the answer comes, and what is behind is not looked for."""
    body = b" " * 3 * 2**16
    with target.attacked(), target.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(post("/primes?start_num=4&end_num=11", body=body) + get("/jobs"))
        answer = receive(client)
        assert (answer.status, answer.rest) == (200, b"")
        assert receive(client).status == 0


def test_bodies_in_codings_are_not_decoded(target: Target) -> None:
    """What a few bytes may grow to when they are decoded is not found out."""
    with target.attacked(bound_bytes=8 * 2**20):
        for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "nonsense", "\xff"):
            body = b"\x1f\x8b\x08" + bytes(10_000)
            answer = ask(target, post("/jobs", JSON, f"Content-Encoding: {coding}", body=body))
            assert answer.status == 415
            assert answer.problem()["type"] == "urn:primesvc:problem:unsupported-media-type"


# --- answers ---------------------------------------------------------------------------------


def test_who_pipelines_and_does_not_read_is_cut(target: Target) -> None:
    """Answers that do not fit are not made, and one that is not taken is not kept."""
    requests = get("/openapi.json") * 1000
    with target.attacked(bound_bytes=32 * 2**20), many_files(64) as stack:
        clients = push(stack, [target.connect(receives_bytes=4096) for _ in range(16)])
        assert flood(clients, requests) > 0


def test_who_pipelines_and_reads_gets_everything(target: Target) -> None:
    """Thousands of requests at once are answered one by one, in order."""
    number = 5000
    with target.attacked(), target.connect() as client:
        client.sendall(get("/nowhere") + get("/health/live") * number)
        answer = receive(client)
        assert answer.status == 404
        for _ in range(number):
            answer = receive(client, answer.rest)
            assert (answer.status, answer.body) == (200, b'{"status": "live"}')
        assert answer.rest == b""


@pytest.mark.parametrize(
    "number", [60, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(120)])]
)
def test_readers_that_stop_reading_are_cut(target: Target, number: int) -> None:
    """What they are sent stays within its part of the memory, and more of them are refused."""
    job_id = target.server.submit(*ALL)
    whole = get(f"/jobs/{job_id}/primes?format=text")
    assert ask(target, get(f"/jobs/{job_id}?wait=30")).json()["state"] == "succeeded"
    with target.attacked(bound_bytes=BUFFER_BYTES), many_files(number) as stack:
        before, files = target.memory_bytes, target.files
        clients = push(stack, target.crowd(number, whole, receives_bytes=4096))
        answers = [receive(client, body=False) for client in clients]
        assert target.memory_bytes - before <= BUFFER_BYTES
        target.is_well()
        sent = [answer for answer in answers if answer.status == 200]
        refused = [answer for answer in answers if answer.status == 503]
        assert len(sent) + len(refused) == number
        assert len(sent) >= 40
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        # Those that were refused are idle: they may stay.
        eventually(lambda: target.files <= files + len(refused) + 2)
    assert len(target.server.errors) <= number, "a line for each that was cut, at the most"


def test_event_streams_that_nobody_reads_are_bounded(target: Target) -> None:
    """There is a limit of them, beyond which clients are told when to come again."""
    job_id = target.server.submit(10**18, 10**18 + 10**11)
    with target.attacked(), many_files(2000) as stack:
        events = get(f"/jobs/{job_id}/events")
        clients = push(stack, target.crowd(2000, events, receives_bytes=4096))
        answers = [receive(client, body=False) for client in clients]
        assert [answer.status for answer in answers].count(200) == 1000
        refused = [answer for answer in answers if answer.status == 503]
        assert len(refused) == 1000
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        target.is_well()
        assert ask(target, get(f"/jobs/{job_id}/cancel", method="POST")).status == 200


@pytest.mark.slow
def test_thousands_that_wait_may_leave(target: Target) -> None:
    """What they waited for goes on, and of them nothing is left."""
    job_id = target.server.submit(10**18, 10**18 + 10**11)
    with target.attacked():
        with many_files(2000) as stack:
            push(stack, target.crowd(2000, get(f"/jobs/{job_id}?wait=60")))
            target.is_well()
        assert ask(target, get(f"/jobs/{job_id}")).json()["state"] == "running"
        assert ask(target, get(f"/jobs/{job_id}/cancel", method="POST")).status == 200
