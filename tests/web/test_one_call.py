"""GET /primes: the file of a range in one call, at once or while it is found."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it ships no stubs
import pytest
from aiohttp import ClientPayloadError, ClientResponse, ClientSession, TCPConnector
from aiohttp.test_utils import TestServer
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Job, Range, Settings, create_app, service_of
from primesvc.formats.catalog import FORMATS
from primesvc.web import one_call, sending
from primesvc.web.context import context_in
from tests.formats.files import decoded, file_of, primes_of
from tests.helpers import WAIT_S, assert_problem, eventually, finished, idle
from tests.oracles import primes_between
from tests.web.downloads import Downloads
from tests.web.helpers import (
    FaultyExecutor,
    HeldExecutor,
    mounted,
    narrow_client,
    narrow_server,
    raw_exchange,
    serve,
)

SMALL: Final = "/primes?start=4&end=11"
MEDIUM: Final = (0, 10**7)
MEDIUM_PATH: Final = "/primes?start=0&end=1e7"
"""Several segments; 5 MB as JSON."""

LONG: Final = (0, 10**12)
LONG_PATH: Final = "/primes?start=0&end=1e12"
"""Minutes of work: unfinished for as long as a test looks."""

HELD: Final = (0, 4 * 10**8)
HELD_PATH: Final = "/primes?start=0&end=4e8"
"""Several chunks, of which each is done when a test says so."""

BROWSER: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"
JAVA: Final = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"

BAD_PARAMETER: Final = "urn:primesvc:problem:invalid-parameter"
JOB_CANCELLED: Final = "urn:primesvc:problem:job-cancelled"
JOB_FAILED: Final = "urn:primesvc:problem:job-failed"
NOT_ACCEPTABLE: Final = "urn:primesvc:problem:not-acceptable"
ORIGIN_NOT_ALLOWED: Final = "urn:primesvc:problem:origin-not-allowed"
SERVICE_FULL: Final = "urn:primesvc:problem:service-full"
TOO_LONG: Final = "urn:primesvc:problem:range-not-allowed"


@pytest.fixture
def nothing_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no job, however short it is."""
    monkeypatch.setattr(one_call, "QUICK_S", -1.0)


@pytest.fixture
def all_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for every job, however busy the machine is."""
    monkeypatch.setattr(one_call, "QUICK_S", WAIT_S)


class Held(Downloads):
    """Downloads from an application whose jobs do a chunk only when they are told to."""

    executor: HeldExecutor

    @property
    def job(self) -> Job | None:
        """The job for the range `HELD`, if it was asked for."""
        return self.service.find(Range(*HELD))

    async def step(self) -> None:
        """Let one chunk of the job be done."""
        await eventually(lambda: self.executor.held > 0)
        self.executor.run()

    async def finish(self) -> None:
        """Let the whole job be done."""
        assert self.job is not None
        while not self.job.state.final:
            if self.executor.held:
                self.executor.run()
            await asyncio.sleep(0)


@pytest.fixture
async def held(nothing_is_quick: None, aiohttp_client: AiohttpClient) -> AsyncIterator[Held]:
    """Nothing is done of any job yet."""
    executor = HeldExecutor()
    app = create_app(Settings(workers=2), executor=executor)
    held = Held(await aiohttp_client(app, auto_decompress=False), service_of(app))
    held.executor = executor
    yield held
    executor.drop()
    await held.client.close()


async def broken_off(response: ClientResponse) -> bytes:
    """The body of an answer that has no proper end."""
    got = bytearray()

    async def read() -> None:
        nonlocal got
        async for data in response.content.iter_any():
            got += data

    with pytest.raises(ClientPayloadError):
        await read()
    return bytes(got)


# --- quick ones ----------------------------------------------------------------------------------


async def test_it_is_the_file_of_the_job(downloads: Downloads) -> None:
    """In every format and page by page: what `/jobs/{id}/primes` gives, and a link to the job."""
    path = await downloads.path(4, 11)
    for name in FORMATS:
        for page in ("", "&offset=1&limit=1", "&offset=7", "&limit=0", "&numbers=string"):
            query = f"format={name}{page}"
            once, twice = [
                await downloads.get(at) for at in (f"{SMALL}&{query}", f"{path}?{query}")
            ]
            assert once.status == 200
            assert once.body == twice.body
            links = once.links
            assert f"/{links.pop('describedby')}/primes" == path
            links = {rel: way.replace("start=4&end=11&", "") for rel, way in links.items()}
            assert links == twice.links
            for header in ("ETag", "Cache-Control", "Vary", "Accept-Ranges", "Content-Disposition"):
                assert once.headers.getall(header, []) == twice.headers.getall(header, [])
    assert len(downloads.service.jobs) == 1


@pytest.mark.usefixtures("all_is_quick")
async def test_a_quick_range_has_a_length_at_once(downloads: Downloads) -> None:
    """Nobody asked for it before: it is waited for, and can be read in parts."""
    file = file_of("csv", *MEDIUM)
    path = f"{MEDIUM_PATH}&format=csv"
    answer = await downloads.get(path, {"Range": "bytes=100-199"})
    assert (answer.status, answer.body) == (206, file[100:200])
    whole = await downloads.get(path)
    assert whole.headers["Content-Length"] == str(len(file))
    assert whole.body == file
    known = await downloads.get(path, {"If-None-Match": whole.headers["ETag"]})
    assert known.status == 304
    head = await downloads.head(path)
    assert head.headers["Content-Length"] == str(len(file))
    assert len(downloads.service.jobs) == 1


@pytest.mark.usefixtures("all_is_quick")
async def test_head_of_a_quick_range_has_its_length(downloads: Downloads) -> None:
    """Also if nobody asked for it before."""
    head = await downloads.head(SMALL)
    assert head.status == 200
    assert head.headers["Content-Length"] == str(len("[5,7,11]\n"))
    assert head.headers["ETag"]


async def test_pandas_takes_the_address(downloads: Downloads) -> None:
    """It is told nothing but the address, and there is no job before."""
    url = downloads.url("/primes?start=0&end=1e6&format=csv")
    async with asyncio.timeout(WAIT_S):
        table = await asyncio.to_thread(pd.read_csv, url)
    np.testing.assert_array_equal(table["prime"].to_numpy(np.uint64), primes_of(0, 10**6))


@pytest.mark.parametrize(
    ("query", "status", "type_", "says"),
    [
        ("", 400, BAD_PARAMETER, "start: it is missing"),
        ("start_num=4&end_num=11", 400, BAD_PARAMETER, "start: it is missing"),
        ("start=4", 400, BAD_PARAMETER, "end: it is missing"),
        ("start=x&end=11", 400, BAD_PARAMETER, "start: 'x'"),
        ("start=11&end=4", 400, BAD_PARAMETER, "end: "),
        ("start=4&end=11&offset=-1", 400, BAD_PARAMETER, "offset: "),
        ("start=4&end=11&limit=x", 400, BAD_PARAMETER, "limit: "),
        ("start=4&end=11&numbers=x", 400, BAD_PARAMETER, "numbers: "),
        ("start=4&end=11&format=xml", 406, NOT_ACCEPTABLE, "csv"),
        ("start=0&end=2^64", 422, TOO_LONG, ""),
        ("start=0&end=2^64-1", 422, TOO_LONG, "max_span"),
    ],
)
async def test_what_is_wrong_is_told(
    downloads: Downloads, query: str, status: int, type_: str, says: str
) -> None:
    """As where jobs are asked for; and no job is started."""
    async with downloads.client.get(f"/primes?{query}") as response:
        await assert_problem(response, status, type_, says=says)
    assert (await downloads.head(f"/primes?{query}")).status == status
    assert len(downloads.service.jobs) == 0


# --- long ones -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_is_quick")
@pytest.mark.parametrize("name", ["json", "csv", "arrow"])
async def test_a_long_range_is_sent_while_it_is_found(downloads: Downloads, name: str) -> None:
    """Without a length and without parts, byte for byte the file that its job has in the end."""
    answer = await downloads.get(f"{MEDIUM_PATH}&format={name}", {"Range": "bytes=0-9"})
    assert answer.status == 200
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert not {"Content-Length", "Accept-Ranges", "Content-Range"} & set(answer.headers)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == FORMATS[name].media_type
    file = file_of(name, *MEDIUM)
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(file).digest()
    job = await finished(downloads.service, *MEDIUM)
    assert answer.links == {"describedby": f"jobs/{job.id}"}
    later = await downloads.head(f"{MEDIUM_PATH}&format={name}")
    assert later.headers["ETag"] == answer.headers["ETag"]
    assert later.headers["Content-Length"] == str(len(file))
    await eventually(lambda: idle(downloads.service))


@pytest.mark.usefixtures("far_away", "nothing_is_quick")
@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_long_range_is_coded_while_it_is_found(downloads: Downloads, coding: str) -> None:
    """What a client decodes is the file."""
    path = MEDIUM_PATH
    answer = await downloads.get(path, {"Accept-Encoding": coding})
    assert answer.headers["Content-Encoding"] == coding
    file = decoded(coding, answer.body)
    assert hashlib.sha256(file).digest() == hashlib.sha256(file_of("json", *MEDIUM)).digest()


@pytest.mark.usefixtures("nothing_is_quick")
async def test_a_selection_is_sent_while_it_is_found(downloads: Downloads) -> None:
    """What jobs can select, and when they are done the same bytes."""
    path = f"{MEDIUM_PATH}&pattern=twins&modulus=4&residue=3&format=text"
    answer = await downloads.get(path)
    assert "Content-Length" not in answer.headers
    assert "primes-0-10000000-twins-4-3.txt" in answer.headers["Content-Disposition"]
    assert answer.body.startswith(b"3\n11\n59\n71\n")
    job = downloads.service.job(answer.links["describedby"].removeprefix("jobs/"))
    await job.wait()
    later = await downloads.get(path)
    assert later.headers["Content-Length"] == str(len(answer.body))
    assert later.body == answer.body


async def test_what_is_known_is_sent_at_once(held: Held) -> None:
    """The head before anything is found, and of the body what the first chunk gave."""
    async with asyncio.timeout(WAIT_S), held.client.get(f"{HELD_PATH}&format=text") as response:
        assert response.status == 200
        assert held.job is not None
        await held.step()
        begin = await response.content.readexactly(20)
        assert begin == b"2\n3\n5\n7\n11\n13\n17\n19\n"
        assert not held.job.state.final


@pytest.mark.parametrize("name", ["json", "npy"])
async def test_a_job_that_is_cancelled_leaves_no_whole_file(held: Held, name: str) -> None:
    """What is being sent breaks off; what was held back is the error, as for any job."""
    async with asyncio.timeout(WAIT_S):
        asked = asyncio.create_task(held.client.get(f"{HELD_PATH}&format={name}"))
        await held.step()
        if name == "npy":
            assert held.job is not None
            held.service.cancel(held.job)
            await assert_problem(await asked, 409, JOB_CANCELLED)
            return
        async with await asked as response:
            assert await response.content.readexactly(5) == b"[2,3,"
            assert held.job is not None
            held.service.cancel(held.job)
            await broken_off(response)
    await eventually(lambda: held.service.runtime.buffers.taken_bytes == 0)


@pytest.mark.usefixtures("nothing_is_quick")
async def test_a_job_that_fails_leaves_no_whole_file(aiohttp_client: AiohttpClient) -> None:
    """The client is told by the missing end; who asks again when all is well gets the file."""
    with FaultyExecutor(9_000_000, RuntimeError("the disk is on fire"), only="sieve") as executor:
        app = create_app(Settings(workers=2, cache_bytes=2**20), executor=executor)
        downloads = Downloads(await aiohttp_client(app), service_of(app))
        async with asyncio.timeout(WAIT_S), downloads.client.get(MEDIUM_PATH) as r:
            assert r.status == 200
            got = await broken_off(r)
        assert not got.endswith(b"]\n")
        assert file_of("json", *MEDIUM).startswith(got)
        async with downloads.client.get(f"{MEDIUM_PATH}&format=npy") as response:
            await assert_problem(response, 500, JOB_FAILED)
        executor.fault = None
        assert (await downloads.get(MEDIUM_PATH)).body == file_of("json", *MEDIUM)
        await downloads.client.close()


@pytest.mark.usefixtures("nothing_is_quick")
async def test_a_file_that_cannot_grow_is_held_back(downloads: Downloads) -> None:
    """NumPy's begins with the count; and HTTP/1.0 knows no end but that of the length."""
    answer = await downloads.get("/primes?start=0&end=1e6&format=npy")
    assert answer.body == file_of("npy", 0, 10**6)
    assert answer.headers["Content-Length"] == str(len(answer.body))
    request = f"GET {MEDIUM_PATH}&format=csv HTTP/1.0\r\n\r\n"
    head, _, body = (await raw_exchange(downloads.address, request)).partition(b"\r\n\r\n")
    assert body == file_of("csv", *MEDIUM)
    assert f"Content-Length: {len(body)}".encode() in head


async def test_a_page_waits_for_its_primes_and_no_longer(held: Held) -> None:
    """Its tag and its bytes are those that it has when all is done; a next page may follow."""
    path, count = f"{HELD_PATH}&offset=3&limit=4", 21_336_326
    async with asyncio.timeout(WAIT_S):
        asked = asyncio.create_task(held.get(path, {"Range": "bytes=1-2"}))
        later = asyncio.create_task(held.get(f"{HELD_PATH}&offset={count - 2}&limit=9"))
        await held.step()
        answer = await asked
        assert (answer.status, answer.body) == (206, b"7,")
        assert set(answer.links) == {"describedby", "next", "prev"}
        head = await held.head(path)
        assert held.job is not None
        assert not held.job.state.final
        assert "Content-Length" not in head.headers
        assert not later.done()
        await held.finish()
        assert (await later).body == b"[399999949,399999959]\n"
    done = await held.get(path)
    assert done.headers["ETag"] == answer.headers["ETag"] == head.headers["ETag"]
    assert done.body == file_of("json", 7, 17)


async def test_head_starts_no_long_job(downloads: Downloads) -> None:
    """It tells all but the length; of a job that runs already also where it is."""
    for method in ("HEAD", "GET"):
        head = await downloads.head(f"{LONG_PATH}&format=csv")
        assert head.status == 200
        assert head.headers["Content-Type"] == FORMATS["csv"].media_type
        assert not {"Content-Length", "Accept-Ranges"} & set(head.headers)
        if method == "HEAD":
            assert len(downloads.service.jobs) == 0
            assert head.links == {}
            async with downloads.client.get(LONG_PATH) as response:
                assert response.status == 200
        else:
            job = downloads.service.find(Range(*LONG))
            assert job is not None
            assert head.links == {"describedby": f"jobs/{job.id}"}


@pytest.mark.usefixtures("nothing_is_quick")
@pytest.mark.parametrize("handler_cancellation", [True, False])
@pytest.mark.parametrize("query", ["", "&format=npy", "&offset=999999999"])
async def test_who_leaves_is_not_worked_for(query: str, *, handler_cancellation: bool) -> None:
    """What was held for a client goes with it; its job goes on, as one that was submitted does."""
    executor = HeldExecutor()
    app = create_app(Settings(workers=2), executor=executor)
    async with serve(app, handler_cancellation=handler_cancellation) as (_, port):
        counters, service = context_in(app).counters, service_of(app)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {HELD_PATH}{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await eventually(lambda: executor.held > 0)
        assert not list(counters.requests())
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: bool(list(counters.requests())))
        assert list(counters.requests()) == [("GET", "/primes", 499 if query else 200, 1)]
        assert service.runtime.buffers.taken_bytes == 0
        job = service.find(Range(*HELD))
        assert job is not None
        assert not job.state.final
        executor.drop()


async def test_files_are_bounded_as_jobs_are(aiohttp_client: AiohttpClient) -> None:
    """Who opens and drops many gets 503 once there are too many jobs; those there are go on."""
    app = create_app(Settings(workers=1, max_unfinished_jobs=2))
    downloads = Downloads(await aiohttp_client(app), service_of(app))
    for end in (10**12, 10**12 + 1, 10**12 + 2):
        async with downloads.client.get(f"/primes?start=0&end={end}") as response:
            if end == 10**12 + 2:
                await assert_problem(response, 503, SERVICE_FULL)
                assert response.headers["Retry-After"]
            else:
                assert response.status == 200
    assert len(downloads.service.jobs) == 2


@pytest.mark.usefixtures("nothing_is_quick")
async def test_a_slow_client_gets_the_right_bytes(
    monkeypatch: pytest.MonkeyPatch, aiohttp_client: AiohttpClient, settings: Settings
) -> None:
    """One that pauses costs nothing meanwhile, also while its file grows."""
    monkeypatch.setattr(sending, "PATIENCE_S", 0.02)
    app = create_app(settings)
    server = TestServer(app, socket_factory=narrow_server)
    downloads = Downloads(await aiohttp_client(server), service_of(app))

    def waits() -> bool:
        """Whether the server has bytes that nobody takes, and does nothing about it."""
        (connection,) = server.handler.connections
        unsent = connection.transport and connection.transport.get_write_buffer_size()
        return bool(unsent) and idle(downloads.service)

    pauses, digest = 0, hashlib.sha256()
    async with (
        asyncio.timeout(WAIT_S),
        ClientSession(
            connector=TCPConnector(socket_factory=narrow_client), read_bufsize=2**14
        ) as session,
        session.get(downloads.url(MEDIUM_PATH)) as response,
    ):
        assert "Content-Length" not in response.headers
        size = 0
        while data := await response.content.read(2**18):
            digest.update(data)
            size += len(data)
            if pauses < 4 and size >= pauses * 2**20:
                await eventually(waits)
                pauses += 1
    assert pauses == 4
    assert digest.digest() == hashlib.sha256(file_of("json", *MEDIUM)).digest()


# --- browsers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/a/b"])
async def test_browsers_are_shown_the_page(
    aiohttp_client: AiohttpClient, settings: Settings, prefix: str
) -> None:
    """What prefers HTML gets the page, below any prefix; a format that is named goes before."""
    client = await aiohttp_client(mounted(settings, prefix))
    path = prefix + SMALL
    for accept, query, is_page in (
        (BROWSER, "", True),
        (BROWSER, "&format=csv&limit=1", False),
        (JAVA, "", True),
        ("*/*", "&limit=1", False),
        ("application/json, text/html", "&limit=1", False),
        ("text/html;q=0.5, text/csv", "&limit=1", False),
    ):
        async with client.get(path + query, headers={"Accept": accept}) as response:
            assert response.status == 200
            assert (response.content_type == "text/html") == is_page, accept
            assert "Accept" in response.headers["Vary"].split(", ")
            if is_page:
                assert response.headers["Cache-Control"] == "no-cache"
                assert "Link" not in response.headers
                known = {"Accept": accept, "If-None-Match": response.headers["ETag"]}
                async with client.get(path, headers=known) as again:
                    assert again.status == 304
                    assert "Accept" in again.headers["Vary"].split(", ")


LINK: Final = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": BROWSER}


@pytest.mark.parametrize(
    ("site", "asks"),
    [
        ("none", True),
        ("same-origin", True),
        ("cross-site", False),
        ("same-site", False),
        ("", False),
    ],
)
async def test_the_page_asks_for_what_the_user_asked_for(
    aiohttp_client: AiohttpClient, site: str, asks: bool
) -> None:
    """Only where the browser says that no page of another site did; and never by itself."""
    app = create_app(Settings(workers=1), listens_on=["127.0.0.1"])
    client = await aiohttp_client(app)
    headers = LINK | ({"Sec-Fetch-Site": site} if site else {})
    async with client.get(SMALL, headers=headers) as response:
        assert response.content_type == "text/html"
        assert ("<html data-asks " in await response.text()) == asks
        assert {"Sec-Fetch-Site", "Sec-Fetch-Mode"} <= set(response.headers["Vary"].split(", "))
    assert len(service_of(app).jobs) == 0


async def test_pages_of_other_sites_start_nothing(aiohttp_client: AiohttpClient) -> None:
    """Pictures, scripts, frames and calls are refused; a link leads to the page."""
    app = create_app(
        Settings(workers=1, allow_origin=("https://app.example",)), listens_on=["127.0.0.1"]
    )
    client = await aiohttp_client(app)
    foreign = {"Sec-Fetch-Site": "cross-site"}
    for headers in (
        foreign
        | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Accept": "image/png,*/*"},
        foreign | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script", "Accept": "*/*"},
        foreign | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        foreign | {"Sec-Fetch-Mode": "cors", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
    ):
        for method in ("GET", "HEAD"):
            async with client.request(method, f"{SMALL}&format=csv", headers=headers) as response:
                assert response.status == 403, headers
                if method == "GET":
                    await assert_problem(response, 403, ORIGIN_NOT_ALLOWED, says="--allow-origin")
    async with client.get(f"{SMALL}&format=csv", headers=foreign | LINK) as response:
        assert (response.status, response.content_type) == (200, "text/html")
    assert len(service_of(app).jobs) == 0
    allowed = foreign | {"Sec-Fetch-Mode": "cors", "Origin": "https://app.example"}
    async with client.get(f"{SMALL}&format=csv", headers=allowed) as response:
        assert await response.read() == file_of("csv", 4, 11)
    async with client.get(f"{SMALL}&format=csv", headers={"Sec-Fetch-Site": "none"}) as response:
        assert await response.read() == file_of("csv", 4, 11)


async def test_a_range_with_the_same_question_is_the_same_job(downloads: Downloads) -> None:
    """In whatever form its numbers are written, and whichever way it is asked for."""
    async with downloads.client.post("/primes?start_num=0&end_num=100") as response:
        job_id = await response.json()
    answer = await downloads.get("/primes?start=0&end=1e2")
    assert answer.links["describedby"] == f"jobs/{job_id}"
    assert answer.body == file_of("json", 0, 100)
    assert primes_between(0, 100) == primes_of(0, 100).tolist()
