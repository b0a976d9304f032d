"""Numbers, ids and encodings that are almost what they should be, or too much of it."""

import json
import sys
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.faults.hostile import Answer, Target, ask, get, post

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

JSON = "Content-Type: application/json"

DIGITS = 100_000
FITTING = 8_000
"""Digits that fit a line of a head, and are more than Python reads of a number by itself."""

ID = "fa406b46-00c5-559f-acd0-89e1e40bb04f"
"""The job for [4, 11]."""


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A server that knows one job, and says nothing of all this."""
    with Target() as target, target.attacked():
        assert target.server.submit(4, 11) == ID
        yield target


def is_refused(answer: Answer, *statuses: int) -> None:
    """Assert that it is an error of the client, told in few words."""
    assert answer.status in statuses, answer
    answer.problem()
    assert len(answer.body) < 2000


# --- numbers ---------------------------------------------------------------------------------


NUMBERS = {
    "digits": "9" * FITTING,
    "minus": "-" + "9" * FITTING,
    "power": "10**" + "9" * FITTING,
    "tower": "9" + "**9" * 2000,
    "caret": "2^" + "9" * FITTING,
    "exponent": "1e" + "9" * FITTING,
    "negative exponent": "1e-" + "9" * FITTING,
    "fraction": "0." + "9" * FITTING,
    "underscores": "1" + "_" * FITTING,
    "blanks": "1" + "+" * FITTING + "1",
    "huge exponent": "1e999999999",
    "not a number": "nan",
    "infinity": "inf",
    "hex": "0x10",
    "wide digits": quote("\uff14\uff12"),
    "arabic digits": quote("\u0664\u0662"),
    "superscript": quote("4\u00b2"),
    "NUL": "4%00",
    "empty": "",
}


@pytest.mark.parametrize("text", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize(
    "request_",
    [
        "POST /primes?start_num={}&end_num=11",
        "POST /primes?start_num=4&end_num={}",
        "GET /primes?start={}&end=11",
        "GET /primes?start=4&end={}&format=csv",
        "GET /primes?start=4&end=11&limit={}",
        "POST /jobs?start={}&end=11",
        "POST /jobs?start=4&end={}&dry_run=true",
        f"GET /jobs/{ID}/primes?offset={{}}",
        f"GET /jobs/{ID}/primes?limit={{}}",
        "GET /jobs?limit={}",
        f"GET /jobs/{ID}?wait={{}}",
    ],
)
def test_numbers_in_the_query_are_read_or_refused(target: Target, request_: str, text: str) -> None:
    """However long they are, and in whatever form."""
    method, path = request_.format(text).split(" ", 1)
    answer = ask(target, get(path, method=method))
    if "wait" in path and answer.status == 200:
        assert text[:1] in "019"  # the job is done: nothing is waited for
        return
    is_refused(answer, 400, 422)


def test_numbers_without_end_in_the_query_are_refused(target: Target) -> None:
    """A hundred thousand digits fit no line."""
    for path in ("/primes?start_num=4&end_num=", "/jobs?start=4&end=", f"/jobs/{ID}?wait="):
        is_refused(ask(target, get(path + "9" * DIGITS, method="POST")), 400)


@pytest.mark.parametrize(
    ("start", "status"),
    [
        ("9" * DIGITS, 413),
        ('"' + "9" * DIGITS + '"', 413),
        ("9" * 15_000, 400),
        ("-" + "9" * 15_000, 400),
        ('"' + "9" * 15_000 + '"', 400),
        ("1e" + "9" * 15_000, 400),
        ("0." + "9" * 15_000, 400),
        ("1" + "0" * 15_000 + "e-15000", 400),
        ("1e999999999", 400),
        ("[" * 8000 + "]" * 8000, 400),
        ('{"a":' * 2500 + "1" + "}" * 2500, 400),
        ("[[1,2],{}]", 400),
        ("NaN", 400),
        ("-Infinity", 400),
        ("true", 400),
        ("null", 400),
        ("1.5", 400),
        ('"\\u0000"', 400),
        ('"\\ud800"', 400),
        ('"\\u0664"', 400),
    ],
    ids=lambda value: str(value)[:12],
)
def test_numbers_in_json_are_read_or_refused(target: Target, start: str, status: int) -> None:
    """Long ones, deep ones, and those that JSON has not."""
    for body in (f'{{"start": {start}, "end": 11}}', f'{{"start": 4, "end": {start}}}'):
        is_refused(ask(target, post("/jobs", JSON, body=body.encode())), status)


@pytest.mark.parametrize("digits", [FITTING, DIGITS])
@pytest.mark.parametrize(
    ("header", "path", "fine"),
    [
        ("Range: bytes={}-", f"/jobs/{ID}/primes", 200),
        ("Range: bytes=-{}", f"/jobs/{ID}/primes", 200),
        ("Range: bytes=0-{}", f"/jobs/{ID}/primes", 200),
        ("Range: bytes={}-0", f"/jobs/{ID}/primes", 200),
        ("Prefer: wait={}", f"/jobs/{ID}", 200),
        ("Last-Event-ID: {}", f"/jobs/{ID}/events", 200),
        ('If-Range: "{}"', f"/jobs/{ID}/primes", 200),
        ('If-None-Match: "{}"', f"/jobs/{ID}/primes", 200),
        ("Accept: text/csv;q=0.{}", f"/jobs/{ID}/primes", 200),
        ("Accept: text/csv;q={}", f"/jobs/{ID}/primes", 406),
        ("Accept-Encoding: gzip;q={}", f"/jobs/{ID}/primes", 200),
        ("X-Request-ID: {}", "/health/live", 200),
        ("X-Forwarded-For: {}", "/health/live", 200),
        ("Content-Length: {}", "/health/live", 400),
        ("Host: localhost:{}", "/health/live", 400),
    ],
)
def test_numbers_in_headers_are_read_or_refused(
    target: Target, header: str, path: str, fine: int, digits: int
) -> None:
    """Those that fit a line are numbers as any; those that do not are refused."""
    answer = ask(target, get(path, header.format("9" * digits)))
    assert answer.status == (fine if digits == FITTING else 400), answer
    if answer.status >= 400:
        answer.problem()


# --- ids -------------------------------------------------------------------------------------


ALMOST = {
    "one short": ID[:-1],
    "one long": ID + "0",
    "no dashes": ID.replace("-", ""),
    "dashes elsewhere": ID.replace("-", "")[:32] + "----",
    "only dashes": "-" * 36,
    "urn": "urn:uuid:" + ID,
    "urn of the length": "urn:uuid:" + ID.replace("-", "")[:27],
    "braces": f"{{{ID}}}",
    "braces of the length": "{" + ID[1:-1] + "}",
    "no hex digit": "g" + ID[1:],
    "braces instead of dashes": "{{{{" + ID.replace("-", ""),
    "urn instead of dashes": "urn:" + ID.replace("-", ""),
    "wide digit": quote(ID.replace("4", "\uff14", 1)),
    "arabic digit": quote(ID.replace("4", "\u0664", 1)),
    "underscore": "0_" + ID[2:],
    "plus": "+" + ID[1:],
    "0x": "0x" + ID[2:],
    "blank before": "%20" + ID[1:],
    "newline behind": ID + "%0a",
    "NUL behind": ID + "%00",
    "NUL within": ID[:8] + "%00" + ID[9:],
    "slash within": ID[:8] + "%2f" + ID[9:],
    "dots": "..%2f" + ID,
    "invalid UTF-8": "%ff%fe" + ID[2:],
    "overlong UTF-8": "%c0%af" + ID[2:],
    "surrogate": "%ed%a0%80" + ID[3:],
    "half an escape": "%f" + ID[2:],
    "another": str(uuid.UUID(int=0)),
    "long": "f" * 7000,
}


@pytest.mark.parametrize("job_id", ALMOST.values(), ids=ALMOST)
def test_ids_that_are_almost_uuids_are_unknown(target: Target, job_id: str) -> None:
    """Everywhere, and nothing is done about the job they resemble."""
    is_refused(ask(target, get(f"/result/{job_id}")), 404)
    for method, path in (
        ("GET", "/jobs/{}"), ("GET", "/jobs/{}/events"), ("GET", "/jobs/{}/primes"),
        ("POST", "/jobs/{}/cancel"), ("DELETE", "/jobs/{}"),
    ):  # fmt: skip
        is_refused(ask(target, get(path.format(job_id), method=method)), 404)
    assert ask(target, get(f"/jobs/{ID}")).json()["state"] == "succeeded"


# --- encodings -------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """JSON as text."""
    return json.dumps(value, ensure_ascii=False)


BODIES = {
    "UTF-16": text_of({"start": 4, "end": 11}).encode("utf-16"),
    "UTF-32": text_of({"start": 4, "end": 11}).encode("utf-32"),
    "invalid UTF-8": b'{"start": 4, "end": "\xff\xfe"}',
    "overlong UTF-8": b'{"start": 4, "end": "\xc0\xaf"}',
    "surrogates": b'{"start": 4, "end": "\xed\xa0\x80"}',
    "Latin-1": '{"start": 4, "end": "é"}'.encode("latin-1"),
    "NUL": b'{"start": 4, "end": 11}\x00',
    "NULs": bytes(100),
    "cut": b'{"start": 4, "end": 1',
    "two": b'{"start": 4, "end": 11}{}',
    "array": b"[4, 11]",
    "text": b'"4, 11"',
    "another kind": b'{"start": 4, "end": 11, "kind": "\\ud800"}',
    "nothing but blanks": b" \n ",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_bodies_in_other_encodings_are_refused(target: Target, body: bytes) -> None:
    """JSON is UTF-8."""
    answer = ask(target, post("/jobs", JSON, body=body))
    if body.startswith((b"\xff\xfe", b"\x00")) and answer.status < 400:
        # RFC 4627 allowed them, and they say the same.
        assert answer.json()["id"] == ID
        return
    is_refused(answer, 400)


QUERIES = ("%ff%fe", "%c0%af", "%ed%a0%80", "%00", "%", "%zz", "%u0031", "%e2%82", "4%0d%0aX:y")


@pytest.mark.parametrize("text", QUERIES)
def test_queries_in_other_encodings_are_refused(target: Target, text: str) -> None:
    """Wherever something is read of them; and no line of a head can be put in by one."""
    for method, path in (
        ("POST", f"/primes?start_num={text}&end_num=11"),
        ("GET", f"/primes?start={text}&end=11"),
        ("GET", f"/primes?start=4&end=11&format={text}"),
        ("POST", f"/jobs?start={text}&end=11"),
        ("POST", f"/jobs?start=4&end=11&kind={text}"),
        ("GET", f"/jobs?state={text}"),
        ("GET", f"/jobs/{ID}/primes?format={text}"),
        ("GET", f"/jobs/{ID}/primes?offset={text}"),
    ):
        answer = ask(target, get(path, method=method))
        is_refused(answer, 400, 406)
        assert "x" not in answer.headers


@pytest.mark.parametrize("text", ["\xff\xfe", "\xed\xa0\x80", "é", "=?utf-8?b?4oCm?="])
def test_headers_in_other_encodings_do_no_harm(target: Target, text: str) -> None:
    """What is not understood is nothing; what must be understood is refused."""
    harmless = [f"{name}: {text}" for name in ("Accept", "Prefer", "Last-Event-ID", "X-Request-ID",
                "If-None-Match", "If-Range", "Range", "Accept-Encoding", "Accept-Language",
                "User-Agent", "Cookie", "Referer", "X-Forwarded-For")]  # fmt: skip
    for line in harmless:
        answer = ask(target, get(f"/jobs/{ID}/primes", line))
        assert answer.status in (200, 406), (line, answer)
    is_refused(ask(target, post("/jobs", f"Content-Type: {text}", body=b"{}")), 415)
    is_refused(ask(target, post("/jobs?start=4&end=11", f"Origin: {text}")), 403)


def test_queries_and_heads_of_thousands_of_parts_do_no_harm(target: Target) -> None:
    """Reading them takes no longer than reading their bytes."""
    many = "&".join(["start=4"] * 900)
    assert ask(target, get(f"/jobs?{many}&end=11", method="POST")).status in (200, 202, 400)
    is_refused(ask(target, get("/primes?" + "&".join(["a=1"] * 1500), method="POST")), 400)
    is_refused(ask(target, get("/jobs?" + "&" * 7000, method="POST")), 400)
    ranges = "Range: bytes=" + ",".join(["0-0"] * 1900)
    assert ask(target, get(f"/jobs/{ID}/primes", ranges)).status in (200, 206, 416)
    for header in (
        "Accept: " + "a/b," * 1900,
        "Accept: " + "*" * 8000,
        "Accept-Encoding: " + "gzip," * 1500,
        "If-None-Match: " + '"a",' * 1900,
        "Prefer: " + "wait=1," * 1100,
    ):
        assert ask(target, get(f"/jobs/{ID}/primes", header)).status in (200, 406)
