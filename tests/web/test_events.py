"""Event streams: each client is told everything once, and none of them costs much."""

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector, web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Range, Settings, create_app, service_of
from primesvc.jobs.job import Job
from primesvc.web import event_streams, events
from primesvc.web.context import context_in
from primesvc.web.event_streams import EventStreams
from tests.helpers import WAIT_S, eventually
from tests.oracles import PI_OF_POWERS
from tests.web.api import LONG, NO_JOB, Api
from tests.web.helpers import HeldExecutor
from tests.web.openapi import check, document

Client = TestClient[web.Request, web.Application]


@lru_cache(maxsize=8)  # of 500 streams each is told the same
def checked(data: str) -> dict[str, Any]:
    """The document that is the data of an event, which is as it should be."""
    job: dict[str, Any] = json.loads(data)
    check(document()["components"]["schemas"]["Job"], job)
    return job


@dataclass
class Event:
    """One event as the standard has a client understand it."""

    name: str
    id: str
    data: dict[str, Any]


@dataclass
class Stream:
    """An event stream that is read; `comments` and `retry_ms` are what else came."""

    response: ClientResponse
    comments: list[str] = field(default_factory=list)
    retry_ms: int | None = None

    async def __aiter__(self) -> AsyncIterator[Event]:
        """The events until the stream ends; every one a document as it should be."""
        lines: dict[str, str] = {}
        async for raw in self.response.content:
            line = raw.decode().removesuffix("\n")
            if line.startswith(":"):
                self.comments.append(line)
            elif line:
                name, _, value = line.partition(": ")
                assert name in ("event", "id", "data", "retry")
                assert name not in lines
                lines[name] = value
            elif lines:
                if "retry" in lines:
                    self.retry_ms = int(lines.pop("retry"))
                if lines:
                    yield Event(lines["event"], lines["id"], checked(lines["data"]))
                lines = {}

    async def next(self) -> Event:
        """The next event."""
        async for event in self:
            return event
        raise AssertionError("the stream has ended")

    async def rest(self) -> list[Event]:
        """All events that are left."""
        return [event async for event in self]


@asynccontextmanager
async def listening(
    client: "TestClient[Any, Any] | ClientSession",
    path: str,
    last: str | None = None,
) -> AsyncIterator[Stream]:
    """A stream of events that has begun, after the event `last`."""
    headers = {} if last is None else {"Last-Event-ID": last}
    async with asyncio.timeout(WAIT_S), client.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
        yield Stream(response)


@pytest.fixture
def api(client: Client) -> Api:
    """The job API of an application on a free port."""
    return Api(client)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell of news every 20 ms instead of every half second."""
    monkeypatch.setattr(event_streams, "INTERVAL_S", 0.02)


@pytest.fixture
async def held(aiohttp_client: AiohttpClient) -> AsyncIterator[tuple[Api, HeldExecutor]]:
    """The job API over an executor that computes what it is told to, when it is told to."""
    executor = HeldExecutor()
    client = await aiohttp_client(create_app(Settings(workers=2), executor=executor))
    yield Api(client), executor
    executor.drop()
    await client.close()


async def a_piece_more(executor: HeldExecutor, job: Job) -> None:
    """Let the job do some more of its pieces, if any are left."""
    before = job.collected.pieces_done
    # Behind the last piece the count may still be checked.
    await eventually(lambda: executor.held > 0 or job.state.final)
    if not job.state.final:
        executor.run()
        await eventually(lambda: job.collected.pieces_done > before)


def streams(api: Api) -> EventStreams:
    """The event streams of the application."""
    assert api.client.app is not None
    return context_in(api.client.app).streams


# --- what is told --------------------------------------------------------------------------------


async def test_a_stream_tells_a_job_from_start_to_end(api: Api, fast: None) -> None:
    """First the job as it is, then its progress, at last `done`, after which the stream ends."""
    job = await api.start(start=0, end=10**9)
    async with listening(api.client, job["links"]["events"]) as stream:
        told = await stream.rest()
    assert stream.retry_ms == 2000
    assert [event.name for event in told] == ["progress"] * (len(told) - 1) + ["done"]
    assert len(told) > 2
    assert len({event.id for event in told}) == len(told)
    for event in told:
        assert event.data["id"] == job["id"]
    progress = [event.data["progress"] for event in told]
    assert progress == sorted(progress)
    assert told[-1].data == (await api.get(f"/jobs/{job['id']}")).document
    assert told[-1].data["count"] == PI_OF_POWERS[9]


async def test_a_finished_job_has_one_event(api: Api) -> None:
    """Of a job that is done there is `done` to tell, and nothing else."""
    job = await api.finish(start=4, end=11)
    async with listening(api.client, job["links"]["events"]) as stream:
        (event,) = await stream.rest()
    assert (event.name, event.data) == ("done", job)


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_job_that_is_stopped_is_done(api: Api, how: str) -> None:
    """Those who watch a job that is cancelled, or deleted, are told at once that it ended."""
    job = await api.start(**LONG)
    async with listening(api.client, job["links"]["events"]) as stream:
        assert (await stream.next()).name == "progress"
        if how == "cancel":
            await api.post(job["links"]["cancel"])
        else:
            await api.delete(job["links"]["self"])
        last = (await stream.rest())[-1]
    assert (last.name, last.data["state"]) == ("done", "cancelled")


async def test_nothing_is_told_twice(held: tuple[Api, HeldExecutor], fast: None) -> None:
    """A client that comes back with the id of the last event gets those after it, each once."""
    api, executor = held
    document = await api.start(start=0, end=6 * 10**8)
    job, path = api.service.job(document["id"]), document["links"]["events"]
    seen: list[Event] = []
    for _ in range(3):
        async with listening(api.client, path, seen[-1].id if seen else None) as stream:
            seen.append(await stream.next())
            await a_piece_more(executor, job)
            seen.append(await stream.next())
        await a_piece_more(executor, job)
    assert len({event.id for event in seen}) == len(seen)
    assert {event.name for event in seen} == {"progress"}
    while not job.state.final:
        await a_piece_more(executor, job)
    async with listening(api.client, path, seen[-1].id) as stream:
        (end,) = await stream.rest()
    assert (end.name, end.data["state"]) == ("done", "succeeded")


async def test_after_the_end_there_is_nothing_more(api: Api) -> None:
    """Who has been told the end gets a 204, at which an `EventSource` does not come back."""
    job = await api.finish(start=4, end=11)
    async with listening(api.client, job["links"]["events"]) as stream:
        (event,) = await stream.rest()
    answer = await api.get(job["links"]["events"], headers={"Last-Event-ID": event.id})
    assert answer.status == 204
    for other in ("", "0-running", "nonsense", "999999-succeeded"):
        async with listening(api.client, job["links"]["events"], other) as stream:
            assert [event.name for event in await stream.rest()] == ["done"]


async def test_silence_is_broken_by_comments(
    held: tuple[Api, HeldExecutor], fast: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While there is nothing to tell, comments keep the connection in use."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    api, _ = held
    job = await api.start(start=0, end=10**9)
    async with listening(api.client, job["links"]["events"]) as stream:
        assert (await stream.next()).name == "progress"
        for _ in range(3):
            line = await stream.response.content.readline()
            assert line.startswith(b":")
            assert await stream.response.content.readline() == b"\n"
    assert streams(api).serialised == 1


async def test_news_come_no_faster_than_the_interval(
    held: tuple[Api, HeldExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast a job is, a stream is told of it once an interval; but of its end at once."""
    monkeypatch.setattr(event_streams, "INTERVAL_S", 1000.0)
    api, executor = held
    job = await api.start(start=0, end=6 * 10**8)
    async with listening(api.client, job["links"]["events"]) as stream:
        first = await stream.next()
        while not api.service.job(job["id"]).state.final:
            await a_piece_more(executor, api.service.job(job["id"]))
        rest = await stream.rest()
    assert first.name == "progress"
    assert [event.name for event in rest] == ["done"]


async def test_numbers_can_be_strings(api: Api) -> None:
    """`numbers=string` holds for the data of events; both sorts can watch one job."""
    job = await api.finish(start=2**64 - 60, end=2**64 - 1)
    async with listening(api.client, f"{job['links']['events']}?numbers=string") as stream:
        (event,) = await stream.rest()
    assert (event.data["end"], event.data["count"]) == (str(2**64 - 1), "1")
    async with listening(api.client, job["links"]["events"]) as stream:
        (event,) = await stream.rest()
    assert (event.data["end"], event.data["count"]) == (2**64 - 1, 1)


async def test_head_does_not_wait_for_the_end(api: Api) -> None:
    """HEAD on a stream answers at once, also on a connection that is used again."""
    job = await api.start(**LONG)
    for _ in range(3):
        answer = await api.request("HEAD", job["links"]["events"])
        assert answer.headers["Content-Type"] == "text/event-stream"
    assert streams(api).open == 0


async def test_there_are_no_events_of_what_is_no_job(api: Api) -> None:
    """An unknown job is a 404, one that was deleted a 410."""
    (await api.get(f"/jobs/{NO_JOB}/events")).problem(404, "unknown-job")
    job = await api.finish(start=4, end=11)
    await api.delete(job["links"]["self"])
    (await api.get(job["links"]["events"])).problem(410, "job-gone")


# --- many of them --------------------------------------------------------------------------------


@pytest.fixture
def many_files() -> None:
    """Skip where so many connections cannot be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 3000:
        if hard < 3000:
            pytest.skip(f"a process may open {hard} files here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))


async def test_many_streams_cost_one_serialisation_an_update(
    aiohttp_client: AiohttpClient, many_files: None
) -> None:
    """500 clients that watch one job are told the same, and it is written as JSON once for all."""
    client = await aiohttp_client(create_app(Settings(workers=2)), connector=TCPConnector(limit=0))
    api, number = Api(client), 500
    job = await api.start(**LONG)

    async def watch() -> list[Event]:
        async with listening(client, job["links"]["events"]) as stream:
            return await stream.rest()

    watching = [asyncio.create_task(watch()) for _ in range(number)]
    await eventually(lambda: streams(api).open == number)
    before = streams(api).serialised
    await eventually(lambda: streams(api).serialised > before + 1)
    await api.post(job["links"]["cancel"])
    told = await asyncio.gather(*watching)
    ids = {event.id for events_ in told for event in events_}
    assert {events_[-1].name for events_ in told} == {"done"}
    assert len({events_[-1].id for events_ in told}) == 1
    # One for each update, and not one more for the last.
    assert streams(api).serialised == len(ids)
    assert sum(map(len, told)) > 2 * number
    await eventually(lambda: streams(api).open == 0)


async def test_too_many_streams_are_refused(aiohttp_client: AiohttpClient, fast: None) -> None:
    """A stream too many is a 503 that names the limit; who leaves makes room for the next."""
    client = await aiohttp_client(create_app(Settings(workers=2, max_event_streams=2)))
    api = Api(client)
    job = await api.start(**LONG)
    path = job["links"]["events"]
    async with listening(client, path) as one:
        await one.next()
        async with listening(client, path) as two:
            await two.next()
            answer = await api.get(path)
            assert answer.problem(503, "service-full", says="event streams")["limit"] == 2
            assert int(answer.headers["Retry-After"]) >= 1
        await eventually(lambda: streams(api).open == 1)
        async with listening(client, path) as again:
            await again.next()
    # What needs no stream is not counted.
    done = await api.finish(start=4, end=11)
    answer = await api.get(done["links"]["events"], headers={"Last-Event-ID": "1-succeeded"})
    assert answer.status == 204


async def test_no_streams_at_all_may_be_allowed(aiohttp_client: AiohttpClient) -> None:
    """A limit of 0 turns event streams off; everything else works."""
    api = Api(await aiohttp_client(create_app(Settings(workers=2, max_event_streams=0))))
    job = await api.finish(start=4, end=11)
    (await api.get(job["links"]["events"])).problem(503, "service-full")


@pytest.mark.parametrize("handler_cancellation", [True, False])
async def test_a_client_that_leaves_frees_its_place(
    held: tuple[Api, HeldExecutor], fast: None, handler_cancellation: bool
) -> None:
    """A stream nobody reads any more ends, though there is nothing to tell, and leaves nothing."""
    _, executor = held
    app = create_app(Settings(workers=2), executor=executor)
    runner = web.AppRunner(app, handler_cancellation=handler_cancellation, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ClientSession(url) as session:
            job = await service_of(app).submit(Range(0, 10**9))
            for _ in range(3):
                async with listening(session, f"/jobs/{job.id}/events") as stream:
                    await stream.next()
                    assert context_in(app).streams.open == 1
                await eventually(lambda: context_in(app).streams.open == 0, within_s=5)
        # What is kept to be told again shows nowhere else.
        assert not context_in(app).streams._events
        assert not context_in(app).streams._streams
    finally:
        executor.drop()
        await runner.cleanup()


async def test_streams_end_when_the_application_stops() -> None:
    """A stop does not wait for those who listen: their streams end in good order, and at once."""
    app = create_app(Settings(workers=2))
    runner = web.AppRunner(app, shutdown_timeout=WAIT_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        timeout = ClientTimeout(total=WAIT_S)
        async with ClientSession(url, timeout=timeout) as session, AsyncExitStack() as stack:
            async with session.post("/jobs", json=LONG) as response:
                path = (await response.json())["links"]["events"]
            opened = [await stack.enter_async_context(listening(session, path)) for _ in range(5)]
            for stream in opened:
                await stream.next()
            async with asyncio.timeout(10):
                await runner.cleanup()
                rests = [await stream.rest() for stream in opened]
        assert {event.name for rest in rests for event in rest} <= {"progress"}
    finally:
        with contextlib.suppress(RuntimeError):
            await runner.cleanup()
