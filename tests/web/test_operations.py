"""What those who run the service ask it: whether it lives, whether it is ready."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import pytest
from aiocache import SimpleMemoryCache
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import PrimeService, Settings, create_app, service_of
from primesvc.service import Readiness
from primesvc.sieve.engine import Engine
from primesvc.states import State
from tests.helpers import fetch, finished, submit
from tests.web.api import LONG, NO_JOB, Api


@pytest.fixture
async def api(settings: Settings, aiohttp_client: AiohttpClient) -> Api:
    """The API of an application on a free port."""
    return Api(await aiohttp_client(create_app(settings)))


# --- live ----------------------------------------------------------------------------------------


async def test_it_lives_while_it_drains(api: Api) -> None:
    """A process that stops is not to be killed for it."""
    api.service.drain()
    answer = await api.get("/health/live")
    assert (answer.status, answer.document) == (200, {"status": "live"})
    assert answer.headers["Cache-Control"] == "no-store"


# --- ready ---------------------------------------------------------------------------------------


def counts_with(engine: Engine) -> dict[str, str] | None:
    """What is told of what counts without sieving."""
    primecount = engine.primecount
    if primecount is None:
        return None
    return {"name": "primecount", "version": primecount.version}


async def test_ready_says_how_it_does(api: Api) -> None:
    """Ready, with version, engine, workers, the cache and the jobs, at the moment."""
    service = api.service
    answer = await api.get("/health/ready")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.document == {
        "status": "ready",
        "phase": "ready",
        "version": version("primesvc"),
        "engine": {"name": service.engine.name, "version": service.engine.version},
        "count_engine": counts_with(service.engine),
        "workers": 2,
        "worker_deaths": 0,
        "journal": None,
        "cache": {
            "bytes": 0, "max_bytes": service.runtime.budget.cache_bytes,
            "hits": 0, "misses": 0, "evictions": 0,
        },
        "jobs": {state.value: 0 for state in State},
    }  # fmt: skip


async def test_ready_counts_jobs_and_the_cache(api: Api) -> None:
    """What was done since shows at once."""
    await fetch(api.client, await submit(api.client, 4, 11))
    await api.start(**LONG)
    document = (await api.get("/health/ready")).document
    assert document["jobs"]["succeeded"] == 1
    assert document["jobs"]["queued"] + document["jobs"]["running"] == 1
    stats = api.service.snapshot().cache
    assert stats is not None
    assert document["cache"]["bytes"] == stats.current_bytes > 0


async def test_not_ready_is_a_problem_that_says_why(api: Api) -> None:
    """503 while it drains, as a problem document that also says how it does."""
    api.service.drain()
    answer = await api.get("/health/ready")
    document = answer.problem(503, "not-ready", says="draining")
    assert answer.headers["Cache-Control"] == "no-store"
    assert document["phase"] == "draining"
    assert document["engine"]["name"] == api.service.engine.name
    assert set(document["jobs"]) == {state.value for state in State}


async def test_head_is_answered_too(api: Api) -> None:
    """Probes that want no body get none."""
    for path in ("/health/live", "/health/ready", "/metrics"):
        async with api.client.head(path) as response:
            assert (response.status, await response.read()) == (200, b"")


async def test_it_is_starting_until_its_workers_are_up() -> None:
    """Not entered, and while the workers start: starting. Then ready, and after the end draining.

    Without HTTP, since no server is there that early.
    """
    service = PrimeService(Settings(workers=1))
    phases = [service.readiness]
    async with service:
        phases.append(service.readiness)
        warming = asyncio.create_task(service.warm_up())
        await asyncio.sleep(0)
        phases.append(service.readiness)
        assert (await finished(service, 4, 11)).count == 3
        await warming
        phases.append(service.readiness)
    phases.append(service.readiness)
    assert phases == ["starting", "ready", "starting", "ready", "draining"]


async def test_a_stop_while_the_workers_start_is_not_forgotten() -> None:
    """What drains stays so, also when the start of its workers ends after that."""
    async with PrimeService(Settings(workers=1)) as service:
        warming = asyncio.create_task(service.warm_up())
        await asyncio.sleep(0)
        service.drain()
        await warming
        assert service.readiness is Readiness.DRAINING
        await service.warm_up()
        assert service.readiness is Readiness.DRAINING


# --- what draining means -------------------------------------------------------------------------


async def test_draining_takes_no_new_jobs(api: Api) -> None:
    """A new job is refused with 503, and when to try elsewhere; so is another kind of it."""
    await submit(api.client, 4, 11)
    api.service.drain()
    for path in ("/primes?start_num=4&end_num=12", "/jobs?start=4&end=11&kind=count"):
        answer = await api.post(path)
        answer.problem(503, "service-closed")
        assert int(answer.headers["Retry-After"]) > 0


async def test_draining_still_hands_out_what_is_there(api: Api) -> None:
    """Jobs that are known are found, told of, cancelled and read until the end."""
    job_id = await submit(api.client, 4, 11)
    long_id = (await api.start(**LONG))["id"]
    api.service.drain()
    assert await submit(api.client, 4, 11) == job_id
    assert (await api.post("/jobs?start=4&end=11")).document["id"] == job_id
    assert await fetch(api.client, job_id) == '"[5, 7, 11]"\n'
    assert (await api.get(f"/jobs/{job_id}/primes")).document == [5, 7, 11]
    assert (await api.post(f"/jobs/{long_id}/cancel")).document["state"] == "cancelled"
    (await api.get(f"/jobs/{NO_JOB}")).problem(404, "unknown-job")


async def test_draining_still_refuses_what_is_wrong(api: Api) -> None:
    """A range that is never allowed is no matter of the moment."""
    api.service.drain()
    answer = await api.post("/primes?start_num=0&end_num=18446744073709551615")
    answer.problem(422, "range-not-allowed")


# --- what an embedder brings ---------------------------------------------------------------------


@pytest.fixture
async def brought(aiohttp_client: AiohttpClient) -> AsyncIterator[Api]:
    """The API of an application on an embedder's executor and cache, mounted twice over."""
    parent = web.Application()
    with ThreadPoolExecutor(2) as executor:
        settings = Settings(workers=2)
        parent.add_subapp("/a/", create_app(settings))
        parent.add_subapp(
            "/b/", create_app(settings, executor=executor, cache=SimpleMemoryCache(timeout=None))
        )
        client = await aiohttp_client(parent)
        yield Api(client, "/b")
        await client.close()


async def test_of_what_is_not_ours_nothing_is_told(brought: Api) -> None:
    """An embedder's executor has no worker deaths that we know of, its cache no sizes."""
    document = (await brought.get("/health/ready")).document
    assert document["status"] == "ready"
    assert (document["worker_deaths"], document["cache"]) == (None, None)


async def test_two_in_one_process_are_ready_for_themselves(
    aiohttp_client: AiohttpClient,
) -> None:
    """One that drains does not take the other with it."""
    parent = web.Application()
    apps = [create_app(Settings(workers=1)) for _ in range(2)]
    for name, app in zip("ab", apps, strict=True):
        parent.add_subapp(f"/{name}/", app)
    client = await aiohttp_client(parent)
    service_of(apps[0]).drain()
    (await Api(client, "/a").get("/health/ready")).problem(503, "not-ready")
    assert (await Api(client, "/b").get("/health/ready")).status == 200


# --- every answer --------------------------------------------------------------------------------

PATHS = [
    "/", "/docs/", "/openapi.json", "/static/page.js", "/health/live", "/health/ready", "/metrics",
    "/jobs", "/jobs/{id}", "/jobs/{id}/primes", "/jobs/{id}/primes?format=npy&offset=0&limit=1",
    "/jobs/{id}/primes?offset=99", "/jobs/{id}/events", "/result/{id}", f"/result/{NO_JOB}",
    "/nothing", "/primes", "/primes?start=4&end=11", "/primes?start=0&end=1e12&limit=9",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_no_answer_is_to_be_sniffed(api: Api, path: str) -> None:
    """Every answer, whole or streamed, good or bad, has the type it says, and no other."""
    job = await api.finish(start=4, end=11)
    path = path.format(id=job["id"])
    async with asyncio.timeout(30), api.client.get(path) as response:
        assert response.headers.getall("X-Content-Type-Options") == ["nosniff"]
        assert "Content-Type" in response.headers
