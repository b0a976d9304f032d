"""Memory for answers: shared, bounded, and refused to those who come too late."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import PrimeService, Settings, create_app, service_of
from primesvc.budget import Budget
from primesvc.web import streams
from tests.helpers import WAIT_S, assert_problem, eventually, fetch, submit
from tests.oracles import primes_between

Client = TestClient[web.Request, web.Application]

FULL = "urn:primesvc:problem:service-full"

LARGE = (0, 10**8)
"""A range whose primes, 57 MB of text, no system keeps for a client that does not read."""


def little_memory(**more: float) -> Settings:
    """The least memory that two workers can do with."""
    least = Budget.of(Settings(), processes=3, usable_bytes=0).total_bytes
    return Settings(workers=2, memory_bytes=least, **more)  # type: ignore[arg-type]


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> Client:
    """A client of an application with little memory."""
    return await aiohttp_client(create_app(little_memory()))


@pytest.fixture
async def crowd() -> AsyncIterator[AsyncExitStack]:
    """Clients that leave in the end."""
    async with AsyncExitStack() as stack:
        yield stack


def service_behind(client: Client) -> PrimeService:
    """The service that the client asks."""
    return service_of(client.app)


async def test_downloads_beyond_the_memory_are_refused_until_others_end(
    client: Client, crowd: AsyncExitStack
) -> None:
    """A crowd that does not read takes the memory for downloads, and nothing else."""
    buffers = service_behind(client).buffers
    job_id = await submit(client, *LARGE)
    await eventually(lambda: service_behind(client).job(job_id).state.final)
    for _ in range(200):
        # Whoever has an answer reads no more of it than its head.
        async with asyncio.timeout(WAIT_S):
            answer = await crowd.enter_async_context(client.get(f"/result/{job_id}"))
        if answer.status != 200:
            break
    assert answer.status == 503
    assert 0 < buffers.taken_bytes <= buffers.max_bytes
    async with client.get(f"/result/{job_id}") as response:
        document = await assert_problem(response, 503, FULL, says="on their way to clients")
        assert int(response.headers["Retry-After"]) > 0
        assert document["limit"] == buffers.max_bytes
    # The length, what is small, and what is asked of the service itself need none of it.
    async with client.head(f"/jobs/{job_id}/primes?format=text") as response:
        assert response.content_length == 51_099_000
    assert await fetch(client, await submit(client, 4, 11)) == '"[5, 7, 11]"\n'
    async with client.get("/metrics") as response:
        text = await response.text()
        assert 'primesvc_memory_bytes{part="buffers"}' in text
        assert "primesvc_sends_refused_total 0.0" not in text
    await crowd.aclose()
    await eventually(lambda: buffers.taken_bytes == 0)
    async with client.get(f"/jobs/{job_id}/primes?format=text", headers={"Range": "bytes=-9"}) as r:
        assert (r.status, await r.text()) == (206, "99999989\n")


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_slow_readers_take_what_they_hold(
    aiohttp_client: AiohttpClient, crowd: AsyncExitStack, coding: str
) -> None:
    """High up a piece takes 16 MB while it is read, but a client that waits holds less than 1 MB.

    So many have room, and a page is there for everybody else.
    """
    client = await aiohttp_client(create_app(little_memory(trust_forwarded=True)))
    buffers = service_behind(client).buffers
    job_id = await submit(client, 10**15, 10**15 + 2**28)
    await eventually(lambda: service_behind(client).job(job_id).state.final)
    url = f"/jobs/{job_id}/primes?format=text"
    headers = {"Accept-Encoding": coding, "X-Forwarded-For": "203.0.113.7"}
    number = 12
    for _ in range(number):
        async with asyncio.timeout(WAIT_S):
            answer = await crowd.enter_async_context(client.get(url, headers=headers))
        assert answer.status == 200
        assert answer.headers.get("Content-Encoding", "identity") == coding
    await eventually(lambda: buffers.taken_bytes <= number * 2**20)
    async with asyncio.timeout(WAIT_S), client.get(f"{url}&limit=1") as response:
        assert (response.status, await response.text()) == (200, f"{10**15 + 37}\n")


async def test_event_streams_beyond_the_memory_are_refused(client: Client) -> None:
    """A stream may take what its client does not read: without that it is not begun."""
    service = service_behind(client)
    job_id = await submit(client, *LARGE)
    with service.buffers.lease(service.buffers.max_bytes):
        async with client.get(f"/jobs/{job_id}/events") as response:
            await assert_problem(response, 503, FULL)
        await eventually(lambda: service.job(job_id).state.final)
        # A page and a small range are there all the same.
        path = f"/jobs/{job_id}/primes?format=text"
        async with client.get(f"{path}&offset=1&limit=2") as response:
            assert (response.status, await response.text()) == (200, "3\n5\n")
        async with client.get(path, headers={"Range": "bytes=-9"}) as response:
            assert (response.status, await response.text()) == (206, "99999989\n")
    job_id = await submit(client, 0, 10**12)  # one that runs on
    async with client.get(f"/jobs/{job_id}/events") as response:
        assert response.status == 200
        assert service.buffers.taken_bytes > 0
    await eventually(lambda: service.buffers.taken_bytes == 0)


@pytest.mark.parametrize("query", ["format=text", "format=npy", "format=arrow"])
async def test_without_memory_for_speed_files_are_exact(client: Client, query: str) -> None:
    """Read in small steps, one after another, a file is the same file."""
    service = service_behind(client)
    job_id = await submit(client, 10**6, 2 * 10**7)
    await eventually(lambda: service.job(job_id).state.final)
    url = f"/jobs/{job_id}/primes?{query}"
    async with client.get(url) as response:
        fast = await response.read()
    before = service.runtime.dispatcher.calls
    with service.buffers.lease(1, for_speed=service.buffers.max_bytes // 2) as other:
        assert other.extend()
        async with client.get(url) as response:
            assert response.content_length == len(fast)
            assert await response.read() == fast
    # Small steps are many: about a call for 256 KiB.
    assert service.runtime.dispatcher.calls - before > len(fast) // 2**19


async def test_a_long_list_of_jobs_arrives_whole(client: Client) -> None:
    """A body too large to be handed over at once is sent in pieces, with its length."""
    for number in range(150):
        await submit(client, number, number + 10)
    async with client.get("/jobs?limit=1000") as response:
        assert response.status == 200
        body = await response.read()
        assert response.content_length == len(body) > streams.PLAIN_BODY_BYTES
        assert len(json.loads(body)["jobs"]) == 150
    async with client.head("/jobs?limit=1000") as response:
        assert response.content_length == len(body)
    buffers = service_behind(client).buffers
    with buffers.lease(buffers.max_bytes):
        async with client.get("/jobs?limit=1000") as response:
            await assert_problem(response, 503, FULL)
        async with client.get("/jobs?limit=1") as response:
            assert response.status == 200
    await eventually(lambda: buffers.taken_bytes == 0)


async def test_a_client_that_takes_nothing_of_a_page_is_cut(
    aiohttp_client: AiohttpClient, crowd: AsyncExitStack
) -> None:
    """Also what is no result is sent in time or not at all; pipelined, so that it cannot fit."""
    client = await aiohttp_client(create_app(little_memory(stall_timeout_s=0.1)))
    buffers = service_behind(client).buffers
    reader, writer = await asyncio.open_connection(client.host, client.port, limit=2**16)
    crowd.callback(writer.close)
    request = b"GET /static/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    writer.write(request * 10)
    await writer.drain()
    await eventually(lambda: buffers.taken_bytes > 0)
    await eventually(lambda: not client.server.handler.connections)
    assert buffers.taken_bytes == 0
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(10 * 1_732_839)


async def test_a_range_that_would_take_too_long_is_refused_with_the_estimate(
    client: Client,
) -> None:
    """The error says how long it would take here and what is allowed, and nothing is begun."""
    end = 2**64 - 1
    for path in (
        f"/primes?start_num={end - 10**13 + 1}&end_num={end}",
        f"/jobs?start={end - 10**13 + 1}&end={end}&kind=primes",
        f"/jobs?start={end - 10**13 + 1}&end={end}&dry_run=true",
    ):
        async with client.post(path) as response:
            document = await assert_problem(
                response, 422, "urn:primesvc:problem:range-not-allowed", says="max_job_s"
            )
        assert document["limit"] == 6 * 3600
        assert document["estimate_s"] > 6 * 3600
    assert len(service_behind(client).jobs) == 0
    assert primes_between(0, 10) == [2, 3, 5, 7]
