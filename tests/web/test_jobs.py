"""The job API as its clients see it; every answer is also held against `openapi.json`."""

import asyncio
import gzip
import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from multidict import CIMultiDict
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Settings, create_app
from primesvc.kinds.base import NAMESPACE
from primesvc.web import bodies
from tests.helpers import WAIT_S, eventually, idle, naive_primes
from tests.oracles import PI_OF_POWERS
from tests.web.api import LONG, NO_JOB, Answer, Api, JsonObject
from tests.web.helpers import FaultyExecutor

Client = TestClient[web.Request, web.Application]

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


@pytest.fixture
def api(client: Client) -> Api:
    """The job API of an application on a free port."""
    return Api(client)


async def api_with(aiohttp_client: AiohttpClient, **settings: Any) -> Api:
    """The job API of an application with these settings."""
    return Api(await aiohttp_client(create_app(Settings(workers=2, **settings))))


def seconds(text: str) -> float:
    """The Unix time that a time of a document says."""
    assert TIME.fullmatch(text), text
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()


# --- POST /jobs: what is asked for ---------------------------------------------------------------

MILLION_FORMS = [
    "1000000", "0001000000", "1_000_000", "+1000000", " 1000000 ", "1e6", "1E6", "1e+6", "1.0e6",
    "10.00e5", "1000000.0", "10**6", "10^6", "10 ** 6", "2^20-48576", "2**19+475712",
]  # fmt: skip


async def test_every_form_of_a_number_is_the_same_number(api: Api) -> None:
    """A million is a million however it is written, as a JSON string and in the query."""
    expected = str(uuid.uuid5(NAMESPACE, "primes:1:1000000"))
    for form in MILLION_FORMS:
        in_body = await api.start(start=1, end=form)
        answer = await api.post("/jobs?start=1&end=" + form.replace("+", "%2B").replace(" ", "%20"))
        assert in_body["id"] == answer.document["id"] == expected, form
        assert answer.document["end"] == 1_000_000


async def test_every_form_of_a_json_number_is_read(api: Api) -> None:
    """JSON has several ways to write a whole number, and all are read."""
    for number in ("1000000", "1e6", "1E+6", "1.0e6", "1000000.0", "0.1e7"):
        body = f'{{"start": 0, "end": {number}}}'
        answer = await api.post("/jobs", data=body, headers={"Content-Type": "application/json"})
        assert answer.document["end"] == 1_000_000, number


async def test_no_digit_is_lost_near_the_end_of_the_line(api: Api) -> None:
    """Numbers near 2^64 arrive exactly, and leave exactly: as numbers, and as strings if wanted."""
    start, end = 2**64 - 60, 2**64 - 1
    await api.finish(start=start, end="2^64-1")
    answer = await api.post(f"/jobs?start={start}&end={end}&numbers=string")
    assert answer.document["start"] == str(start)
    assert answer.document["end"] == str(end)
    assert answer.document["count"] == "1"
    primes = await api.get(answer.document["links"]["primes"] + "?numbers=string")
    assert primes.document == ["18446744073709551557"]


async def test_the_kinds_have_ids_of_their_own(api: Api) -> None:
    """A job for primes has the id that POST /primes gives; one for their count has another."""
    contract = (await api.post("/primes?start_num=4&end_num=11")).document
    assert (await api.start(start=4, end=11))["id"] == contract
    assert (await api.start(start=4, end=11, kind="primes"))["id"] == contract
    count = await api.start(start=4, end=11, kind="count")
    assert count["id"] == str(uuid.uuid5(NAMESPACE, "count:4:11")) != contract
    assert (await api.post("/jobs?start=4&end=11&kind=count")).document["id"] == count["id"]


async def test_asking_again_does_nothing_again(api: Api) -> None:
    """The same wish has the same job: nothing is computed again, also while it runs."""
    done = await api.finish(start=0, end=10**6)
    calls = api.service.runtime.dispatcher.calls
    assert await api.start(start=0, end=10**6) == done
    assert api.service.runtime.dispatcher.calls == calls
    running = await api.start(**LONG)
    again = await api.start(**LONG)
    assert (again["id"], again["created"]) == (running["id"], running["created"])
    assert len(api.service.jobs) == 2


async def test_a_range_may_be_one_number(api: Api) -> None:
    """Unlike in the original contract the ends may be equal."""
    assert (await api.finish(start=7, end=7))["count"] == 1
    assert (await api.finish(start=0, end=0))["count"] == 0


async def test_a_count_is_a_count(api: Api) -> None:
    """A job of the kind `count` gives the published number, and has no primes to link to."""
    document = await api.finish(start=0, end="1e9", kind="count")
    assert document["count"] == PI_OF_POWERS[9]
    assert set(document["links"]) == {"self", "events"}


async def test_what_cannot_be_known_is_ignored(api: Api) -> None:
    """Members and parameters that nobody knows do no harm."""
    answer = await api.post("/jobs?other=1", json={"start": 4, "end": 11, "colour": "blue"})
    assert answer.status in (200, 202)


# --- POST /jobs: how it is answered --------------------------------------------------------------


async def test_an_unfinished_job_is_accepted(api: Api) -> None:
    """A new job is a 202 that says where it is, where its links lead, and when to ask again."""
    answer = await api.post("/jobs", json=LONG)
    job_id = answer.document["id"]
    assert answer.status == 202
    assert answer.headers["Location"] == f"/jobs/{job_id}"
    assert answer.headers["Content-Location"] == f"/jobs/{job_id}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.links == {
        "monitor": f"/jobs/{job_id}/events", "enclosure": f"/jobs/{job_id}/primes",
    }  # fmt: skip
    assert "Preference-Applied" not in answer.headers


async def test_a_finished_job_is_answered_at_once(api: Api) -> None:
    """A job that is done is a 200 with its document, as GET gives it, and nothing to wait for."""
    done = await api.finish(start=4, end=11)
    answer = await api.post("/jobs?numbers=string", json={"start": 4, "end": 11})
    assert answer.status == 200
    assert answer.headers["Location"] == f"/jobs/{done['id']}"
    assert answer.headers["Content-Location"] == f"/jobs/{done['id']}?numbers=string"
    assert "Retry-After" not in answer.headers
    assert set(answer.links) == {"monitor", "enclosure"}
    assert (await api.get(answer.headers["Content-Location"])).document == answer.document
    assert json.loads((await api.get(answer.links["enclosure"])).body) == [5, 7, 11]


PREFERENCES: list[tuple[list[str], str | None]] = [
    (["wait=0"], "wait=0"),
    (["WAIT=0"], "wait=0"),
    (['wait="0"'], "wait=0"),
    (["wait = 0"], "wait=0"),
    (["wait=0000000000000000000000"], "wait=0"),
    (["wait=0; foo=bar"], "wait=0"),
    (["foo; wait=9, wait=0"], "wait=0"),
    (['foo="a, wait=9", wait=0'], "wait=0"),
    (["wait=0, wait=9"], "wait=0"),
    (["wait=0", "wait=9"], "wait=0"),
    ([",, wait=0 ,"], "wait=0"),
    (["respond-async"], "respond-async"),
    (["Respond-Async, wait=0"], "respond-async, wait=0"),
    (["wait=0", "respond-async"], "respond-async, wait=0"),
    (['respond-async=""'], "respond-async"),
    (["respond-async=yes"], None),
    (["wait=x, wait=0"], None),
    (["wait"], None),
    (["wait="], None),
    (["wait=-1"], None),
    (["wait=1.5"], None),
    (["wait=1e3"], None),
    (["wait=²"], None),
    (['wait="0'], None),
    (["return=minimal, handling=lenient"], None),
    ([""], None),
    ([';;==,,"\\'], None),
]
"""Lines of `Prefer`, and what of them is followed for a job that takes longer."""


async def test_preferences_are_read_as_they_are_defined(api: Api) -> None:
    """`Prefer` is read as RFC 7240 has it: the first of a name counts, what is odd is ignored."""
    for lines, applied in PREFERENCES:
        headers = CIMultiDict([("Prefer", line) for line in lines])
        answer = await api.post("/jobs", json=LONG, headers=headers)
        assert answer.status == 202, lines
        assert answer.headers.get("Preference-Applied") == applied, lines


async def test_a_preferred_wait_ends_with_the_job(api: Api) -> None:
    """`Prefer: wait=N` is answered 200 when the job is done, long before N seconds are over."""
    wish = {"start": 0, "end": 10**8}
    for wait, applied in (("30", "wait=30"), ("9" * 30, "wait=60")):
        begun = time.monotonic()
        answer = await api.post(
            "/jobs", json=wish, headers={"Prefer": f"respond-async, wait={wait}"}
        )
        assert answer.status == 200
        assert answer.document["count"] == PI_OF_POWERS[8]
        # It was not answered asynchronously: that preference was not followed.
        assert answer.headers["Preference-Applied"] == applied
        assert time.monotonic() - begun < WAIT_S


async def test_a_preferred_wait_ends_in_time(api: Api) -> None:
    """`Prefer: wait=1` is answered 202 after a second if the job is not done by then."""
    begun = time.monotonic()
    answer = await api.post("/jobs", json=LONG, headers={"Prefer": "wait=1"})
    assert answer.status == 202
    assert answer.document["state"] == "running"
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert time.monotonic() - begun >= 1


# --- POST /jobs: what is refused -----------------------------------------------------------------

BAD_NUMBERS: list[object] = [
    None, True, False, [], [5], {}, {"a": 1}, "", " ", "x", "1.5", 1.5, "1e-3", 0.1, "1,000",
    "0x10", "1e", "e6", "10^", "^6", "2^-1", "1__0", "_1", "१००", "-1", -1, "-5e3", "1e99", 1e99,
    "9" * 41, "9" * 5000, "10**999", "99999999999999999999**999", "\x00", "1\n2", "NaN", "Infinity",
    "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("number", BAD_NUMBERS, ids=lambda number: ascii(number)[:20])
@pytest.mark.parametrize("name", ["start", "end"])
async def test_what_is_no_number_is_refused(api: Api, name: str, number: object) -> None:
    """A number that cannot be read is a 400 that names the parameter and repeats little of it."""
    answer = await api.post("/jobs", json={"start": 1, "end": 2, name: number})
    document = answer.problem(400, "invalid-parameter", says=f"{name}: ")
    assert len(document["detail"]) < 400
    assert len(api.service.jobs) == 0


@pytest.mark.parametrize(
    "number",
    ["1e999999999", "1e9999999999999999999999", "1e-9999999999999999999999", "0.000001e-99",
     "1" * 4301, "1" * 15_000, "-1e99", "1.00000000000000000000000000000000000001"],
    ids=lambda number: number[:24],
)  # fmt: skip
async def test_monstrous_json_numbers_are_refused_at_once(api: Api, number: str) -> None:
    """A number whose exponent or digits are huge is a 400 like any other, and costs nothing."""
    begun = time.process_time()
    body = f'{{"start": 0, "end": {number}}}'
    answer = await api.post("/jobs", data=body, headers={"Content-Type": "application/json"})
    answer.problem(400, "invalid-parameter", says="end: ")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "start: it is missing"),
        ("start=1", "end: it is missing"),
        ("start=&end=5", "start: "),
        ("start=5&end=4", "end: it must not be below start"),
        ("start=0&end=5&kind=prime", "kind: "),
        ("start=0&end=5&kind=", "kind: "),
        ("start=0&end=5&dry_run=maybe", "dry_run: "),
        ("start=0&end=5&dry_run=1", "dry_run: "),
        ("start=0&end=5&numbers=roman", "numbers: "),
        ("start=0&end=1e+6", "end: "),
    ],
)
async def test_what_is_missing_or_unknown_is_refused(api: Api, query: str, says: str) -> None:
    """A wish that is incomplete or contradicts itself is a 400 that says where."""
    (await api.post(f"/jobs?{query}")).problem(400, "invalid-parameter", says=says)


@pytest.mark.parametrize("name", ["start", "end", "kind", "dry_run"])
async def test_nothing_may_be_asked_for_twice(api: Api, name: str) -> None:
    """A parameter that stands in the query and in the body is refused, also if they agree."""
    wish = {"start": 1, "end": 2, "kind": "count", "dry_run": "true"}
    answer = await api.post(f"/jobs?{name}={wish[name]}", json=wish)
    answer.problem(400, "invalid-parameter", says=f"{name}: it is given twice")


async def test_ranges_beyond_the_limits_are_refused(aiohttp_client: AiohttpClient) -> None:
    """A range too long, or above 2^64 - 1, is a 422 that names the limit; the longest is not."""
    api = await api_with(aiohttp_client, max_span=1000)
    for dry_run in (False, True):
        wish = {"start": 1, "end": 1002, "dry_run": dry_run}
        document = (await api.post("/jobs", json=wish)).problem(422, "range-not-allowed")
        assert document["limit"] == 1000
    answer = await api.post("/jobs", json={"start": "2^64-5", "end": "2^64"})
    assert answer.problem(422, "range-not-allowed")["limit"] == 2**64 - 1
    assert (await api.finish(start=0, end=1000))["count"] == PI_OF_POWERS[3]


# --- POST /jobs: bodies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"nonsense", b"[", b'{"start": 0, "end": 10}}', b"{'start': 0}", b"\xff\xfe\xfd",
        b"\x00", b'{"start": NaN, "end": 10}', b'{"start": 0, "end": Infinity}',
        b'{"start": 01, "end": 10}',
        b"[" * 16_000, b'{"a":' * 3_000, b"[" * 8_000 + b"]" * 8_000, b'"' + b"\\" * 999,
    ],
    ids=lambda body: ascii(body[:12]),
)  # fmt: skip
async def test_what_is_no_json_is_refused(api: Api, body: bytes) -> None:
    """A body that is not JSON, or nested without end, is a 400."""
    answer = await api.post("/jobs", data=body, headers={"Content-Type": "application/json"})
    answer.problem(400, "invalid-parameter", says="body: ")


@pytest.mark.parametrize("body", ["null", "[]", '"start"', "5", "true", "[0, 10]", " 1e999 "])
async def test_what_is_no_object_is_refused(api: Api, body: str) -> None:
    """JSON that is no object is a 400 that shows one."""
    answer = await api.post("/jobs", data=body, headers={"Content-Type": "application/json"})
    answer.problem(400, "invalid-parameter", says='body: it must be a JSON object such as {"start"')


@pytest.mark.parametrize(
    "type_", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"]
)
async def test_other_media_types_are_refused(api: Api, type_: str) -> None:
    """A body that does not say it is JSON is a 415 that says what is read."""
    answer = await api.post("/jobs", data=b"{}", headers={"Content-Type": type_})
    answer.problem(415, "unsupported-media-type", says="send application/json")


@pytest.mark.parametrize("type_", ["application/json; charset=utf-8", "Application/JSON"])
async def test_parameters_of_the_media_type_do_not_matter(api: Api, type_: str) -> None:
    """JSON is JSON in any spelling of its name."""
    body = b'\xef\xbb\xbf{"start": 4, "end": 11}'  # with the mark that Windows editors put there
    answer = await api.post("/jobs", data=body, headers={"Content-Type": type_})
    assert answer.status in (200, 202)


async def test_large_bodies_are_refused(api: Api) -> None:
    """A body larger than the limit is a 413 that names it, in one piece or in chunks."""
    body = b'{"start": 0, "end": 10, "more": "' + b"x" * bodies.MAX_BODY_BYTES + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    json_type = {"Content-Type": "application/json"}
    for data in (body, chunks()):
        answer = await api.post("/jobs", data=data, headers=json_type)
        document = answer.problem(413, "payload-too-large")
        assert document["limit"] == bodies.MAX_BODY_BYTES
    fits = b'{"start": 4, "end": 11}'.ljust(bodies.MAX_BODY_BYTES)
    assert (await api.post("/jobs", data=fits, headers=json_type)).status in (200, 202)


async def test_coded_bodies_are_not_decoded(api: Api) -> None:
    """Few bytes can stand for very many: a body in a coding is a 415, whatever it would be."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    for body in (b'{"start": 4, "end": 11}', b" " * 2**24):
        answer = await api.post("/jobs", data=gzip.compress(body), headers=headers)
        answer.problem(415, "unsupported-media-type", says="send it as it is")
    plain = {"Content-Type": "application/json", "Content-Encoding": "identity"}
    answer = await api.post("/jobs", data=b'{"start": 4, "end": 11}', headers=plain)
    assert answer.status in (200, 202)


async def send_raw(client: Client, head: str, body: bytes) -> bytes:
    """What the server says to a request that is never completed, until it hangs up."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    try:
        async with asyncio.timeout(WAIT_S):
            writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()


async def test_a_body_too_large_is_refused_before_it_comes(client: Client) -> None:
    """A length above the limit is answered 413 without a byte of the body."""
    head = "POST /jobs HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 99999999"
    assert (await send_raw(client, head, b"")).startswith(b"HTTP/1.1 413 ")


async def test_a_slow_body_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not arrive in time is a 408, and the connection is given up."""
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.2)
    head = "POST /jobs HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 100"
    answer = await send_raw(client, head, b'{"start": 0, ')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close\r\n" in answer


# --- dry_run -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["primes", "count"])
@pytest.mark.parametrize("yes", [True, "true"])
async def test_an_estimate_starts_nothing(api: Api, kind: str, yes: object) -> None:
    """`dry_run` says about what a job would give, and leaves no job and no work behind."""
    wish = {"start": 0, "end": "1e12", "kind": kind, "dry_run": yes}
    answer = await api.post("/jobs", json=wish, headers={"Prefer": "wait=30"})
    assert answer.status == 200
    assert "Location" not in answer.headers
    assert answer.document["kind"] == kind
    estimate = answer.document["estimate"]
    assert estimate["count"] == pytest.approx(PI_OF_POWERS[12], rel=1e-4)
    # Counting takes no sieve.
    assert (estimate["seconds"] > 1) is (kind == "primes")
    assert len(api.service.jobs) == 0
    assert api.service.runtime.dispatcher.calls == 0


async def test_an_estimate_is_near_the_truth(api: Api) -> None:
    """The sizes of the files are estimated within a percent, in every format."""
    wish = {"start": 10**9, "end": 10**9 + 10**7}
    estimate = (await api.post("/jobs?dry_run=true", json=wish)).document["estimate"]
    job = await api.finish(**wish)
    assert estimate["count"] == pytest.approx(job["count"], rel=0.01)
    for format_, size in estimate["bytes"].items():
        head = await api.request("HEAD", f"{job['links']['primes']}?format={format_}")
        assert size == pytest.approx(int(head.headers["Content-Length"]), rel=0.01)


async def test_an_estimate_can_be_written_with_strings(api: Api) -> None:
    """`numbers=string` holds for estimates too."""
    answer = await api.post("/jobs?dry_run=true&numbers=string&start=0&end=2^32")
    assert answer.document["end"] == str(2**32)
    assert isinstance(answer.document["estimate"]["count"], str)
    assert {type(size) for size in answer.document["estimate"]["bytes"].values()} == {str}


async def test_no_estimate_unless_asked_for(api: Api) -> None:
    """`dry_run=false` starts the job."""
    for query in ("", "?dry_run=false"):
        assert "id" in (await api.post(f"/jobs{query}", json={"start": 4, "end": 11})).document


# --- GET /jobs/{id} ------------------------------------------------------------------------------


async def test_a_job_is_told_honestly_from_start_to_end(api: Api) -> None:
    """Progress and count only grow, times are in order, and the end is the published count."""
    before = time.time()
    documents = [await api.start(start=0, end=10**9)]
    async with asyncio.timeout(WAIT_S):
        while documents[-1]["finished"] is None:
            documents.append((await api.get(documents[0]["links"]["self"])).document)
    for earlier, later in pairwise(documents):
        assert earlier["progress"] <= later["progress"]
        assert earlier["count"] <= later["count"]
        assert earlier["created"] == later["created"]
    states = [document["state"] for document in documents]
    assert list(dict.fromkeys(states)) in (
        ["queued", "running", "succeeded"],
        ["queued", "succeeded"],
    )
    last = documents[-1]
    assert last["count"] == PI_OF_POWERS[9]
    assert (last["progress"], last["eta_s"], last["error"]) == (1, 0, None)
    created, started, ended = (seconds(last[name]) for name in ("created", "started", "finished"))
    assert before - 0.001 <= created <= started <= ended <= time.time()
    assert last["rate"] == pytest.approx(10**9 / (ended - started), rel=0.05, abs=10**7)


async def test_progress_is_exact(api: Api) -> None:
    """The progress is the share of the numbers that are done, and the count that of its primes."""
    job_id = (await api.start(start=0, end=10**11))["id"]
    job = api.service.job(job_id)
    await eventually(lambda: job.collected.pieces_done > 20)
    document = (await api.post(f"/jobs/{job_id}/cancel")).document
    assert Fraction(document["progress"]) == Fraction(job.collected.done_numbers / job.range.span)
    # Whole pieces were done, and of them all primes were counted: 2^22 numbers, or 2^23 further up.
    assert job.collected.done_numbers % 2**22 == 0
    assert 0.035 < document["count"] / job.collected.done_numbers < 0.08


async def test_the_time_left_is_told(api: Api) -> None:
    """Once there is a rate, `eta_s` follows from it, and `Retry-After` from that."""
    job_id = (await api.start(**LONG))["id"]
    job = api.service.job(job_id)
    await eventually(lambda: job.collected.pieces_done > 20)
    answer = await api.get(f"/jobs/{job_id}")
    document = answer.document
    left = (1 - document["progress"]) * (LONG["end"] + 1) / document["rate"]  # type: ignore[operator]
    assert document["eta_s"] == pytest.approx(left, rel=0.01)
    assert int(answer.headers["Retry-After"]) == min(60, max(1, -(-document["eta_s"] // 1)))


async def test_a_wait_ends_with_the_job(api: Api) -> None:
    """All who wait for a job are answered when it ends, however it does."""
    job_id = (await api.start(**LONG))["id"]
    waiting = [asyncio.create_task(api.get(f"/jobs/{job_id}?wait=29")) for _ in range(20)]
    begun = time.monotonic()
    await api.get(f"/jobs/{job_id}?wait=0.05")
    await api.post(f"/jobs/{job_id}/cancel")
    answers = await asyncio.gather(*waiting)
    assert {answer.document["state"] for answer in answers} == {"cancelled"}
    assert time.monotonic() - begun < 20


async def test_a_wait_ends_in_time(api: Api) -> None:
    """After the time that a client waits it gets the job as it is."""
    job_id = (await api.start(**LONG))["id"]
    for wait in ("0", "0.0", "00", "1e-3", "0.05", "5E-2"):
        begun = time.monotonic()
        document = (await api.get(f"/jobs/{job_id}?wait={wait}")).document
        assert document["state"] in ("queued", "running")
        assert float(wait) <= time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "wait", ["", "x", "-1", "nan", "inf", "1_0", "0x1", "1,5", "%2B1", "%C2%B2", "1e", "."]
)
async def test_a_wait_that_cannot_be_read_is_refused(api: Api, wait: str) -> None:
    """Only a number of seconds is a wait; the job need not be unfinished to tell."""
    job = await api.finish(start=4, end=11)
    answer = await api.get(f"/jobs/{job['id']}?wait={wait}")
    answer.problem(400, "invalid-parameter", says="wait: ")


async def test_a_wait_may_be_a_preference(api: Api) -> None:
    """`Prefer: wait=N` is followed for a GET too, unless the address says how long to wait."""
    path = (await api.start(**LONG))["links"]["self"]
    for query, prefer, applied in (
        ("", "wait=0", "wait=0"), ("?wait=0", "wait=29", None), ("", "respond-async", None),
    ):  # fmt: skip
        answer = await api.get(path + query, headers={"Prefer": prefer})
        assert answer.headers.get("Preference-Applied") == applied
    waiting = asyncio.create_task(api.get(path, headers={"Prefer": "wait=29"}))
    await api.get(f"{path}?wait=0.05")
    await api.post(f"{path}/cancel")
    answer = await waiting
    assert answer.document["state"] == "cancelled"
    assert answer.headers["Preference-Applied"] == "wait=29"


async def test_a_huge_wait_is_cut(api: Api) -> None:
    """Any number of seconds may be asked for; a finished job is answered at once."""
    job = await api.finish(start=4, end=11)
    for wait in ("60", "1e300", "1e9999", "9" * 4000):
        assert (await api.get(f"/jobs/{job['id']}?wait={wait}")).document == job


@pytest.mark.parametrize("path", ["", "?numbers=number", "?numbers=string", "/primes"])
async def test_head_is_get_without_a_body(api: Api, path: str) -> None:
    """HEAD has the headers that GET has."""
    job = await api.finish(start=4, end=11)
    get, head = [await api.request(m, f"/jobs/{job['id']}{path}") for m in ("GET", "HEAD")]
    for answer in (get, head):
        assert answer.status == 200
    ignored = {"Date"}
    assert [h for h in get.headers.items() if h[0] not in ignored] == [
        h for h in head.headers.items() if h[0] not in ignored
    ]


@pytest.mark.parametrize("path", ["/jobs", "/jobs/{}", "/jobs/{}/events", "/jobs/{}/primes"])
async def test_numbers_are_written_one_way_or_the_other(api: Api, path: str) -> None:
    """`numbers` is `number` or `string` everywhere, and nothing else."""
    (await api.get("/jobs?numbers=roman")).problem(400, "invalid-parameter", says="numbers: ")
    job = await api.finish(start=4, end=11)
    for wrong in ("roman", "", "String"):
        answer = await api.get(f"{path.format(job['id'])}?numbers={wrong}")
        answer.problem(400, "invalid-parameter", says="numbers: ")
    (await api.post(f"/jobs/{job['id']}/cancel?numbers=x")).problem(409, "job-conflict")


# --- 404, 410, 409 -------------------------------------------------------------------------------

EVERY_PATH = [
    ("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/primes"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), EVERY_PATH)
@pytest.mark.parametrize(
    "job_id", [NO_JOB, "nonsense", "%20", "%00", "%C3%A9", "0" * 36, "x" * 900]
)
async def test_unknown_jobs_are_unknown(api: Api, method: str, path: str, job_id: str) -> None:
    """An id that no job ever had is a 404, whatever it looks like."""
    answer = await api.request(method, f"/jobs/{job_id}{path}")
    document = answer.problem(404, "unknown-job")
    assert len(document["detail"]) < 300


@pytest.mark.parametrize(("method", "path"), EVERY_PATH)
async def test_jobs_that_were_deleted_are_gone(api: Api, method: str, path: str) -> None:
    """An id that a job had is a 410 after it was deleted, in any spelling."""
    job_id = (await api.finish(start=4, end=11))["id"]
    assert (await api.delete(f"/jobs/{job_id}")).status == 204
    for spelling in (job_id, job_id.upper()):
        (await api.request(method, f"/jobs/{spelling}{path}")).problem(410, "job-gone")
    # The original contract knows no such difference.
    (await api.get(f"/result/{job_id}")).problem(404, "unknown-job")


async def test_jobs_whose_time_is_over_are_gone(aiohttp_client: AiohttpClient) -> None:
    """A job that has been finished for long enough is a 410, and not in the list."""
    api = await api_with(aiohttp_client, job_ttl_s=0)
    job_id = (await api.start(start=4, end=11))["id"]
    await eventually(lambda: not any(job.finished_s is None for job in api.service.jobs))
    (await api.get(f"/jobs/{job_id}")).problem(410, "job-gone")
    await api.start(start=4, end=13)
    await eventually(lambda: not any(job.finished_s is None for job in api.service.jobs))
    assert (await api.get("/jobs")).document == {"jobs": [], "total": 0}


async def test_a_job_can_come_back(api: Api) -> None:
    """What was deleted can be asked for again, under the same id."""
    job_id = (await api.finish(start=4, end=11))["id"]
    await api.delete(f"/jobs/{job_id}")
    assert (await api.start(start=4, end=11))["id"] == job_id
    assert (await api.ended(job_id))["count"] == 3


async def test_there_is_no_whole_result_of_an_unfinished_job(api: Api) -> None:
    """All primes of a job that runs are a 409, as are any of one that was cancelled."""
    job_id = (await api.start(start=0, end=10**12))["id"]
    (await api.get(f"/jobs/{job_id}/primes")).problem(409, "job-not-finished")
    await api.post(f"/jobs/{job_id}/cancel")
    for query in ("", "?offset=0&limit=10"):
        (await api.get(f"/jobs/{job_id}/primes{query}")).problem(409, "job-cancelled")


async def test_a_failed_job_says_why(aiohttp_client: AiohttpClient) -> None:
    """A failed job is a 200 that tells why; its result is a 500; asking again starts anew."""
    with FaultyExecutor(7, OSError("out of luck")) as executor:
        api = Api(await aiohttp_client(create_app(Settings(workers=2), executor=executor)))
        try:
            job = await api.finish(start=4, end=11)
            assert job["state"] == "failed"
            assert job["error"]["status"] == 500
            answer = await api.get(f"/jobs/{job['id']}/primes")
            answer.problem(500, "job-failed", says="out of luck")
            (await api.post(f"/jobs/{job['id']}/cancel")).problem(
                409, "job-conflict", says="failed"
            )
            executor.fault = None
            answer = await api.post("/jobs", json={"start": 4, "end": 11})
            assert (answer.status, answer.document["id"]) == (202, job["id"])
            assert (await api.ended(job["id"]))["count"] == 3
        finally:
            await api.client.close()


# --- cancel and delete ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_job_that_is_stopped_frees_the_cores(api: Api, how: str) -> None:
    """Cancelled or deleted, a job leaves no call behind, and the next one has the cores."""
    job_id = (await api.start(**LONG))["id"]
    job = api.service.job(job_id)
    await eventually(lambda: job.collected.pieces_done > 10)
    if how == "cancel":
        answer = await api.post(f"/jobs/{job_id}/cancel")
        assert (answer.status, answer.document["state"]) == (200, "cancelled")
        assert "Retry-After" not in answer.headers
    else:
        assert (await api.delete(f"/jobs/{job_id}")).status == 204
    await eventually(lambda: idle(api.service), within_s=10)
    done = job.collected.pieces_done
    assert (await api.finish(start=10**15, end=10**15 + 10**6))["state"] == "succeeded"
    assert job.collected.pieces_done == done


async def test_cancelling_twice_is_cancelling(api: Api) -> None:
    """A job that is cancelled stays so, and can be cancelled again."""
    job_id = (await api.start(**LONG))["id"]
    first = await api.post(f"/jobs/{job_id}/cancel")
    second = await api.post(f"/jobs/{job_id}/cancel")
    assert (first.status, second.status) == (200, 200)
    assert first.document == second.document


async def test_a_job_that_succeeded_cannot_be_cancelled(api: Api) -> None:
    """Cancelling what is done is a 409, and changes nothing."""
    job = await api.finish(start=4, end=11)
    (await api.post(f"/jobs/{job['id']}/cancel")).problem(409, "job-conflict", says="succeeded")
    assert (await api.get(f"/jobs/{job['id']}")).document == job


async def test_a_cancelled_job_can_be_started_anew(api: Api) -> None:
    """Asking again for what was cancelled starts it, with the same id."""
    wish = {"start": 0, "end": 3 * 10**9}
    job_id = (await api.start(**wish))["id"]
    await api.post(f"/jobs/{job_id}/cancel")
    answer = await api.post("/jobs", json=wish)
    assert (answer.status, answer.document["id"]) == (202, job_id)
    assert (await api.ended(job_id))["count"] == 144_449_537


async def test_stopping_a_job_harms_none_that_shares_its_work(api: Api) -> None:
    """Jobs that wait for the same segments as one that is stopped get them, and exactly."""
    shared = [
        await api.start(start=0, end=10**9 + n, kind=k) for n in (0, 6) for k in ("primes", "count")
    ]
    stopped = await api.start(start=0, end=10**10)
    deleted = await api.start(start=0, end=10**10 + 1, kind="count")
    await api.post(f"/jobs/{stopped['id']}/cancel")
    await api.delete(f"/jobs/{deleted['id']}")
    for job in shared:
        # 10^9 + 7 is the next prime.
        assert (await api.ended(job["id"]))["count"] == PI_OF_POWERS[9]
    await eventually(lambda: idle(api.service))


# --- GET /jobs -----------------------------------------------------------------------------------


async def pages(api: Api, path: str, relation: str) -> list[JsonObject]:
    """The jobs on this page and on all that follow in a direction."""
    found: list[JsonObject] = []
    while True:
        answer = await api.get(path)
        found += answer.document["jobs"]
        if relation not in answer.links:
            return found
        assert answer.links[relation].startswith("?")
        path = "/jobs" + answer.links[relation]


async def test_the_list_is_there_before_any_job(api: Api) -> None:
    """A service without jobs has an empty list, and no further page."""
    answer = await api.get("/jobs")
    assert answer.document == {"jobs": [], "total": 0}
    assert answer.links == {}


async def test_the_list_has_the_newest_first(api: Api) -> None:
    """Jobs are listed in the reverse order of their creation, each as it is told by itself."""
    jobs = [await api.finish(start=4, end=end) for end in (11, 13, 17)]
    document = (await api.get("/jobs")).document
    assert document == {"jobs": jobs[::-1], "total": 3}
    first = (await api.get("/jobs?numbers=string&limit=1")).document["jobs"][0]
    assert (first["start"], first["end"], first["count"]) == ("4", "17", "5")


async def test_the_list_can_be_filtered(api: Api) -> None:
    """By one state or several: each has its jobs, and together they have all."""
    done = await api.finish(start=4, end=11)
    cancelled = await api.start(start=0, end=10**12 - 1)
    await api.post(f"/jobs/{cancelled['id']}/cancel")
    running = await api.start(**LONG)
    expected = {
        "succeeded": [done], "cancelled": [cancelled], "failed": [], "running,queued": [running],
        "queued,%20succeeded,running": [running, done],
    }  # fmt: skip
    for states, jobs in expected.items():
        document = (await api.get(f"/jobs?state={states}")).document
        assert [job["id"] for job in document["jobs"]] == [job["id"] for job in jobs]
        assert document["total"] == len(jobs)


@pytest.mark.parametrize("limit", [1, 3, 7, 10, 11])
async def test_the_list_can_be_paged(api: Api, limit: int) -> None:
    """The links lead through all jobs once, forward and back, whatever the page's length."""
    ids = [(await api.finish(start=0, end=end))["id"] for end in range(1, 11)][::-1]
    forward = await pages(api, f"/jobs?limit={limit}&state=succeeded", "next")
    assert [job["id"] for job in forward] == ids
    back = await pages(api, f"/jobs?limit={limit}&offset={10 - limit if limit < 10 else 0}", "prev")
    assert {job["id"] for job in back} == set(ids)
    assert len(back) == 10


@pytest.mark.parametrize(
    ("query", "found"),
    [("limit=0", 0), ("offset=0", 3), ("offset=2", 1), ("offset=3", 0), ("offset=99", 0),
     (f"offset={2**64}&limit={2**64}", 0), ("limit=1001", 3), (f"limit={2**64}", 3)],
)  # fmt: skip
async def test_pages_may_be_anywhere(api: Api, query: str, found: int) -> None:
    """A page may be empty, or longer than the list: the total is that of the list."""
    for end in (11, 13, 17):
        await api.finish(start=4, end=end)
    document = (await api.get(f"/jobs?{query}")).document
    assert (len(document["jobs"]), document["total"]) == (found, 3)


@pytest.mark.parametrize(
    "query",
    ["state=", "state=done", "state=running,", "state=RUNNING", "limit=", "limit=-1", "limit=x",
     "limit=1.5", "limit=1e3", f"limit={2**64 + 1}", "offset=-1", "offset=x", "offset=%2B1",
     "offset=" + "9" * 999],
    ids=lambda query: query[:20],
)  # fmt: skip
async def test_a_list_that_cannot_be_made_is_refused(api: Api, query: str) -> None:
    """An unknown state or a page that is no page is a 400 that says which parameter."""
    answer = await api.get(f"/jobs?{query}")
    document = answer.problem(400, "invalid-parameter", says=query.partition("=")[0] + ": ")
    assert len(document["detail"]) < 300


# --- limits --------------------------------------------------------------------------------------


async def test_too_many_unfinished_jobs_are_refused(aiohttp_client: AiohttpClient) -> None:
    """A job too many is a 503 that names the limit and when to try again; others go on."""
    api = await api_with(aiohttp_client, max_unfinished_jobs=2)
    ids = [(await api.start(start=n, end=10**12))["id"] for n in range(2)]
    answer = await api.post("/jobs", json={"start": 4, "end": 11})
    document = answer.problem(503, "service-full", says="too many unfinished jobs")
    assert document["limit"] == 2
    assert int(answer.headers["Retry-After"]) >= 1
    # What there is already is served, and an estimate needs no place.
    assert (await api.start(start=0, end=10**12))["id"] == ids[0]
    assert (await api.post("/jobs?start=4&end=11&dry_run=true")).status == 200
    await api.post(f"/jobs/{ids[0]}/cancel")
    await eventually(lambda: api.service.jobs.unfinished < 2)
    assert (await api.finish(start=4, end=11))["count"] == 3


async def test_the_oldest_finished_jobs_make_room(aiohttp_client: AiohttpClient) -> None:
    """The table keeps so many jobs: a new one takes the place of the one that finished first."""
    api = await api_with(aiohttp_client, max_jobs=3)
    ids = [(await api.finish(start=4, end=end))["id"] for end in (11, 13, 17, 19)]
    listed = (await api.get("/jobs")).document["jobs"]
    assert [job["id"] for job in listed] == ids[:0:-1]
    (await api.get(f"/jobs/{ids[0]}")).problem(410, "job-gone")


# --- everywhere ----------------------------------------------------------------------------------


async def test_links_hold_under_a_prefix(aiohttp_client: AiohttpClient, settings: Settings) -> None:
    """Every address in an answer is right where the application is mounted."""
    parent = web.Application()
    parent.add_subapp("/some/where/", create_app(settings))
    client = await aiohttp_client(parent)
    api = Api(client, "/some/where")
    answer = await api.post("/jobs", json={"start": 4, "end": 11})
    links = {"Location": answer.headers["Location"], **answer.links, **answer.document["links"]}
    assert all(link.startswith("/some/where/") for link in links.values())
    await api.ended(answer.document["id"])
    for name, link in links.items():
        method = "POST" if name == "cancel" else "GET"
        async with client.request(method, link) as response:
            assert response.status == (409 if name == "cancel" else 200)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/jobs", "GET,HEAD,POST"),
        ("POST", f"/jobs/{NO_JOB}", "DELETE,GET,HEAD"),
        ("GET", f"/jobs/{NO_JOB}/cancel", "POST"),
        ("POST", f"/jobs/{NO_JOB}/events", "GET,HEAD"),
        ("DELETE", f"/jobs/{NO_JOB}/primes", "GET,HEAD"),
    ],
)
async def test_other_methods_are_refused(
    client: Client, method: str, path: str, allow: str
) -> None:
    """A method that a path does not take is a 405 that says which it takes."""
    async with client.request(method, path) as response:
        answer = Answer(response.status, response.headers, await response.read())
    answer.problem(405, "about:blank")
    assert ",".join(sorted(answer.headers["Allow"].split(","))) == allow


async def test_small_jobs_give_the_primes(api: Api) -> None:
    """From the wish to the primes it takes two requests, and they are right."""
    answer = await api.post("/jobs?start=0&end=1000", headers={"Prefer": "wait=20"})
    assert answer.status == 200
    primes = await api.get(answer.document["links"]["primes"])
    assert primes.document == naive_primes(0, 1000)
