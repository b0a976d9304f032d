"""PrimeClient against a real service: what it gives, how it waits, which errors it raises."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from numpy.typing import NDArray
from pytest_aiohttp.plugin import AiohttpServer

from primesvc import (
    NumberFacts,
    PrimeClient,
    PrimeService,
    RemoteJob,
    Settings,
    State,
    create_app,
    service_of,
)
from primesvc.errors import (
    ApiError,
    InvalidParameter,
    InvalidSetting,
    JobCancelled,
    JobFailed,
    JobNotFinished,
    PrimesvcError,
    RemoteError,
    ServerUnreachable,
    UnexpectedAnswer,
)
from primesvc.sieve.range import Range
from tests.client.servers import Relay, serving
from tests.helpers import WAIT_S, eventually, naive_primes
from tests.oracles import PI_OF_POWERS, primes_between, statistics_of
from tests.web.helpers import FaultyExecutor

TOP = 2**64 - 1
NO_JOB = "00000000-0000-4000-8000-000000000000"
LONG = (0, 10**12)
"""A range that takes minutes to sieve."""

TWICE = 2
"""A GET that gets no answer is sent once more by aiohttp itself."""


async def gathered(arrays: AsyncIterator[NDArray[np.uint64]]) -> list[int]:
    """All numbers of the arrays, each asserted to be what is promised of it."""
    numbers: list[int] = []
    async for array in arrays:
        assert array.dtype == np.uint64
        assert array.ndim == 1
        assert len(array) > 0
        assert not array.flags.writeable
        numbers += array.tolist()
    return numbers


# What it gives


async def test_a_range_from_submit_to_primes(prime_client: PrimeClient) -> None:
    """Submit, wait, and read the primes as arrays."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.submit(0, 1000)
        done = await prime_client.wait(job)
        assert (done.id, done.start, done.end, done.kind) == (job.id, 0, 1000, "primes")
        assert (done.state, done.progress, done.count, done.eta_s) == ("succeeded", 1.0, 168, 0.0)
        assert await gathered(prime_client.primes(done)) == naive_primes(0, 1000)


async def test_some_of_the_primes(prime_client: PrimeClient) -> None:
    """A job is of a selection, and so are its count and its primes."""
    async with asyncio.timeout(WAIT_S):
        assert await prime_client.count(0, 1000, pattern="twins") == 35
        job = await prime_client.wait(await prime_client.submit(0, 50, pattern="0,2"))
        assert (job.pattern, job.modulus, job.residue, job.count) == ("twins", None, None, 6)
        assert await gathered(prime_client.primes(job)) == [3, 5, 11, 17, 29, 41]
        job = await prime_client.submit(0, 50, modulus=4, residue=3)
        assert (job.pattern, job.modulus, job.residue) == (None, 4, 3)


async def test_the_same_range_is_the_same_job(prime_client: PrimeClient) -> None:
    """An id depends on nothing but the range and the kind."""
    first = await prime_client.submit(4, 11)
    assert (await prime_client.submit(4, 11)).id == first.id
    assert (await prime_client.submit(4, 11, "count")).id != first.id
    assert (await prime_client.job(first.id)).id == first.id


async def test_one_number(prime_client: PrimeClient, server: TestServer) -> None:
    """Everything about a number is what the service says to who asks it without HTTP."""
    service = service_of(server.app)
    async with asyncio.timeout(WAIT_S):
        for number in (0, 1, 2, 360, 10**7, 10**7 + 1, TOP):
            assert await prime_client.number(number) == await service.number(number)
        facts = await prime_client.number(360)
    assert facts == NumberFacts(360, False, ((2, 3), (3, 2), (5, 1)), 359, 367, 72)
    for number, status in ((-1, 400), (TOP + 1, 422)):
        with pytest.raises(ApiError) as caught:
            await prime_client.number(number)
        assert caught.value.status == status


async def test_many_numbers(prime_client: PrimeClient) -> None:
    """Which of some numbers are primes; one that is none is refused."""
    async with asyncio.timeout(WAIT_S):
        primes = naive_primes(0, 20_000)
        verdicts = await prime_client.are_prime(range(20_001))
        assert [n for n, verdict in enumerate(verdicts) if verdict] == primes
        assert await prime_client.are_prime(np.array([TOP, TOP - 58], np.uint64)) == [False, True]
        assert await prime_client.are_prime([]) == []
        for numbers, status in (([7, -7], 400), ([TOP + 1], 422)):
            with pytest.raises(ApiError) as caught:
                await prime_client.are_prime(numbers)
            assert caught.value.status == status
        with pytest.raises(InvalidParameter, match="not whole"):
            await prime_client.are_prime([7.0, 7.5])


async def test_more_numbers_than_a_request_takes(server: TestServer) -> None:
    """They are asked for in several requests, and the verdicts come in their order."""
    numbers = [7] * 100_000 + [9, 11]
    async with Relay(server) as relay, PrimeClient(relay.url) as client:
        verdicts = await asyncio.wait_for(client.are_prime(iter(numbers)), WAIT_S)
        assert verdicts == [True] * 100_000 + [False, True]
        assert relay.paths() == ["/numbers"] * 2


@pytest.mark.parametrize(
    "document",
    [[], {}, {"prime": True}, {"prime": [1, 0]}, {"prime": [True]}, {"number": "x", "factors": 5}],
    ids=str,
)
async def test_what_is_no_answer_about_numbers(
    aiohttp_server: AiohttpServer, document: Any
) -> None:
    """A document that this API does not have is an `UnexpectedAnswer`."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document)

    app = web.Application()
    app.add_routes([web.get("/numbers/7", answer), web.post("/numbers", answer)])
    server = await aiohttp_server(app)
    async with PrimeClient(str(server.make_url("/"))) as client:
        with pytest.raises(UnexpectedAnswer):
            await client.number(7)
        with pytest.raises(UnexpectedAnswer):
            await client.are_prime([7, 9])


async def test_many_primes_come_in_several_arrays(prime_client: PrimeClient) -> None:
    """Several segments' primes are all there, ascending, and as many as is known."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.submit(0, 10**7)
        arrays = [array async for array in prime_client.primes(job)]
    assert len(arrays) > 1
    primes = np.concatenate(arrays)
    assert len(primes) == PI_OF_POWERS[7]
    assert bool((np.diff(primes) > 0).all())
    assert int(primes.sum(dtype=np.uint64)) == 3203324994356


@pytest.mark.parametrize(("start", "end"), [(24, 28), (2, 2), (0, 1)])
async def test_few_or_no_primes(prime_client: PrimeClient, start: int, end: int) -> None:
    """A range without primes gives no arrays; both ends belong to the range."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.submit(start, end)
        assert await gathered(prime_client.primes(job)) == naive_primes(start, end)
        assert await prime_client.count(start, end) == len(naive_primes(start, end))


async def test_numbers_are_exact_up_to_the_end_of_the_line(prime_client: PrimeClient) -> None:
    """Numbers above 2^53, which many JSON readers alter, are exact both ways."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.wait(await prime_client.submit(TOP - 1001, TOP))
        assert (job.start, job.end) == (TOP - 1001, TOP)
        primes = await gathered(prime_client.primes(job))
    assert primes == primes_between(TOP - 1001, TOP)
    assert primes[-1] == 2**64 - 59


async def test_count(prime_client: PrimeClient) -> None:
    """`count` is the number of primes."""
    async with asyncio.timeout(WAIT_S):
        for power in (0, 1, 6, 8):
            assert await prime_client.count(0, 10**power) == PI_OF_POWERS[power]


async def test_nth(prime_client: PrimeClient) -> None:
    """`nth` is the prime, above or below; what cannot be is refused."""
    async with asyncio.timeout(WAIT_S):
        assert await prime_client.nth(10**6) == 15_485_863
        assert await prime_client.nth(-1, TOP) == 2**64 - 59
        job = await prime_client.wait(await prime_client.submit_nth(1, 10))
        assert (job.prime, job.end, job.count, job.method) == (11, None, 0, None)
        for n, status in ((0, 400), (10**18, 422)):
            with pytest.raises(ApiError) as caught:
                await prime_client.nth(n)
            assert caught.value.status == status


async def test_statistics(prime_client: PrimeClient) -> None:
    """`statistics` are those of the range, also near 2^64; what cannot be counted is refused."""
    async with asyncio.timeout(WAIT_S):
        for start, end in ((0, 1000), (TOP - 3000, TOP), (24, 28)):
            found = await prime_client.statistics(start, end, modulus=12, bins=5)
            assert found == statistics_of(start, end, 12, 5)
        job = await prime_client.wait(await prime_client.submit_statistics(0, 1000))
        assert job.statistics == statistics_of(0, 1000, 10, 500)
        assert (job.count, job.modulus, job.prime, job.method) == (168, 10, None, None)
        assert [listed.statistics for listed in await prime_client.jobs()] == [None] * 4
        for modulus, bins in ((0, 1), (1, 0), (1, 2001), (10_000, 500)):
            with pytest.raises(ApiError, match=r"it must be from|ask for up to") as caught:
                await prime_client.submit_statistics(0, 1000, modulus=modulus, bins=bins)
            assert caught.value.status == 400


async def test_the_method_of_a_count(prime_client: PrimeClient) -> None:
    """A count says how it was found; primes say nothing of the kind."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.wait(await prime_client.submit(0, 1000, "count"))
        assert (job.method, job.prime) == ("sieve", None)
        assert (await prime_client.submit(0, 1000)).method is None


async def test_a_page_by_prime_index(prime_client: PrimeClient) -> None:
    """`offset` and `limit` cut the primes by position, without reading those before."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.submit(0, 10**6)
        page = await gathered(prime_client.primes(job, offset=1000, limit=3))
        assert page == [7927, 7933, 7937]  # the 1001st prime on
        assert await gathered(prime_client.primes(job, offset=78496)) == [999979, 999983]
        assert await gathered(prime_client.primes(job, offset=10**6)) == []
        data = b"".join([c async for c in prime_client.download(job, "text", limit=2)])
        assert data == b"2\n3\n"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("json", b"[5,7,11]\n"),
        ("ndjson", b"5\n7\n11\n"),
        ("text", b"5\n7\n11\n"),
        ("csv", b"prime\n5\n7\n11\n"),
    ],
)
async def test_download_in_every_text_format(
    prime_client: PrimeClient, name: str, body: bytes
) -> None:
    """`download` gives the bytes of the file as the service has it."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.submit(4, 11)
        assert b"".join([chunk async for chunk in prime_client.download(job, name)]) == body


async def test_a_job_is_known_by_its_id_alone(prime_client: PrimeClient) -> None:
    """Whatever takes a job takes its id instead."""
    async with asyncio.timeout(WAIT_S):
        job_id = (await prime_client.submit(4, 11)).id
        assert (await prime_client.wait(job_id)).count == 3
        assert await gathered(prime_client.primes(job_id)) == [5, 7, 11]
        await prime_client.delete(job_id)


async def test_the_document_of_a_job_is_a_value(prime_client: PrimeClient) -> None:
    """A `RemoteJob` does not change, and its times are real times."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    async with asyncio.timeout(WAIT_S):
        job: Any = await prime_client.wait(await prime_client.submit(4, 11))
    assert before < job.created <= job.started <= job.finished
    assert job.finished < datetime.now(UTC) + timedelta(seconds=1)
    assert job.final
    assert job.state == State.SUCCEEDED
    assert job.error is None
    assert job.links["primes"].endswith(f"/jobs/{job.id}/primes")
    assert len({job, await prime_client.job(job.id)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.state = "queued"


async def test_jobs_are_listed_newest_first_and_by_state(prime_client: PrimeClient) -> None:
    """`jobs` lists what the service knows, or only what is in one state."""
    async with asyncio.timeout(WAIT_S):
        assert await prime_client.jobs() == []
        done = await prime_client.wait(await prime_client.submit(4, 11))
        long = await prime_client.submit(*LONG)
        assert [job.id for job in await prime_client.jobs()] == [long.id, done.id]
        assert await prime_client.jobs("succeeded") == [done]
        assert await prime_client.jobs("failed") == []


async def test_more_jobs_than_a_page_holds(prime_client: PrimeClient, there: PrimeService) -> None:
    """All jobs are listed, also if there are more than the service lists at once."""
    async with asyncio.timeout(WAIT_S):
        ids = [(await there.submit(Range(n, n + 1))).id for n in range(1001)]
        assert [job.id for job in await prime_client.jobs()] == ids[::-1]


async def test_cancel_and_delete(prime_client: PrimeClient) -> None:
    """A job that is cancelled ends so, one that is deleted is gone; both may be asked for again."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.submit(*LONG)
        assert (await prime_client.cancel(job)).state == "cancelled"
        assert (await prime_client.cancel(job.id)).state == "cancelled"
        await prime_client.delete(job)
        await prime_client.delete(job)
        assert await prime_client.jobs() == []
        with pytest.raises(ApiError) as caught:
            await prime_client.job(job.id)
    assert caught.value.status == 410


@pytest.mark.parametrize("slash", ["", "/"])
async def test_under_a_mount_prefix(
    settings: Settings, aiohttp_server: AiohttpServer, slash: str
) -> None:
    """The base URL may have the prefix of a mounted application, with a slash at its end or not."""
    parent = web.Application()
    parent.add_subapp("/a/primes-api/", create_app(settings))
    server = await aiohttp_server(parent)
    url = f"{server.make_url('/a/primes-api')}{slash}"
    async with asyncio.timeout(WAIT_S), PrimeClient(url) as client:
        job = await client.wait(await client.submit(4, 11))
        assert await gathered(client.primes(job)) == [5, 7, 11]
        assert await client.count(0, 100) == 25
        assert len(await client.jobs()) == 2


# Waiting


async def test_progress_is_told_while_it_waits(server: TestServer) -> None:
    """News comes by one event stream, never backwards, and ends with the finished job."""
    news: list[RemoteJob] = []
    async with Relay(server) as relay, PrimeClient(relay.url) as client:
        async with asyncio.timeout(WAIT_S):
            job = await client.submit(0, 3 * 10**9, "count")
            done = await client.wait(job, on_progress=news.append)
    assert len(news) > 1
    assert [job.progress for job in news] == sorted(job.progress for job in news)
    assert news[-1] is done
    assert done.count == 144449537
    assert relay.paths() == ["/jobs", f"/jobs/{job.id}/events"]


async def test_a_finished_job_is_not_asked_for_again(server: TestServer) -> None:
    """Waiting for a job that is known to be finished costs nothing."""
    async with Relay(server) as relay, PrimeClient(relay.url) as client:
        async with asyncio.timeout(WAIT_S):
            done = await client.wait(await client.submit(4, 11))
            asked = len(relay.requests)
            assert await client.wait(done) is done
    assert len(relay.requests) == asked


async def test_a_broken_event_stream_is_taken_up_behind_the_last_event(server: TestServer) -> None:
    """It comes back with the id of the last event, after the time the service wishes."""
    news: list[RemoteJob] = []
    async with (
        Relay(server, only="/events") as relay,
        PrimeClient(relay.url) as client,
    ):
        job = await client.submit(*LONG)

        def hear(job: RemoteJob) -> None:
            news.append(job)
            if len(news) == 1:
                relay.break_all()

        waiting = asyncio.create_task(client.wait(job, on_progress=hear))
        await eventually(lambda: len(news) > 1)
        first, second = (head for head in relay.requests if "/events" in head)
        assert "Last-Event-ID" not in first
        assert re.search(r"Last-Event-ID: [0-9]+-(queued|running)", second)
        await client.cancel(job)
        with pytest.raises(JobCancelled):
            await asyncio.wait_for(waiting, WAIT_S)
    assert news[-1].state == "cancelled"


async def test_without_event_streams_it_polls(aiohttp_server: AiohttpServer) -> None:
    """If the service has no stream to give, the job is asked for with `wait`."""
    server = await aiohttp_server(create_app(Settings(workers=2, max_event_streams=0)))
    news: list[RemoteJob] = []
    async with Relay(server) as relay, PrimeClient(relay.url) as client:
        async with asyncio.timeout(WAIT_S):
            job = await client.submit(0, 10**9, "count")
            done = await client.wait(job, on_progress=news.append)
    assert done.count == PI_OF_POWERS[9]
    assert news[-1] is done
    assert relay.paths()[:3] == [
        "/jobs", f"/jobs/{job.id}/events", f"/jobs/{job.id}?wait=5.000",
    ]  # fmt: skip
    # It was held back: a second or so of work was not asked for over and over.
    assert len(relay.paths()) <= 4


async def test_a_stream_that_breaks_again_and_again_ends_in_polling(server: TestServer) -> None:
    """After `retries` streams without any news the job is asked for instead."""
    async with (
        Relay(server, only="/events", cuts=(0,) * 100) as relay,
        PrimeClient(relay.url, retries=2) as client,
        asyncio.timeout(WAIT_S),
    ):
        job = await client.submit(0, 10**8, "count")
        assert (await client.wait(job)).count == PI_OF_POWERS[8]
    *streams, poll = [path.partition(job.id)[2] for path in relay.paths()[1:]]
    assert poll == "?wait=5.000"
    assert set(streams) == {"/events"}
    assert len(streams) <= TWICE * 3


async def test_waiting_for_a_cancelled_job(prime_client: PrimeClient) -> None:
    """A job that somebody cancels raises `JobCancelled`, as in the process of the service."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.submit(*LONG)
        waiting = asyncio.create_task(prime_client.wait(job))
        await prime_client.cancel(job)
        with pytest.raises(JobCancelled, match=job.id):
            await waiting
        with pytest.raises(JobCancelled):
            await prime_client.wait(job.id)
        with pytest.raises(JobNotFinished):
            job.check()


async def test_waiting_for_a_failing_job(aiohttp_server: AiohttpServer) -> None:
    """A job that fails raises `JobFailed` with the reason that the service gives."""
    with FaultyExecutor(500_000, MemoryError("out of luck")) as executor:
        server = await aiohttp_server(create_app(Settings(workers=1), executor=executor))
        async with asyncio.timeout(WAIT_S), PrimeClient(str(server.make_url("/"))) as client:
            with pytest.raises(JobFailed, match="its log says which") as caught:
                await client.count(0, 10**6)
            (job,) = await client.jobs("failed")
    assert caught.value.reason == (job.error or {})["detail"]


async def test_a_wait_that_is_cancelled_leaves_the_job(
    prime_client: PrimeClient, there: PrimeService
) -> None:
    """Who stops waiting does not stop the job, for others may wait for it too."""
    job = await prime_client.submit(*LONG)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await prime_client.wait(job)
    assert not there.job(job.id).state.final


async def test_an_error_of_the_callback_is_the_callers(prime_client: PrimeClient) -> None:
    """What `on_progress` raises comes out of `wait` as it is, and is not tried again."""
    calls = []

    def fail(job: RemoteJob) -> None:
        calls.append(job)
        raise TimeoutError("mine")

    async with asyncio.timeout(WAIT_S):
        job = await prime_client.submit(*LONG)
        with pytest.raises(TimeoutError, match="mine"):
            await prime_client.wait(job, on_progress=fail)
    assert len(calls) == 1


# Errors


@pytest.mark.parametrize(
    ("start", "end", "kind", "status", "slug"),
    [
        (0, TOP, "primes", 422, "range-not-allowed"),
        (TOP, TOP + 1, "primes", 422, "range-not-allowed"),
        (11, 4, "primes", 400, "invalid-parameter"),
        (-1, 4, "primes", 400, "invalid-parameter"),
        (4, 11, "cousins", 400, "invalid-parameter"),
    ],
)
async def test_errors_carry_the_problem(
    prime_client: PrimeClient, start: int, end: int, kind: Any, status: int, slug: str
) -> None:
    """What the service refuses raises `ApiError` with status, type, title and detail."""
    with pytest.raises(ApiError) as caught:
        await asyncio.wait_for(prime_client.submit(start, end, kind), WAIT_S)
    error = caught.value
    assert isinstance(error, RemoteError)
    assert (error.status, error.type) == (status, f"urn:primesvc:problem:{slug}")
    assert error.title == error.document["title"]
    assert error.detail == error.document["detail"]
    assert error.detail in str(error)
    assert str(status) in str(error)


async def test_unknown_jobs(prime_client: PrimeClient) -> None:
    """An id without a job is an `ApiError` 404, whatever it is asked for, and whatever it holds."""
    for job_id in (NO_JOB, "x", "a/b", "?", "#"):
        calls = [
            prime_client.job(job_id),
            prime_client.wait(job_id),
            prime_client.cancel(job_id),
            prime_client.delete(job_id),
            gathered(prime_client.primes(job_id)),
        ]
        for call in calls:
            with pytest.raises(ApiError) as caught:
                await asyncio.wait_for(call, WAIT_S)
            assert caught.value.status == 404, job_id


async def test_a_finished_job_cannot_be_cancelled(prime_client: PrimeClient) -> None:
    """Cancelling what has succeeded is a conflict."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.wait(await prime_client.submit(4, 11))
        with pytest.raises(ApiError) as caught:
            await prime_client.cancel(job)
    assert caught.value.status == 409


async def test_a_format_that_does_not_exist(prime_client: PrimeClient) -> None:
    """A format that does not exist is refused at once, and not tried again."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.submit(4, 11)
        with pytest.raises(ApiError) as caught:
            await anext(prime_client.download(job, "clay"))
    assert caught.value.status == 406


async def test_the_token_is_sent_with_every_request() -> None:
    """With a token every request has it, as a bearer token; without one there is no such header."""
    seen: list[str | None] = []

    def look(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})

    async with asyncio.timeout(WAIT_S), serving(look) as url:
        for token in ("secret", None):
            async with PrimeClient(url, token=token) as client:
                assert "secret" not in repr(client)
                calls = [client.submit(4, 11), client.jobs(), client.delete("x")]
                for call in calls:
                    with pytest.raises(ApiError) as caught:
                        await call
                    assert (caught.value.status, caught.value.type) == (401, "about:blank")
    assert seen == ["Bearer secret"] * 3 + [None] * 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (web.Response, "no document of a job|not JSON"),
        (lambda: web.Response(text="<html>", content_type="text/html"), "text/html that is not"),
        (lambda: web.json_response([]), "no document of a job"),
        (lambda: web.json_response({"id": "x"}), "no document of a job"),
        (lambda: web.Response(status=308, headers={"Location": "https://b/"}), "on to https://b/"),
    ],
)
async def test_another_server_at_the_address(answer: Any, says: str) -> None:
    """An answer that is none of this API's is an `UnexpectedAnswer`, and is not tried again."""
    asked = 0

    def handle(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        response = answer()
        assert isinstance(response, web.Response)
        return response

    async with asyncio.timeout(WAIT_S), serving(handle) as url, PrimeClient(url) as client:
        with pytest.raises(UnexpectedAnswer, match=says) as caught:
            await client.submit(4, 11)
    assert isinstance(caught.value, ValueError)
    assert asked == 1


async def test_a_list_that_is_none() -> None:
    """A list of jobs that is no list is an `UnexpectedAnswer`."""
    async with (
        asyncio.timeout(WAIT_S),
        serving(lambda _: web.json_response({"jobs": None})) as url,
        PrimeClient(url) as client,
    ):
        with pytest.raises(UnexpectedAnswer, match="no list of jobs"):
            await client.jobs()


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://a/", "http://", "/jobs", "127.0.0.1"])
def test_a_base_url_that_is_none(url: str) -> None:
    """What is no http or https address is refused when the client is made."""
    with pytest.raises(ValueError, match="is no http"):
        PrimeClient(url)


# Sessions


async def test_a_given_session_stays_open(server: TestServer) -> None:
    """A session of the caller's is used as it is, needs no `async with`, and is not closed."""
    async with aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        async with Relay(server) as relay:
            client = PrimeClient(relay.url, session=session)
            assert await asyncio.wait_for(client.count(0, 100), WAIT_S) == 25
            async with client:
                assert await asyncio.wait_for(client.count(0, 10), WAIT_S) == 4
            await client.close()
        assert all("X-Mine: 1" in head for head in relay.requests)
        assert not session.closed


async def test_a_client_that_is_not_open() -> None:
    """Before it is entered, and after it is left, a client says what is wrong."""
    client = PrimeClient("http://user:secret@127.0.0.1:9/")
    assert repr(client) == "<PrimeClient http://127.0.0.1:9/ closed>"
    with pytest.raises(RuntimeError, match="async with"):
        await client.jobs()
    async with client:
        assert repr(client) == "<PrimeClient http://127.0.0.1:9/ open>"
    await client.close()
    with pytest.raises(RuntimeError, match="async with"):
        await client.jobs()


def test_errors_have_their_place_in_the_tree() -> None:
    """One `except` catches what is the client's, another all of primesvc; built-ins fit too."""
    for error in (ApiError, ServerUnreachable, UnexpectedAnswer):
        assert issubclass(error, RemoteError)
        assert issubclass(error, PrimesvcError)
    assert not issubclass(InvalidSetting, RemoteError)
    assert issubclass(ServerUnreachable, ConnectionError)
