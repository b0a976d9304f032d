"""Pages of a job that still runs: what is done from its start on, exactly, and no more."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from numpy.typing import NDArray
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Settings, create_app
from primesvc.jobs.job import Job
from primesvc.results.result import Result
from primesvc.sieve.packed import Summary
from tests.helpers import WAIT_S, eventually
from tests.oracles import PI_OF_POWERS, primes_between
from tests.web.api import Answer, Api
from tests.web.helpers import HeldExecutor

Client = TestClient[web.Request, web.Application]

START, END = 0, 4 * 10**8
"""So wide that it takes some chunks, so narrow that its primes are kept."""


def sieved(end: int) -> NDArray[np.uint64]:
    """The primes up to the end, by the sieve of Eratosthenes on the odd numbers."""
    odd = np.ones((end + 1) // 2, np.bool_)
    odd[0] = False
    for n in range(3, int(end**0.5) + 1, 2):
        if odd[n // 2]:
            odd[n * n // 2 :: n] = False
    return np.concatenate(([2], 2 * np.flatnonzero(odd) + 1)).astype(np.uint64)


class Running:
    """A job that does a chunk only when it is told to."""

    def __init__(self, api: Api, executor: HeldExecutor, job: Job) -> None:
        self.api = api
        self.executor = executor
        self.job = job

    async def step(self, at: int = 0) -> None:
        """Let one of the chunks that are asked for be done: the first, or the one at `at`."""
        # Behind the last piece the count may still be checked.
        await eventually(lambda: self.executor.held > at or self.job.state.final)
        if self.job.state.final:
            return
        before = self.job.collected.pieces_done
        self.executor.run(at)
        await eventually(lambda: self.job.collected.pieces_done > before)

    @property
    def front(self) -> Summary:
        """How much can be read, as the job itself knows it."""
        front = Result.front_of(self.job.collected)
        return Summary(0, 0) if front is None else front.total

    @property
    def border(self) -> int:
        """The last number that can be read."""
        plan = self.job.collected.plan
        return plan.piece(plan.indices[self.job.collected.front - 1]).end

    async def page(self, query: str, **options: Any) -> Answer:
        """A page of the job's primes."""
        return await self.api.get(f"/jobs/{self.job.id}/primes?{query}", **options)


@pytest.fixture
async def running(aiohttp_client: AiohttpClient) -> AsyncIterator[Running]:
    """A job of which nothing is done yet."""
    executor = HeldExecutor()
    api = Api(await aiohttp_client(create_app(Settings(workers=2), executor=executor)))
    document = await api.start(start=START, end=END)
    yield Running(api, executor, api.service.job(document["id"]))
    executor.drop()
    await api.client.close()


async def test_before_the_first_piece_a_page_is_empty(running: Running) -> None:
    """A page of a job of which nothing is done is a page without primes, in any format."""
    for format_, empty in (("json", b"[]\n"), ("text", b""), ("csv", b"prime\n"), ("ndjson", b"")):
        answer = await running.page(f"offset=0&limit=10&format={format_}")
        assert (answer.status, answer.body) == (200, empty)
        assert answer.links == {}
        assert answer.headers["Cache-Control"] == "no-store"
        assert int(answer.headers["Retry-After"]) >= 1
        assert "ETag" not in answer.headers


async def test_pages_grow_with_the_front(running: Running) -> None:
    """After every step a page has the primes from the start of the range on, as far as it is."""
    expected = primes_between(START, START + 10**5)
    count = 0
    for _ in range(3):
        await running.step()
        before, count = count, running.front.count
        assert count > before
        first = await running.page("offset=0&limit=1000")
        assert first.document == expected[:1000]
        assert set(first.links) == {"next"}
        assert first.links["next"].startswith("?")
        # The last page there is for now is cut where the front ends.
        last = await running.page(f"offset={count - 5}&limit=1000")
        assert len(last.document) == 5
        assert set(last.links) == {"prev"}
        border = running.border
        assert last.document == primes_between(border - 1000, border)[-5:]
        behind = await running.page(f"offset={count}&limit=10")
        assert behind.document == []
        assert set(behind.links) == {"prev"}


async def test_a_piece_that_is_missing_ends_the_front(running: Running) -> None:
    """What is done behind a gap cannot be read until the gap is closed."""
    await running.step(at=1)
    assert running.job.collected.pieces_done > 0
    assert (await running.page("offset=0&limit=10")).document == []
    assert (await running.api.get(f"/jobs/{running.job.id}")).document["count"] > 0
    before = running.job.collected.pieces_done
    await running.step(at=0)
    # The front jumps over all that was done behind the gap.
    assert running.job.collected.front == running.job.collected.pieces_done > before
    assert (await running.page("limit=1")).document == primes_between(START, START + 100)[:1]


async def test_following_the_links_gives_every_prime_once(running: Running) -> None:
    """Page by page the links lead through the front, without a gap and without a repetition."""
    await running.step()
    count, limit = running.front.count, 200_000
    query, found = f"format=text&offset=0&limit={limit}", []
    async with asyncio.timeout(WAIT_S):
        while True:
            answer = await running.page(query)
            found.append(np.array(answer.body.split(), np.uint64))
            if "next" not in answer.links:
                break
            query = answer.links["next"].removeprefix("?")
    border = running.border
    expected = sieved(border)
    assert len(expected) == count
    assert np.array_equal(np.concatenate(found), expected)


async def test_pages_of_a_front_have_every_format(running: Running) -> None:
    """The formats are those of a finished job."""
    await running.step()
    expected = primes_between(START, START + 10**4)[3:9]
    lines = "".join(f"{prime}\n" for prime in expected)
    strings = await running.page("offset=3&limit=6&numbers=string")
    assert strings.document == list(map(str, expected))
    assert (await running.page("offset=3&limit=6&format=text")).body.decode() == lines
    assert (await running.page("offset=3&limit=6&format=csv")).body.decode() == "prime\n" + lines
    answer = await running.page("offset=3&limit=6", headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in answer.body.splitlines()] == expected
    npy = await running.page("offset=3&limit=6&format=npy")
    assert np.frombuffer(npy.body[-48:], "<u8").tolist() == expected


async def test_a_front_is_no_file(running: Running) -> None:
    """What still grows has no tag, no ranges and no conditions; HEAD tells its length for now."""
    await running.step()
    path = f"/jobs/{running.job.id}/primes?offset=0&limit=4"
    headers = {"Range": "bytes=0-1", "If-None-Match": "*", "If-Range": '"x"'}
    answer = await running.api.get(path, headers=headers)
    assert (answer.status, len(answer.document)) == (200, 4)
    assert not {"ETag", "Accept-Ranges", "Content-Disposition"} & set(answer.headers)
    head = await running.api.request("HEAD", path)
    assert head.headers["Content-Length"] == answer.headers["Content-Length"]


async def test_a_page_without_an_end_goes_as_far_as_the_front(running: Running) -> None:
    """`offset` alone, or a limit beyond, gives all there is from there on."""
    await running.step()
    count = running.front.count
    for query in (f"offset={count - 3}", f"offset={count - 3}&limit={2**64}"):
        assert len((await running.page(query)).document) == 3
    assert (await running.page("limit=0")).document == []
    assert (await running.page(f"offset={2**64}")).document == []


async def test_the_whole_is_there_when_it_is_done(running: Running) -> None:
    """Without a page asked for there is nothing to read of a job that runs; at its end, all."""
    await running.step()
    path = f"/jobs/{running.job.id}/primes"
    (await running.api.get(path)).problem(409, "job-not-finished")
    while not running.job.state.final:
        await running.step()
    head = await running.api.request("HEAD", path)
    assert head.status == 200
    page = await running.page("offset=0&limit=10")
    assert page.headers["ETag"]
    assert page.headers["Accept-Ranges"] == "bytes"
    assert "Retry-After" not in page.headers
    assert page.document == primes_between(START, START + 1000)[:10]


@pytest.mark.parametrize("query", ["offset=x", "limit=-1", "offset=0&numbers=x"])
async def test_a_page_that_is_none_is_refused(running: Running, query: str) -> None:
    """What is wrong with a page is wrong before the job is done, too."""
    (await running.page(query)).problem(400, "invalid-parameter")


async def test_workers_and_readers_at_once(client: Client) -> None:
    """With real workers, pages that are read all the while are a prefix that only grows."""
    api = Api(client)
    document = await api.start(start=0, end=10**9)
    job = api.service.job(document["id"])
    expected = primes_between(0, 10_000)
    seen = [0]
    async with asyncio.timeout(WAIT_S):
        while not job.state.final:
            answer = await api.get(f"/jobs/{job.id}/primes?offset=0&limit={len(expected)}")
            assert answer.document == expected[: len(answer.document)]
            seen.append(len(answer.document))
    assert seen == sorted(seen)
    assert job.count == PI_OF_POWERS[9]
