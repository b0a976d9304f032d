"""/metrics: valid for Prometheus, and true."""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from aiocache import SimpleMemoryCache
from aiohttp import web
from aiohttp.test_utils import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import PrimeService, Range, Settings, create_app, service_of
from primesvc.sieve.primecount import find_primecount
from primesvc.states import State
from tests.helpers import WAIT_S, eventually, fetch, finished, submit
from tests.web.api import LONG, NO_JOB, Api
from tests.web.helpers import FaultyExecutor, raw_download

Client = TestClient[web.Request, web.Application]


class Scrape:
    """What one request for the metrics answered: samples by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in self.families.values():
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples, f"{key} is there twice"
                self.samples[key] = sample.value

    def __call__(self, sample: str, /, **labels: str) -> float:
        """The value of a sample; 0 if it is not there."""
        return self.samples.get((sample, frozenset(labels.items())), 0)

    def labelled(self, name: str) -> Iterator[Mapping[str, str]]:
        """The labels that there are for a name."""
        return (dict(labels) for sample, labels in self.samples if sample == name)


def service_behind(client: Client) -> PrimeService:
    """The service of the application that the client asks."""
    assert client.app is not None
    return service_of(client.app)


async def scrape(client: Client, prefix: str = "") -> Scrape:
    """The metrics as they are now."""
    async with client.get(f"{prefix}/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        return Scrape(await response.text())


def requests(found: Scrape, method: str, route: str, status: int) -> float:
    """How many requests were answered so."""
    labels = {"method": method, "route": route, "status": str(status)}
    return found("primesvc_http_requests_total", **labels)


# --- the format ----------------------------------------------------------------------------------


async def test_all_that_is_promised_is_there(client: Client) -> None:
    """Every metric has its type and a help, ours with our name before it."""
    families = (await scrape(client)).families
    types = {
        name.removeprefix("primesvc_"): family.type
        for name, family in families.items()
        if name.startswith("primesvc_")
    }
    assert types == {
        "http_requests": "counter",
        "http_sent_bytes": "counter",
        "downloads": "gauge",
        "event_streams": "gauge",
        "engine_info": "gauge",
        **({} if find_primecount() is None else {"count_engine_info": "gauge"}),
        "ready": "gauge",
        "workers": "gauge",
        "worker_deaths": "counter",
        "calls_lost": "counter",
        "chunk_seconds": "histogram",
        "chunk_wait_seconds": "histogram",
        "jobs": "gauge",
        "jobs_ended": "counter",
        "checks": "counter",
        "pieces": "counter",
        "cache_errors": "counter",
        "cache_hits": "counter",
        "cache_misses": "counter",
        "cache_evictions": "counter",
        "cache_entries": "gauge",
        "cache_bytes": "gauge",
        "cache_max_bytes": "gauge",
        "memory_bytes": "gauge",
        "memory_max_bytes": "gauge",
        "sends_refused": "counter",
    }
    assert all(family.documentation for family in families.values())


async def test_an_accept_header_changes_nothing(client: Client) -> None:
    """One format, which every version of Prometheus reads, whatever is asked for."""
    for accept in ("application/openmetrics-text; version=x", "text/html", "nonsense;;q=,"):
        async with client.get("/metrics", headers={"Accept": accept}) as response:
            assert response.status == 200
            assert response.content_type == "text/plain"


# --- requests ------------------------------------------------------------------------------------


async def test_requests_are_counted_by_route_and_status(client: Client) -> None:
    """Each by its route, never by its path, and by how it was answered."""
    before = await scrape(client)
    job_id = await submit(client, 4, 11)
    for _ in range(3):
        await fetch(client, job_id)
    for path in (f"/result/{NO_JOB}", "/result/nonsense", f"/jobs/{NO_JOB}"):
        async with client.get(path) as response:
            assert response.status == 404
    async with client.post("/primes?start_num=1") as response:
        assert response.status == 400
    async with client.head(f"/result/{job_id}") as response:
        assert response.status == 200
    found = await scrape(client)
    assert requests(found, "POST", "/primes", 200) == 1
    assert requests(found, "POST", "/primes", 400) == 1
    assert requests(found, "GET", "/result/{id}", 200) == 4  # HEAD too
    assert requests(found, "GET", "/result/{id}", 404) == 2
    assert requests(found, "GET", "/jobs/{id}", 404) == 1
    assert requests(before, "GET", "/metrics", 200) == 0
    assert requests(found, "GET", "/metrics", 200) == 1
    assert job_id not in found.text


async def test_paths_that_do_not_exist_are_counted_as_one(client: Client) -> None:
    """Whatever clients make up, the number of series stays."""
    for number in range(20):
        async with client.request("GET", f"/made/up/{number}") as response:
            assert response.status == 404
    async with client.put("/primes") as response:
        assert response.status == 405
    found = await scrape(client)
    assert requests(found, "", "none", 404) == 20
    assert requests(found, "", "none", 405) == 1
    assert "made" not in found.text


async def test_under_a_prefix_the_routes_have_it(aiohttp_client: AiohttpClient) -> None:
    """The route is the whole one; two mounts in one process count for themselves."""
    parent = web.Application()
    for name in "ab":
        parent.add_subapp(f"/{name}/", create_app(Settings(workers=1)))
    client = await aiohttp_client(parent)
    await submit(client, 4, 11, prefix="/a")
    found = await scrape(client, "/a")
    assert requests(found, "POST", "/a/primes", 200) == 1
    other = await scrape(client, "/b")
    assert not list(other.labelled("primesvc_http_requests_total"))
    assert other("primesvc_jobs", state="succeeded") == 0


async def test_the_registry_of_the_process_is_left_alone(client: Client) -> None:
    """What an embedder registers for itself and what is ours do not meet."""
    text = prometheus_client.generate_latest().decode()
    assert "primesvc" not in text
    assert "primesvc" in (await scrape(client)).text


async def test_bytes_sent_are_those_of_the_bodies(client: Client) -> None:
    """Small answers, streamed files and events count alike; what HEAD leaves out does not."""
    before = await scrape(client)
    job_id = await submit(client, 0, 10**6)
    await finished(service_behind(client), 0, 10**6)
    # What the first scrape answered itself is counted by the time of the second.
    sent = len(before.text) + len(f'"{job_id}"\n')
    for path in (f"/result/{job_id}", f"/jobs/{job_id}/primes?format=text", "/", "/nothing"):
        async with client.get(path) as response:
            sent += len(await response.read())
    async with client.get(f"/jobs/{job_id}/events") as response:
        sent += len(await response.read())
    async with client.head(f"/jobs/{job_id}/primes") as response:
        assert int(response.headers["Content-Length"]) > 0
    async with client.head("/") as response:
        assert int(response.headers["Content-Length"]) > 0
    after = await scrape(client)
    name = "primesvc_http_sent_bytes_total"
    assert after(name) - before(name) == sent > 10**6


async def test_a_client_that_left_is_counted(aiohttp_client: AiohttpClient) -> None:
    """499 for those that did not wait, where the server notices."""
    client = await aiohttp_client(
        create_app(Settings(workers=1)), server_kwargs={"handler_cancellation": True}
    )
    job = await Api(client).start(**LONG)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    request = f"GET /jobs/{job['id']}?wait=60 HTTP/1.1\r\nHost: {client.host}\r\n\r\n"
    writer.write(request.encode())
    await writer.drain()
    # It is being answered once the server has answered one that came later.
    await scrape(client)
    writer.close()
    await writer.wait_closed()
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while requests(await scrape(client), "GET", "/jobs/{id}", 499) != 1:
        assert asyncio.get_running_loop().time() < deadline
    assert reader.at_eof()


async def test_downloads_are_counted_while_they_last(client: Client) -> None:
    """A file that is being sent to a client that takes little of it, and then goes."""
    job_id = await submit(client, 0, 3 * 10**7)
    await finished(service_behind(client), 0, 3 * 10**7)
    assert (await scrape(client))("primesvc_downloads") == 0
    host, port = str(client.host), int(client.port or 0)
    async with raw_download(host, port, f"/jobs/{job_id}/primes?format=text"):
        found = await scrape(client)
        assert found("primesvc_downloads") == 1
        assert found("primesvc_http_sent_bytes_total") > 0
    await eventually_scraped(client, "primesvc_downloads", 0)


async def eventually_scraped(client: Client, name: str, value: float) -> None:
    """Return when a metric has the value."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while (await scrape(client))(name) != value:
        assert asyncio.get_running_loop().time() < deadline, f"{name} did not become {value}"
        await asyncio.sleep(0.01)


async def test_event_streams_are_counted_while_they_are_open(client: Client) -> None:
    """Open ones, until their client goes or their job ends."""
    api = Api(client)
    job = await api.start(**LONG)
    async with (
        client.get(f"/jobs/{job['id']}/events") as first,
        client.get(f"/jobs/{job['id']}/events") as second,
    ):
        assert (first.status, second.status) == (200, 200)
        assert (await scrape(client))("primesvc_event_streams") == 2
        await api.post(f"/jobs/{job['id']}/cancel")
        await first.read()
        await second.read()
    await eventually_scraped(client, "primesvc_event_streams", 0)


# --- the service behind it -----------------------------------------------------------------------


async def test_a_journal_tells_how_far_it_is_behind(
    tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    """Not at all, once what was noted is written."""
    app = create_app(Settings(workers=1, journal=str(tmp_path / "journal")))
    client = await aiohttp_client(app)
    await fetch(client, await submit(client, 4, 11))
    await eventually_scraped(client, "primesvc_journal_behind_seconds", 0)
    found = await scrape(client)
    assert found("primesvc_journal_waiting") == 0
    assert found("primesvc_journal_failing") == 0


async def test_the_engine_and_the_workers_are_told(client: Client) -> None:
    """Which engine it is, of which version, and on how many processors."""
    engine = service_behind(client).engine
    found = await scrape(client)
    assert found("primesvc_engine_info", name=engine.name, version=engine.version) == 1
    if (primecount := engine.primecount) is not None:
        assert found("primesvc_count_engine_info", name="primecount", version=primecount.version)
    assert found("primesvc_workers") == 2


async def test_ready_is_a_metric_too(client: Client) -> None:
    """What the ready endpoint says, for those who only look at metrics."""
    assert (await scrape(client))("primesvc_ready") == 1
    service_behind(client).drain()
    assert (await scrape(client))("primesvc_ready") == 0


async def test_jobs_are_told_by_state(aiohttp_client: AiohttpClient) -> None:
    """Those known by the state they are in, those ended also when they are forgotten."""
    with FaultyExecutor(100, LookupError("broken")) as executor:
        client = await aiohttp_client(create_app(Settings(workers=2), executor=executor))
        api = Api(client)
        good = await api.finish(start=10**9, end=10**9 + 100)
        bad = await api.finish(start=0, end=1000)
        assert (good["state"], bad["state"]) == ("succeeded", "failed")
        await api.delete(f"/jobs/{bad['id']}")
        found = await scrape(client)
        await client.close()
    states = [state.value for state in State]
    assert {state: found("primesvc_jobs", state=state) for state in states} == {
        "queued": 0, "running": 0, "succeeded": 1, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert {labels["state"] for labels in found.labelled("primesvc_jobs")} == set(states)
    ended = {
        labels["state"]: found("primesvc_jobs_ended_total", **labels)
        for labels in found.labelled("primesvc_jobs_ended_total")
    }
    assert ended == {"succeeded": 1, "failed": 1, "cancelled": 0}


async def test_a_cancelled_job_is_told(client: Client) -> None:
    """A job that runs, and the same one once it is cancelled."""
    api = Api(client)
    job = await api.start(**LONG)
    found = await scrape(client)
    unfinished = [found("primesvc_jobs", state=state) for state in ("queued", "running")]
    assert sum(unfinished) == 1
    await api.post(f"/jobs/{job['id']}/cancel")
    assert (await scrape(client))("primesvc_jobs", state="cancelled") == 1


async def test_calls_are_timed(client: Client) -> None:
    """What workers do takes time, and waits for them; what the loop does itself waits for none."""
    service = service_behind(client)
    await service.count(Range(0, 10**8))
    at_workers = service.runtime.dispatcher.calls
    assert at_workers > 0
    await finished(service, 4, 11)
    found = await scrape(client)
    assert found("primesvc_chunk_wait_seconds_count") == at_workers
    assert found("primesvc_chunk_seconds_count") >= at_workers
    assert 0 < found("primesvc_chunk_seconds_sum") < WAIT_S
    for name in ("primesvc_chunk_seconds", "primesvc_chunk_wait_seconds"):
        buckets = sorted(
            (float(labels["le"]), found(f"{name}_bucket", **labels))
            for labels in found.labelled(f"{name}_bucket")
        )
        counts = [count for _, count in buckets]
        assert counts == sorted(counts)
        assert buckets[-1] == (float("inf"), found(f"{name}_count"))


async def test_pieces_are_told_by_where_they_came_from(client: Client) -> None:
    """Sieved at first, cached the second time; the cache tells the same."""
    service = service_behind(client)
    await finished(service, 0, 10**6)
    sieved = (await scrape(client))("primesvc_pieces_total", source="sieved")
    assert sieved == service.runtime.store.stats.sieved > 0
    await finished(service, 1, 10**6)  # trimmed: it looks into the packed pieces at the ends
    found = await scrape(client)
    stats = service.snapshot().cache
    assert stats is not None
    assert found("primesvc_pieces_total", source="sieved") == sieved
    assert found("primesvc_pieces_total", source="cached") == service.runtime.store.stats.hits > 0
    assert found("primesvc_cache_hits_total") == stats.hits > 0
    assert found("primesvc_cache_misses_total") == stats.misses > 0
    assert found("primesvc_cache_bytes") == stats.current_bytes > 0
    assert found("primesvc_cache_entries") == stats.entries > 0
    assert found("primesvc_cache_max_bytes") == stats.max_bytes


async def test_evictions_are_told(aiohttp_client: AiohttpClient) -> None:
    """A cache that is too small drops what was used least recently."""
    client = await aiohttp_client(create_app(Settings(workers=2, cache_bytes=2**20)))
    service = service_behind(client)
    for start in range(0, 4 * 10**7, 4 * 10**6):
        await finished(service, start, start + 4 * 10**6)
    found = await scrape(client)
    assert found("primesvc_cache_evictions_total") > 0
    assert found("primesvc_cache_bytes") <= 2**20


async def test_work_that_is_joined_is_told(client: Client) -> None:
    """Pieces that somebody else had asked for already."""
    service = service_behind(client)
    async with asyncio.timeout(WAIT_S):
        jobs = [await service.submit(Range(start, 10**8)) for start in (0, 2)]
        for job in jobs:
            await job.wait()
    assert (await scrape(client))("primesvc_pieces_total", source="joined") > 0


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
async def test_deaths_of_workers_are_told(client: Client) -> None:
    """A worker that is killed shows; its work is done all the same."""
    service = service_behind(client)
    await service.warm_up()
    backend = service.runtime.backend
    async with asyncio.timeout(WAIT_S):
        job = await service.submit(Range(0, 3 * 10**9))
        await eventually(lambda: job.collected.pieces_done > 0)
        os.kill(backend.snapshot().pids[0], signal.SIGKILL)
        assert (await job.wait()).count == 144_449_537
    assert (await scrape(client))("primesvc_worker_deaths_total") == backend.snapshot().deaths == 1


async def test_of_what_is_not_ours_nothing_is_told(aiohttp_client: AiohttpClient) -> None:
    """An embedder's executor and cache have metrics of their own; our errors with them are told."""
    with ThreadPoolExecutor(2) as executor:
        cache: Any = SimpleMemoryCache(timeout=None)
        client = await aiohttp_client(
            create_app(Settings(workers=2), executor=executor, cache=cache)
        )
        await fetch(client, await submit(client, 4, 11))
        found = await scrape(client)
        await client.close()
    assert "primesvc_cache_bytes" not in found.families
    assert "primesvc_worker_deaths" not in found.families
    assert ("primesvc_cache_errors_total", frozenset()) in found.samples
    assert found("primesvc_chunk_seconds_count") > 0
