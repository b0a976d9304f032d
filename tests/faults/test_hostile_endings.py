"""Clients that end their side of a connection, before, while and after they are answered."""

import socket
import sys
from collections.abc import Iterator

import pytest

from tests.faults.hostile import Target, ask, get, is_closed, post, receive
from tests.faults.impatient import impatient
from tests.program import FILE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

JSON = "Content-Type: application/json"

ALIVE = get("/health/live")

FOREVER = (10**18, 10**18 + 10**11)
"""A range that takes longer than any test."""


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A server that waits for news for a client that sends no more for a second only."""
    with Target(program=impatient()) as target:
        yield target


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(ALIVE, id="get"),
        pytest.param(b"GET /health/live HTTP/1.0\r\n\r\n", id="HTTP/1.0"),
        pytest.param(post("/jobs?start=4&end=11"), id="post"),
        pytest.param(post("/jobs", JSON, body=b'{"start": 4, "end": 11}'), id="body"),
        pytest.param(
            post("/jobs?start=1000000000000&end=1000100000000&kind=count", "Prefer: wait=20"),
            id="work",
        ),
    ],
)
def test_who_sends_no_more_gets_the_answer(target: Target, request_: bytes) -> None:
    """The whole answer, and then the end."""
    with target.attacked(), target.connect() as client:
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        answer = receive(client)
        assert answer.status in (200, 202)
        assert answer.body
        assert is_closed(client)


def assert_answered(client: socket.socket, number: int) -> None:
    """After the end of what was sent so many answers come, and then the end."""
    client.shutdown(socket.SHUT_WR)
    answer = receive(client)
    for _ in range(number - 1):
        assert answer.status == 200
        answer = receive(client, answer.rest)
    assert answer.status == 200
    assert is_closed(client)


def test_all_that_was_asked_before_the_end_is_answered(target: Target) -> None:
    """Hundreds of requests in one go, and then the end."""
    number = 300
    with target.attacked(), target.connect() as client:
        client.sendall(ALIVE * number)
        assert_answered(client, number)


def test_who_reads_slowly_after_the_end_gets_all_answers(target: Target) -> None:
    """They are more than sockets hold, so some are made only once others were taken."""
    number = 400
    with target.attacked(), target.connect(receives_bytes=4096) as client:
        client.sendall(get("/static/page.js") * number)
        assert_answered(client, number)


def test_who_sends_no_more_gets_the_file(target: Target) -> None:
    """A download goes on as long as it is taken, to its last byte."""
    job_id = target.server.submit(*FILE)
    whole = get(f"/jobs/{job_id}/primes?format=text")
    assert ask(target, get(f"/jobs/{job_id}?wait=30")).json()["state"] == "succeeded"
    with target.attacked():
        answer = ask(target, whole, half=True)
    assert answer.status == 200
    assert len(answer.body) == int(answer.headers["content-length"]) > 10**7
    assert answer.body.endswith(b"\n29999999\n")


def test_who_waits_for_news_must_not_have_ended(target: Target) -> None:
    """It cannot be told from one that left, so it is not waited for without bound."""
    job_id = target.server.submit(*FOREVER)
    with target.attacked(), target.connect() as client:
        client.sendall(get(f"/jobs/{job_id}?wait=60"))
        client.shutdown(socket.SHUT_WR)
        assert is_closed(client)
        assert ask(target, get(f"/jobs/{job_id}")).json()["state"] == "running"
        assert ask(target, get(f"/jobs/{job_id}/cancel", method="POST")).status == 200


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(ALIVE[:-2], id="head"),
        pytest.param(post("/jobs", JSON, body=b"{}")[:-1], id="body"),
        pytest.param(get("/jobs", JSON, "Transfer-Encoding: chunked", method="POST"), id="chunks"),
    ],
)
def test_a_request_that_is_not_whole_is_not_answered(target: Target, start: bytes) -> None:
    """The connection is closed, if its body was not waited for already."""
    with target.attacked(), target.connect() as client:
        client.sendall(start)
        client.shutdown(socket.SHUT_WR)
        assert receive(client).status in (0, 408)
        assert is_closed(client)
