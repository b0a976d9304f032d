"""The original two calls, byte for byte, as their clients see them: POST /primes, GET /result."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import pytest
from aiocache import SimpleMemoryCache
from aiohttp import ClientResponse, TCPConnector, web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient
from yarl import URL

from primesvc import PrimeService, Range, Settings, create_app, service_of
from primesvc.formats.text import CONTRACT
from primesvc.sieve.engine import load_engine
from tests.helpers import WAIT_S, assert_problem, eventually, fetch, naive_primes, submit
from tests.web.helpers import FaultyExecutor

Client = TestClient[web.Request, web.Application]

SMALL = "start_num=4&end_num=11"
SMALL_ID = "fa406b46-00c5-559f-acd0-89e1e40bb04f"
"""uuid5(uuid5(NAMESPACE_URL, "urn:primesvc:job"), "primes:4:11"), worked out elsewhere."""

NO_JOB = "00000000-0000-4000-8000-000000000000"
LONG = "start_num=0&end_num=100000000000"
"""Minutes of work: unfinished for as long as a test looks."""

NO_PATH = "about:blank"
BAD_PARAMETER = "urn:primesvc:problem:invalid-parameter"
NOT_ALLOWED = "urn:primesvc:problem:range-not-allowed"
UNKNOWN_JOB = "urn:primesvc:problem:unknown-job"
JOB_FAILED = "urn:primesvc:problem:job-failed"
JOB_CANCELLED = "urn:primesvc:problem:job-cancelled"
SERVICE_CLOSED = "urn:primesvc:problem:service-closed"
SERVICE_FULL = "urn:primesvc:problem:service-full"


def contract_body(primes: list[int]) -> bytes:
    """The body of a result as the earlier service made it."""
    return (json.dumps(str(primes)) + "\n").encode()


def at(path: str) -> URL:
    """A path with its query, sent as it is written here."""
    return URL(path, encoded=True)


async def post(client: Client, query: str) -> str:
    """POST a query as it is written here; return the id in the answer."""
    async with client.post(at(f"/primes?{query}")) as response:
        assert response.status == 200, await response.text()
        return str(await response.json())


@asynccontextmanager
async def polled(
    client: Client, path: str, done: Callable[[ClientResponse], bool]
) -> AsyncIterator[ClientResponse]:
    """GET a path until an answer will do, within bounds; give that answer."""
    deadline = time.monotonic() + WAIT_S
    while True:
        async with client.get(path) as response:
            if done(response):
                yield response
                return
        assert time.monotonic() < deadline, f"{path} still answers {response.status}"
        await asyncio.sleep(0.005)


class Answer(NamedTuple):
    """One response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


def answers_in(data: bytes) -> Iterator[Answer]:
    """The responses, all with a Content-Length or none and no body, that `data` is made of."""
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        assert "transfer-encoding" not in headers
        length = int(headers.get("content-length", 0))
        yield Answer(int(status.split()[1]), headers, data[:length])
        data = data[length:]


async def over_one_connection(client: Client, *requests: bytes) -> list[Answer]:
    """Send all requests in one write; the last has to close the connection. Return the answers."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    try:
        async with asyncio.timeout(WAIT_S):
            writer.write(b"".join(requests))
            data = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    return list(answers_in(data))


@asynccontextmanager
async def served_by(
    executor: ThreadPoolExecutor, aiohttp_client: AiohttpClient
) -> AsyncIterator[Client]:
    """A client of an application that computes with the executor."""
    with executor:
        client = await aiohttp_client(create_app(Settings(workers=2), executor=executor))
        try:
            yield client
        finally:
            await client.close()


# --- POST /primes ------------------------------------------------------------------------------


async def test_post_answers_the_id_as_a_json_string_and_a_newline(client: Client) -> None:
    """A POST is answered 200, exactly application/json, with 39 bytes: the id in quotes, a newline.

    The id is the same in every process and release.
    """
    async with client.post(at(f"/primes?{SMALL}")) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Content-Length"] == "39"
        assert await response.read() == f'"{SMALL_ID}"\n'.encode()


async def test_location_leads_from_the_post_to_the_result(client: Client) -> None:
    """The Location of a POST, resolved against its URL, is the address of the result."""
    async with client.post(at(f"/primes?{SMALL}")) as response:
        location = urljoin(str(response.url), response.headers["Location"])
    path = urlsplit(location).path
    assert path == f"/result/{SMALL_ID}"
    async with polled(client, path, lambda answer: answer.status != 204) as result:
        assert await result.read() == b'"[5, 7, 11]"\n'


async def test_the_same_post_has_the_same_id_and_costs_no_work(client: Client) -> None:
    """Repeating a POST and reading its result again computes nothing."""
    service = service_of(client.app)
    first = await submit(client, 4, 11)
    body = await fetch(client, first)
    assert service.runtime.store.stats.sieved > 0
    stats, calls = repr(service.runtime.store.stats), service.runtime.dispatcher.calls
    assert await submit(client, 4, 11) == first
    assert (repr(service.runtime.store.stats), service.runtime.dispatcher.calls) == (stats, calls)
    assert await fetch(client, first) == body
    assert service.runtime.dispatcher.calls == calls


async def test_ranges_have_ids_of_their_own(client: Client) -> None:
    """Two ranges never share an id, also where their digits run together alike."""
    ids = [await submit(client, *ends) for ends in ((4, 11), (4, 12), (1, 23), (12, 30), (1, 230))]
    assert len(set(ids)) == len(ids)


class FarCache(SimpleMemoryCache):  # type: ignore[misc] # aiocache has no annotations
    """An embedder's cache that is not in the process: every answer takes a turn of the loop."""

    async def _exists(self, key: str, _conn: object = None) -> bool:
        await asyncio.sleep(0)
        return bool(await super()._exists(key, _conn=_conn))

    async def _get(self, key: str, encoding: str = "utf-8", _conn: object = None) -> Any:
        await asyncio.sleep(0)
        return await super()._get(key, encoding=encoding, _conn=_conn)


@pytest.mark.parametrize("far", [False, True], ids=["own cache", "far cache"])
@pytest.mark.parametrize(("end", "count"), [(10**6, 78_498), (10**7, 664_579)])
async def test_many_equal_posts_at_once_do_the_work_once(
    settings: Settings, aiohttp_client: AiohttpClient, end: int, count: int, *, far: bool
) -> None:
    """200 clients that ask for one range at the same time get one id, and it is sieved once."""
    app = create_app(settings, cache=FarCache() if far else None)
    client = await aiohttp_client(app, connector=TCPConnector(limit=0))
    service = service_of(client.app)
    ids = set(await asyncio.gather(*(submit(client, 0, end) for _ in range(200))))
    assert len(ids) == 1
    job = service.job(ids.pop())
    async with asyncio.timeout(WAIT_S):
        await job.wait()
    assert service.runtime.store.stats.sieved == len(job.collected.plan.indices)
    assert service.runtime.store.stats.joined == 0
    assert job.count == count


@pytest.mark.parametrize(
    "query",
    [
        "start_num=+4&end_num=11",
        "start_num=4+&end_num=+11+",
        "start_num=%2B4&end_num=%2B11",
        "start_num=%204%20&end_num=%0911%0A",
        "start_num=0004&end_num=00000000000000000000000000000000000000000000000000000011",
        "start_num=4&end_num=1_1",
        "end_num=11&start_num=4",
        "start_num=4&end_num=11&start_num=5&end_num=x",
        "start_num=4&end_num=11&other=1&&=&flag",
        "%73tart_num=%34&end_num=%31%31",
    ],
)
async def test_what_the_earlier_service_read_is_read_alike(client: Client, query: str) -> None:
    """Signs, blanks, zeros in front and further fields are accepted; of two values the first is.

    Exactly what Python's `int` and Flask's `args.get` made of them.
    """
    assert await post(client, query) == SMALL_ID


@pytest.mark.parametrize(
    ("type_", "body", "chunked"),
    [
        ("application/json", b'{"start_num": 100, "end_num": 200}', None),
        ("application/x-www-form-urlencoded", b"start_num=100&end_num=200", None),
        ("application/json", b"{", None),
        ("application/octet-stream", bytes(3 * 2**20), None),
        ("text/plain", b"start_num=100", True),
    ],
    ids=["json", "form", "malformed", "3 MiB", "chunked"],
)
async def test_the_body_of_a_post_is_ignored(
    client: Client, type_: str, body: bytes, chunked: bool | None
) -> None:
    """Only the query counts, whatever the body says and however long it is."""
    headers = {"Content-Type": type_}
    for path, status in ((f"/primes?{SMALL}", 200), ("/primes", 400)):
        async with client.post(
            at(path), data=BytesIO(body), headers=headers, chunked=chunked
        ) as response:
            if status == 200:
                assert await response.read() == f'"{SMALL_ID}"\n'.encode()
            else:
                await assert_problem(response, 400, BAD_PARAMETER, says="start_num")


async def test_a_range_may_end_at_the_last_number_there_is(client: Client) -> None:
    """2^64 - 1 itself is accepted; the last prime before it is found."""
    assert await fetch(client, await submit(client, 2**64 - 60, 2**64 - 1)) == (
        '"[18446744073709551557]"\n'
    )


# --- GET /result/{id} --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "body"),
    [
        (4, 11, b'"[5, 7, 11]"\n'),
        (24, 28, b'"[]"\n'),
        (0, 1, b'"[]"\n'),
        (0, 2, b'"[2]"\n'),
        (2, 3, b'"[2, 3]"\n'),
        (7, 8, b'"[7]"\n'),
        (6, 7, b'"[7]"\n'),
        (97, 103, b'"[97, 101, 103]"\n'),
    ],
)
async def test_a_result_is_a_json_string_of_a_python_list(
    client: Client, start: int, end: int, body: bytes
) -> None:
    """The list is in the form of `str(list)`, in quotes, then a newline; both ends belong to it."""
    job_id = await submit(client, start, end)
    await fetch(client, job_id)
    async with client.get(f"/result/{job_id}") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Content-Length"] == str(len(body))
        assert await response.read() == body


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 2_500), (0, 20_000), (1, 10**6), (999_000, 1_001_000), (10**12, 10**12 + 10**6)],
)
async def test_a_result_equals_json_dumps_of_str_of_the_list(
    client: Client, start: int, end: int
) -> None:
    """Results on both sides of every change of path are what `json.dumps(str(primes))` gives."""
    primes = load_engine("auto").primes(start, end).tolist()
    if (start, end) == (1, 10**6):
        assert len(primes) == 78_498
    if end <= 20_000:
        assert primes == naive_primes(start, end)
    body = contract_body(primes)
    job_id = await submit(client, start, end)
    await fetch(client, job_id)
    async with client.get(f"/result/{job_id}") as response:
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Content-Length"] == str(len(body))
        assert await response.read() == body


async def test_a_result_can_be_read_as_often_as_one_likes(client: Client) -> None:
    """Every GET of a result gives the same bytes, also many at once."""
    small, large = await submit(client, 4, 11), await submit(client, 1, 10**5)
    bodies = [await fetch(client, small), await fetch(client, large)]
    again = await asyncio.gather(*(fetch(client, i) for _ in range(20) for i in (small, large)))
    assert again == bodies * 20


async def test_a_small_result_is_kept_and_charged_once(service: PrimeService) -> None:
    """The body kept with a job counts as its memory once, also if many ask at the same time."""
    job = await service.submit(Range(0, 10_000))
    async with asyncio.timeout(WAIT_S):
        await job.wait()
    before = service.jobs.current_bytes
    bodies = await asyncio.gather(*(service.small_body(job, CONTRACT) for _ in range(20)))
    assert set(bodies) == {contract_body(naive_primes(0, 10_000))}
    assert service.jobs.current_bytes - before <= len(contract_body(naive_primes(0, 10_000)))


@pytest.mark.parametrize(("start", "end"), [(4, 11), (24, 28), (1, 10**6)])
async def test_head_tells_the_headers_of_the_get(client: Client, start: int, end: int) -> None:
    """A HEAD has the status, the type and the exact length of the GET, no body, and no work."""
    job_id = await submit(client, start, end)
    length = len(await fetch(client, job_id))
    calls = service_of(client.app).runtime.dispatcher.calls
    async with client.head(f"/result/{job_id}") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Content-Length"] == str(length)
        assert await response.read() == b""
    assert service_of(client.app).runtime.dispatcher.calls == calls


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_result_that_is_worked_on_is_204(client: Client, method: str) -> None:
    """While the job works there is no body, and the headers say when to ask again, uncached."""
    job_id = await post(client, LONG)
    async with client.request(method, f"/result/{job_id}") as response:
        assert response.status == 204
        assert int(response.headers["Retry-After"]) >= 1
        assert response.headers["Cache-Control"] == "no-store"
        assert "Content-Length" not in response.headers
        assert "Content-Type" not in response.headers
        assert await response.read() == b""
    assert await post(client, LONG) == job_id


async def test_a_working_job_has_one_job_only(client: Client) -> None:
    """The same POST during the work joins the job at work: there is still one."""
    service = service_of(client.app)
    job = service.job(await post(client, LONG))
    await eventually(lambda: job.progress > 0)
    assert await post(client, LONG) == job.id
    assert service.job(job.id) is job
    assert len(service.jobs) == 1


async def test_the_id_is_read_in_upper_case_too(client: Client) -> None:
    """A UUID has no case: the result is found under its upper-case form."""
    job_id = await submit(client, 4, 11)
    body = await fetch(client, job_id)
    async with client.get(f"/result/{job_id.upper()}") as response:
        assert response.status == 200
        assert await response.text() == body


# --- errors ------------------------------------------------------------------------------------

BAD_QUERIES = [
    # query, the parameter that the answer names
    ("", "start_num"),
    ("end_num=11", "start_num"),
    ("start_num=4", "end_num"),
    ("start_num=&end_num=11", "start_num"),
    ("start_num=4&end_num=", "end_num"),
    ("start_num&end_num=11", "start_num"),
    ("start_num=%20&end_num=11", "start_num"),
    ("START_NUM=4&end_num=11", "start_num"),
    ("start_num[]=4&end_num=11", "start_num"),
    ("start_num=4;end_num=11", "start_num"),
    ("start_num=four&end_num=11", "start_num"),
    ("start_num=4&end_num=eleven", "end_num"),
    ("start_num=4.0&end_num=11", "start_num"),
    ("start_num=4&end_num=11.5", "end_num"),
    ("start_num=4&end_num=1e6", "end_num"),
    ("start_num=-1&end_num=11", "start_num"),
    ("start_num=-4&end_num=-11", "start_num"),
    ("start_num=4&end_num=-11", "end_num"),
    ("start_num=--4&end_num=11", "start_num"),
    ("start_num=%2B%2B4&end_num=11", "start_num"),
    ("start_num=4+5&end_num=11", "start_num"),
    ("start_num=4,5&end_num=11", "start_num"),
    ("start_num=_4&end_num=11", "start_num"),
    ("start_num=4&end_num=1__1", "end_num"),
    ("start_num=4&end_num=11_", "end_num"),
    ("start_num=0x4&end_num=11", "start_num"),
    ("start_num=4&end_num=0b1011", "end_num"),
    ("start_num=4&end_num=b", "end_num"),
    ("start_num=nan&end_num=11", "start_num"),
    ("start_num=4&end_num=inf", "end_num"),
    ("start_num=null&end_num=11", "start_num"),
    ("start_num=true&end_num=11", "start_num"),
    ("start_num=4%00&end_num=11", "start_num"),
    ("start_num=%00&end_num=11", "start_num"),
    ("start_num=%D9%A3&end_num=11", "start_num"),  # ٣, which Python's int takes for 3
    ("start_num=4&end_num=%EF%BC%99", "end_num"),  # a full-width 9
    ("start_num=4&end_num=%C2%B2", "end_num"),  # ², a digit by its Unicode property
    ("start_num=%C2%A04&end_num=11", "start_num"),  # a no-break space in front
    ("start_num=%FF&end_num=11", "start_num"),  # no UTF-8
    ("start_num=%ED%A0%80&end_num=11", "start_num"),  # a lone surrogate
    ("start_num=%4&end_num=11", "start_num"),
    ("start_num=%3Cscript%3E&end_num=11", "start_num"),
    ("start_num=x&start_num=4&end_num=11", "start_num"),
    ("start_num=&start_num=4&end_num=11", "start_num"),
    ("start_num=11&end_num=11", "end_num"),
    ("start_num=0&end_num=0", "end_num"),
    ("start_num=11&end_num=4", "end_num"),
    (f"start_num={2**64 + 1}&end_num={2**64}", "end_num"),
    (f"start_num={'7' * 4000}&end_num=11", "start_num"),
    (f"start_num=4&end_num={'7' * 7000}", "end_num"),
    (f"start_num=-{'7' * 4000}&end_num=11", "start_num"),
    (f"start_num=4&end_num={'7' * 4000}x", "end_num"),
    (f"{'x=1&' * 1000}{SMALL}", "100 fields"),
]

TOO_LARGE = [
    f"start_num=4&end_num={2**64}",
    f"start_num={2**64 - 1}&end_num={2**64}",
    f"start_num={2**64}&end_num={2**64 + 1}",
    f"start_num=0&end_num={10**30}",
    f"start_num={10**30}&end_num={10**31}",
]


class Wrong(NamedTuple):
    """A wrong request and its answer."""

    method: str
    path: str
    status: int
    type_: str
    says: str = ""
    members: dict[str, Any] = {}  # noqa: RUF012 - never changed
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


WRONG = [
    *(Wrong("POST", f"/primes?{query}", 400, BAD_PARAMETER, name) for query, name in BAD_QUERIES),
    *(
        Wrong("POST", f"/primes?{query}", 422, NOT_ALLOWED, "2^64 - 1", {"limit": 2**64 - 1})
        for query in TOO_LARGE
    ),
    Wrong("GET", f"/result/{NO_JOB}", 404, UNKNOWN_JOB, NO_JOB),
    Wrong("GET", f"/result/{NO_JOB.upper()}", 404, UNKNOWN_JOB, NO_JOB),
    Wrong("GET", f"/result/{SMALL_ID}", 404, UNKNOWN_JOB, SMALL_ID),
    Wrong("GET", "/result/1", 404, UNKNOWN_JOB),
    Wrong("GET", "/result/not-a-uuid", 404, UNKNOWN_JOB),
    Wrong("GET", f"/result/{NO_JOB}x", 404, UNKNOWN_JOB),
    Wrong("GET", f"/result/{NO_JOB[:-1]}", 404, UNKNOWN_JOB),
    Wrong("GET", f"/result/{NO_JOB[:-1]}g", 404, UNKNOWN_JOB),
    Wrong("GET", f"/result/{NO_JOB[:-1]}%00", 404, UNKNOWN_JOB),
    Wrong("GET", f"/result/{NO_JOB.replace('-', '')}", 404, UNKNOWN_JOB),
    Wrong("GET", f"/result/%7B{NO_JOB}%7D", 404, NO_PATH),
    Wrong("GET", f"/result/{'%F0%9F%98%80' * 36}", 404, UNKNOWN_JOB),
    Wrong("GET", f"/result/{'x' * 7000}", 404, UNKNOWN_JOB),
    Wrong("GET", "/result/..%2F..%2Fetc%2Fpasswd", 404, UNKNOWN_JOB),
    Wrong("GET", "/result/", 404, NO_PATH),
    Wrong("GET", "/result", 404, NO_PATH),
    Wrong("GET", f"/result/{NO_JOB}/", 404, NO_PATH),
    Wrong("GET", f"/Result/{NO_JOB}", 404, NO_PATH),
    Wrong("GET", "/nothing/here", 404, NO_PATH),
    Wrong("POST", f"/primes/?{SMALL}", 404, NO_PATH),
    Wrong("PUT", f"/primes?{SMALL}", 405, NO_PATH, headers={"Allow": "GET,HEAD,POST"}),
    Wrong("POST", f"/result/{NO_JOB}", 405, NO_PATH, headers={"Allow": "GET,HEAD"}),
    Wrong("DELETE", f"/result/{NO_JOB}", 405, NO_PATH, headers={"Allow": "GET,HEAD"}),
    Wrong("PATCH", f"/result/{NO_JOB}", 405, NO_PATH, headers={"Allow": "GET,HEAD"}),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.method} {wrong.path[:60]}")
async def test_a_wrong_request_is_told_what_is_wrong(client: Client, wrong: Wrong) -> None:
    """Every mistake of a client has its status and a problem document that names it."""
    async with client.request(wrong.method, at(wrong.path)) as response:
        document = await assert_problem(response, wrong.status, wrong.type_, says=wrong.says)
        assert wrong.members.items() <= document.items()
        assert wrong.headers.items() <= dict(response.headers).items()
        assert len(await response.read()) < 2000
    service = service_of(client.app)
    assert (service.runtime.dispatcher.calls, len(service.jobs)) == (0, 0)


async def test_a_span_beyond_the_limit_is_refused_with_the_limit(
    aiohttp_client: AiohttpClient,
) -> None:
    """A range as wide as `max_span` is accepted, one number more is 422 with the limit."""
    client = await aiohttp_client(create_app(Settings(workers=1, max_span=100)))
    assert await fetch(client, await submit(client, 1, 101)) == (
        contract_body(naive_primes(1, 101)).decode()
    )
    async with client.post("/primes?start_num=0&end_num=101") as response:
        document = await assert_problem(response, 422, NOT_ALLOWED, says="101")
        assert document["limit"] == 100


@pytest.mark.parametrize(
    ("digits", "status"),
    [
        ("0" * 7000 + "x", 400),
        ("0" * 7000 + "_", 400),
        ("7" * 7000, 400),
        ("1_" * 3500 + "x", 400),
        ("+" * 7000 + "x", 400),
        ("0" * 7000 + "4", 200),
    ],
    ids=lambda value: str(value)[-1] * (isinstance(value, str)),
)
async def test_the_longest_numbers_are_read_fast(client: Client, digits: str, status: int) -> None:
    """Reading a number as long as a URL may be does not hold up the event loop."""
    began = time.process_time()
    async with client.post(at(f"/primes?start_num={digits}&end_num=11")) as response:
        assert response.status == status
    assert time.process_time() - began < 0.25


# --- jobs that end otherwise -------------------------------------------------------------------


async def test_a_failed_job_answers_500_with_its_reason_and_can_be_tried_again(
    aiohttp_client: AiohttpClient,
) -> None:
    """A job whose work fails says why, harms no other, and the same POST starts it anew."""
    executor = FaultyExecutor(10**9, RuntimeError("the disk is on fire"))
    async with served_by(executor, aiohttp_client) as client:
        job_id = await submit(client, 10**9, 10**9 + 100)
        path = f"/result/{job_id}"
        async with polled(client, path, lambda answer: answer.status != 204) as response:
            document = await assert_problem(response, 500, JOB_FAILED, says="the disk is on fire")
            assert job_id in document["detail"]
        assert await fetch(client, await submit(client, 4, 11)) == '"[5, 7, 11]"\n'
        async with client.get(path) as response:
            await assert_problem(response, 500, JOB_FAILED)

        executor.fault = None
        assert await submit(client, 10**9, 10**9 + 100) == job_id
        primes = load_engine("auto").primes(10**9, 10**9 + 100).tolist()
        assert await fetch(client, job_id) == contract_body(primes).decode()


async def test_a_reason_without_words_is_still_a_reason(aiohttp_client: AiohttpClient) -> None:
    """An exception that says nothing, as MemoryError does, is reported by its name."""
    async with served_by(FaultyExecutor(5, MemoryError()), aiohttp_client) as client:
        path = f"/result/{await submit(client, 4, 11)}"
        async with polled(client, path, lambda answer: answer.status != 204) as response:
            await assert_problem(response, 500, JOB_FAILED, says="MemoryError")


async def test_an_executor_that_takes_no_calls_fails_the_job(
    aiohttp_client: AiohttpClient,
) -> None:
    """An executor that its owner has shut down fails the jobs; the service goes on answering."""
    executor = FaultyExecutor(0, None)
    async with served_by(executor, aiohttp_client) as client:
        executor.shutdown()
        path = f"/result/{await submit(client, 4, 11)}"
        async with polled(client, path, lambda answer: answer.status != 204) as response:
            await assert_problem(response, 500, JOB_FAILED, says="shutdown")


async def test_a_cancelled_job_is_a_conflict_until_it_is_posted_again(client: Client) -> None:
    """The result of a cancelled job is 409; the same POST starts it anew under the same id."""
    service = service_of(client.app)
    job_id = await post(client, LONG)
    service.cancel(service.job(job_id))
    async with client.get(f"/result/{job_id}") as response:
        await assert_problem(response, 409, JOB_CANCELLED, says=job_id)
    assert await post(client, LONG) == job_id
    async with client.get(f"/result/{job_id}") as response:
        assert response.status == 204


async def test_a_job_is_known_at_every_moment(service: PrimeService) -> None:
    """Nobody who asks between the end of a job and what follows on it is told it is unknown."""
    job = await service.submit(Range(4, 11))
    async with asyncio.timeout(WAIT_S):
        while not job.state.final:  # noqa: ASYNC110 - to look at every turn of the event loop
            await asyncio.sleep(0)
    assert service.find(job.range) is job
    assert service.job(job.id) is job


async def test_a_job_is_known_the_moment_it_is_cancelled(service: PrimeService) -> None:
    """A cancelled job can be asked for at once, before its work has wound up."""
    job = await service.submit(Range(0, 10**11))
    service.cancel(job)
    assert service.job(job.id) is job


async def test_a_full_table_turns_new_ranges_away_for_a_while(
    aiohttp_client: AiohttpClient,
) -> None:
    """With room for one job, a second is 503 with Retry-After until the first has ended."""
    client = await aiohttp_client(create_app(Settings(workers=2, max_jobs=1)))
    service = service_of(client.app)
    job_id = await post(client, LONG)
    async with client.post(at(f"/primes?{SMALL}")) as response:
        document = await assert_problem(response, 503, SERVICE_FULL)
        assert document["limit"] == 1
        assert int(response.headers["Retry-After"]) >= 1
    assert await post(client, LONG) == job_id

    service.cancel(service.job(job_id))
    deadline = time.monotonic() + WAIT_S
    while True:
        async with client.post(at(f"/primes?{SMALL}")) as response:
            if response.status == 200:
                break
            await assert_problem(response, 503, SERVICE_FULL)
        assert time.monotonic() < deadline, "the table is still full"
    assert await fetch(client, SMALL_ID) == '"[5, 7, 11]"\n'
    async with client.get(f"/result/{job_id}") as response:
        await assert_problem(response, 404, UNKNOWN_JOB)


async def test_a_service_that_stops_turns_new_ranges_away(client: Client) -> None:
    """Once the service is closed a POST is 503, and not the fault of the client."""
    await service_of(client.app).close()
    async with client.post(at(f"/primes?{SMALL}")) as response:
        await assert_problem(response, 503, SERVICE_CLOSED)


@pytest.mark.parametrize("ttl_s", [0.0, 0.2])
async def test_a_result_is_unknown_after_its_time_and_can_be_asked_for_again(
    aiohttp_client: AiohttpClient, ttl_s: float
) -> None:
    """A result that is kept no longer is 404, and POST gives the same id again."""
    client = await aiohttp_client(create_app(Settings(workers=1, job_ttl_s=ttl_s)))
    for _ in range(2):
        assert await submit(client, 4, 11) == SMALL_ID
        path = f"/result/{SMALL_ID}"
        if ttl_s:
            assert await fetch(client, SMALL_ID) == '"[5, 7, 11]"\n'
        async with polled(client, path, lambda answer: answer.status not in (200, 204)) as response:
            await assert_problem(response, 404, UNKNOWN_JOB, says="submit the range again")


# --- on the wire -------------------------------------------------------------------------------


async def test_pipelined_requests_get_their_answers_in_order(client: Client) -> None:
    """Requests sent without waiting, also behind bodies nobody reads, are each answered right."""
    large, body = await submit(client, 1, 10**5), contract_body(naive_primes(1, 10**5))
    await fetch(client, large)
    await fetch(client, await submit(client, 4, 11))
    posted = f"POST /primes?{SMALL} HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nignored"
    answers = await over_one_connection(
        client,
        f"GET /result/{SMALL_ID} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        f"GET /result/{large} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        posted.encode(),
        b"GET /result/1 HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /result/{SMALL_ID} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),
    )
    assert [answer.status for answer in answers] == [200, 200, 200, 404, 200]
    assert answers[0].body == b'"[5, 7, 11]"\n'
    assert answers[1].body == body
    assert answers[2].body == f'"{SMALL_ID}"\n'.encode()
    assert answers[4].body == b'"[5, 7, 11]"\n'


async def test_a_204_ends_with_its_headers(client: Client) -> None:
    """Nothing stands on the wire between a 204 and the answer behind it."""
    job_id = await post(client, LONG)
    answers = await over_one_connection(
        client,
        f"GET /result/{job_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        f"GET /result/{job_id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),
    )
    assert [(answer.status, answer.body) for answer in answers] == [(204, b""), (204, b"")]


async def test_clients_of_http_1_0_are_served(client: Client) -> None:
    """An HTTP/1.0 client without a Host gets the same bytes, and the end of the connection."""
    job_id = await submit(client, 1, 10**5)
    body = (await fetch(client, job_id)).encode()
    (answer,) = await over_one_connection(client, f"POST /primes?{SMALL} HTTP/1.0\r\n\r\n".encode())
    assert (answer.status, answer.body) == (200, f'"{SMALL_ID}"\n'.encode())
    (answer,) = await over_one_connection(client, f"GET /result/{job_id} HTTP/1.0\r\n\r\n".encode())
    assert (answer.status, answer.body) == (200, body)
