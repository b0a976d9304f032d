"""What is no HTTP, or HTTP of a kind that others read differently."""

import contextlib
import os
import random
import sys
from collections.abc import Iterator

import pytest

from tests.faults.hostile import Target, ask, get, is_closed, post, receive
from tests.faults.impatient import impatient
from tests.faults.test_restarts import SEED

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

ALIVE = get("/health/live")
JSON = "Content-Type: application/json"
HOST = b"Host: localhost\r\n"

TLS = bytes.fromhex("16030100c8010000c40303") + bytes(189)
"""The beginning of a ClientHello."""

NO_HTTP = {
    "a blank line first": b" \r\n\r\n",
    "no version": b"GET /health/live\r\n" + HOST + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.9": b"GET /health/live HTTP/1.9\r\n" + HOST + b"\r\n",
    "HTTP/9.9": b"GET /health/live HTTP/9.9\r\n" + HOST + b"\r\n",
    "TLS": TLS,
    "bytes": bytes(range(256)) + b"\r\n\r\n",
    "NULs": bytes(10_000),
    "bare LF": b"GET /health/live HTTP/1.1\nHost: localhost\n\n",
    "bare CR": b"GET /health/live HTTP/1.1\rHost: localhost\r\r",
    "no Host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "two Hosts": get("/health/live", "Host: evil.example"),
    "no method": b" / HTTP/1.1\r\n" + HOST + b"\r\n",
    "small method": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown method": b"BREW /jobs HTTP/1.1\r\n" + HOST + b"\r\n",
    "long method": b"G" * 100_000 + b" / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no target": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "relative target": b"GET jobs HTTP/1.1\r\n" + HOST + b"\r\n",
    "star": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "broken authority": b"GET http://[::bad/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "broken port": b"GET http://localhost:99999999/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in the target": b"GET /health /live HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes in the path": b"GET /jobs/\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes in the query": b"GET /jobs?state=\xc3\x28 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the path": b"GET /jobs/\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "long query": b"GET /jobs?state=" + b"9" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "many headers": get("/health/live", *(f"X-{n}: y" for n in range(100_000))),
    "long header": get("/health/live", "X: " + "a" * 100_000),
    "long name": get("/health/live", "a" * 100_000 + ": x"),
    "no name": get("/health/live", ": x"),
    "no colon": get("/health/live", "x"),
    "space before the colon": get("/health/live", "X : y"),
    "folded header": get("/health/live", "X: a\r\n b"),
    "NUL in a header": get("/health/live", "X: a\x00b"),
    "CR in a header": get("/health/live", "X: a\rb"),
}

SMUGGLED = b"0\r\n\r\n" + get("/openapi.json")
"""What one reader takes for a body and another for a request."""

CONTRADICTIONS = {
    "two lengths": ("Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"),
    "a length twice": ("Content-Length: 5", "Content-Length: 5"),
    "lengths in a list": (f"Content-Length: 0, {len(SMUGGLED)}",),
    "negative length": ("Content-Length: -1",),
    "signed length": ("Content-Length: +5",),
    "length in hex": ("Content-Length: 0x5",),
    "no length": ("Content-Length: ",),
    "long length": ("Content-Length: " + "9" * 5000,),
    "length beyond 2^64": ("Content-Length: 18446744073709551617",),
    "length and chunks": (f"Content-Length: {len(SMUGGLED)}", "Transfer-Encoding: chunked"),
    "chunks and length": ("Transfer-Encoding: chunked", f"Content-Length: {len(SMUGGLED)}"),
    "chunks before another coding": ("Transfer-Encoding: chunked, identity",),
    "another coding": ("Transfer-Encoding: xchunked",),
    "chunks twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "space before the colon": ("Transfer-Encoding : chunked",),
    "folded coding": ("Transfer-Encoding:\r\n chunked",),
    "a tab in the coding": ("Transfer-Encoding: \x0bchunked",),
}

CHUNKS = {
    "no number": b"zz\r\n",
    "beyond 2^64": b"f" * 17 + b"\r\n",
    "10^5 digits": b"f" * 100_000,
    "negative": b"-1\r\n",
    "no line end": b"1\r\nab",
    "bare LF": b"1\na\n0\n\n",
}


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A server with little patience, which says nothing of all this."""
    with Target(program=impatient()) as target, target.attacked():
        yield target


def is_refused(target: Target, data: bytes) -> None:
    """Send it on a connection of its own: one answer, 400, and the end."""
    with target.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
        answer = receive(client)
        assert answer.status == 400
        assert answer.problem()["type"] == "about:blank"
        assert "cannot be read as HTTP" in answer.problem()["detail"]
        assert answer.rest == b"", "there was only one request"
        assert is_closed(client)


@pytest.mark.parametrize("data", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_gets_a_problem_document(target: Target, data: bytes) -> None:
    """And nothing behind it is taken for a request."""
    is_refused(target, data + ALIVE)


@pytest.mark.parametrize("lines", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_bodies_whose_end_is_in_doubt_are_refused(target: Target, lines: tuple[str, ...]) -> None:
    """No request can be smuggled through in one."""
    is_refused(target, get("/jobs?start=4&end=11", *lines, method="POST") + SMUGGLED)


@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("path", ["/jobs", "/primes?start_num=4&end_num=11"])
def test_broken_chunks_are_refused(target: Target, path: str, chunk: bytes) -> None:
    """Those that come with the head."""
    is_refused(target, get(path, JSON, "Transfer-Encoding: chunked", method="POST") + chunk)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_long_body_that_is_wanted_is_read(target: Target, chunked: bool) -> None:
    """It is no attack, though many times as long as what is read of one that nobody wants."""
    body = b'{"numbers": [' + b"101, " * 50_000 + b"100]}"
    headers = [JSON]
    if chunked:
        headers.append("Transfer-Encoding: chunked")
        body = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    answer = ask(target, post("/numbers", *headers, body=body))
    assert answer.status == 200, answer
    assert answer.json()["prime"] == [True] * 50_000 + [False]


def test_what_others_use_http_for_is_declined(target: Target) -> None:
    """Tunnels, upgrades, expectations: nothing that is refused by a traceback or an open end."""
    upgrade = ("Connection: Upgrade", "Upgrade: {}", "Sec-WebSocket-Version: 13")
    for protocol in ("websocket", "h2c", "TLS/1.3", "\xff"):
        lines = [line.format(protocol) for line in upgrade]
        with target.connect() as client:
            client.sendall(get("/health/live", *lines))
            assert receive(client).status == 200
            client.sendall(get("/nowhere"))
            assert receive(client).status == 404
    for method, path in (("CONNECT", "localhost:80"), ("OPTIONS", "*")):
        assert ask(target, get(path, method=method)).status in (404, 405)
    assert ask(target, get("/jobs", method="TRACE")).problem()["status"] == 405
    answer = ask(target, post("/jobs?start=4&end=11", "Expect: the-unexpected"))
    assert answer.problem()["status"] == 417
    assert ask(target, get("/health/live", f"Cookie: {'=;' * 4000}")).status == 200


def test_old_http_is_answered_and_closed(target: Target) -> None:
    """HTTP/1.0 needs no Host, and has no connections that stay."""
    with target.connect() as client:
        client.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
        answer = receive(client)
        assert (answer.status, answer.body) == (200, b'{"status": "live"}')
        assert answer.rest == b""
        assert is_closed(client)


def test_requests_in_pieces_are_put_together(target: Target) -> None:
    """Byte by byte."""
    with target.connect() as client:
        for byte in post("/jobs?start=4&end=11", JSON, body=b"{}"):
            client.sendall(bytes([byte]))
        assert receive(client).status in (200, 202)


def test_noise_is_refused_or_read(target: Target) -> None:
    """Requests with bytes changed, cut out and put in: every answer is sound, none is a 5xx."""
    noise = random.Random(SEED)  # noqa: S311 - no secret
    requests = [
        get("/jobs?state=running&limit=3", "Accept: text/csv;q=0.5", "Prefer: wait=0"),
        post("/jobs", JSON, body=b'{"start": 4, "end": 11, "kind": "count"}'),
        post("/primes?start_num=4&end_num=11", "Origin: http://localhost"),
    ]
    for number in range(int(os.environ.get("PRIMESVC_TEST_STEPS", "1500"))):
        data = bytearray(noise.choice(requests))
        for _ in range(noise.randint(1, 4)):
            at = noise.randrange(len(data))
            change = noise.choice([b"", bytes([noise.randrange(256)]), b"\r\n", b"9" * 40])
            data[at : at + noise.randint(0, 2)] = change
        answer = ask(target, bytes(data), half=True)
        assert answer.status < 500, (SEED, number, bytes(data), answer)
        if answer.status >= 400 and not data.startswith((b"CONNECT", b"OPTIONS")):
            answer.problem()
