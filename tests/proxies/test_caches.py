"""Caches that many share: what they may hand on, and that they hand on nothing protected."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.helpers import WAIT_S
from tests.program import Server
from tests.proxies.programs import Proxy, find, nginx, squid

pytestmark = pytest.mark.slow

TOKEN = "sesame"  # noqa: S105 - it opens nothing

WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}

TELL = "add_header X-Cache $upstream_cache_status always;"
"""What has nginx say whether it had it; Squid does by itself."""

RANGE = "start=0&end=2000000"
"""Its primes are a file of 1.2 MB."""


class Answer(NamedTuple):
    """What came through a cache."""

    status: int
    body: bytes
    hit: bool
    """Whether the cache had it."""


class Cached:
    """A server behind a cache."""

    def __init__(self, server: Server, proxy: Proxy) -> None:
        self.server = server
        self.url = proxy.url

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """What the cache answers."""
        timeout = aiohttp.ClientTimeout(total=WAIT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, self.url + path, headers=headers) as response,
        ):
            said = response.headers.get("X-Cache", "")
            return Answer(response.status, await response.read(), said.startswith("HIT"))

    def files_sent(self) -> int:
        """How many files the server sent so far."""
        metrics = self.server.fetch("/metrics")
        route = r'_requests_total{.*route="(?:/jobs/{id})?/primes",status="20."} (\d+)'
        return sum(map(int, re.findall(route, metrics)))

    async def finished(self, **headers: str) -> str:
        """The path of a job that is finished, submitted and waited for through the cache."""
        answer = await self.ask(f"/jobs?{RANGE}", "POST", **headers)
        assert answer.status in (200, 202), answer
        job_id = re.search(rb'"id": "([0-9a-f-]+)"', answer.body)
        assert job_id is not None
        path = f"/jobs/{job_id[1].decode()}"
        answer = await self.ask(f"{path}?wait=30", **headers)
        assert b'"succeeded"' in answer.body
        return path


@pytest.fixture(scope="module", params=["nginx", "squid"])
def cache(request: pytest.FixtureRequest) -> str:
    """Which cache stands in front."""
    name = str(request.param)
    if find(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def behind(cache: str, folder: Path, *flags: str) -> Iterator[Cached]:
    """A server with these flags, behind a cache."""
    server = Server(*flags)
    proxy = None
    try:
        url = server.url = server.says(r"primesvc serves on (http://\S+) ")[1]
        if cache == "squid":
            proxy = squid(folder, urlsplit(url).port or 0)
        else:
            site = f"location / {{ proxy_pass {url}; proxy_cache primes; {TELL} }}"
            proxy = nginx(
                folder, site, http=f"proxy_cache_path {folder}/cache keys_zone=primes:1m;"
            )
        yield Cached(server, proxy)
    finally:
        if proxy is not None:
            proxy.stop()
        server.stop()


@pytest.fixture(scope="module")
def protected(cache: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cached]:
    """A server that wants a token."""
    yield from behind(cache, tmp_path_factory.mktemp("protected"), "--token", TOKEN)


@pytest.fixture(scope="module")
def open_to_all(cache: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cached]:
    """A server that wants none."""
    yield from behind(cache, tmp_path_factory.mktemp("open"))


async def test_what_is_protected_stays_so(protected: Cached) -> None:
    """Whatever was asked for with the token, who has none gets 401 and no byte of it."""
    job = await protected.finished(**WITH_TOKEN)
    for path in (
        f"{job}/primes",
        f"{job}/primes?format=csv",
        f"{job}/primes?format=npy&offset=100&limit=1000",
        f"/primes?{RANGE}",
        job.replace("/jobs/", "/result/"),
        job,
        "/jobs",
        "/metrics",
        "/openapi.json",
    ):
        for _ in range(2):
            answer = await protected.ask(path, **WITH_TOKEN)
            assert answer.status == 200, path
            secret = answer.body[:64]
            assert len(secret) == 64
        for headers in ({}, {"Range": "bytes=0-99"}, {"Authorization": "Bearer wrong"}):
            refused = await protected.ask(path, **headers)
            assert (refused.status, refused.hit) == (401, False), path
            assert secret not in refused.body
            assert b"urn:primesvc:problem:unauthorized" in refused.body
        assert (await protected.ask(path, "HEAD")).status == 401
        # Nor is the refusal kept.
        assert (await protected.ask(path, **WITH_TOKEN)).body[:64] == secret or "metrics" in path


async def test_results_are_handed_on(open_to_all: Cached) -> None:
    """Without a token a cache keeps files: whole ones, pages, forms; each what was asked for."""
    job = await open_to_all.finished()
    for path, accept in (
        (f"{job}/primes", "application/json"),
        (f"{job}/primes", "text/csv"),
        (f"{job}/primes?format=npy&offset=100&limit=1000", "*/*"),
        (f"/primes?{RANGE}&format=text", "*/*"),
    ):
        first = await open_to_all.ask(path, Accept=accept)
        assert (first.status, first.hit) == (200, False)
        again = await open_to_all.ask(path, Accept=accept)
        assert (again.status, again.hit) == (200, True)
        assert again.body == first.body
        part = await open_to_all.ask(path, Accept=accept, Range="bytes=100-299")
        assert (part.status, part.hit, part.body) == (206, True, first.body[100:300])
    assert open_to_all.files_sent() == 4, "each once"


async def test_what_may_change_is_not_handed_on(open_to_all: Cached) -> None:
    """Documents of jobs, lists, readiness, metrics and errors are the server's each time."""
    job = await open_to_all.finished()
    for path in (
        job,
        "/jobs",
        "/health/ready",
        "/metrics",
        "/numbers/360",
        "/jobs/00000000-0000-0000-0000-000000000000",
    ):
        assert not (await open_to_all.ask(path)).hit
        assert not (await open_to_all.ask(path)).hit, path
