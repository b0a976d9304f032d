"""Storms of cancels, and ranges that are submitted, cancelled and submitted again."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from primesvc import PrimeService, Range, Settings
from primesvc.errors import JobCancelled
from primesvc.sieve.engine import load_engine
from tests.faults.hostile import Target
from tests.helpers import WAIT_S, eventually, eventually_async, idle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

FOREVER = (10**18, 10**18 + 4 * 10**10)
"""A range that takes longer than any test."""

SOON = (10**12, 10**12 + 10**8)
"""One of several chunks, which takes a part of a second."""


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A server, which says nothing of all this."""
    with Target() as target:
        yield target


@pytest.fixture
async def client(target: Target) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with as many connections as it likes; nothing is left of what it did."""
    with target.attacked():
        async with aiohttp.ClientSession(
            target.server.url,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=WAIT_S),
        ) as client:
            yield client
            await eventually_async(lambda: all_is_quiet(target, client))


async def status(client: aiohttp.ClientSession, method: str, path: str) -> int:
    """The status of an answer."""
    async with client.request(method, path) as answer:
        assert answer.status < 500, await answer.text()
        return answer.status


async def started(client: aiohttp.ClientSession, start: int, end: int, kind: str = "count") -> str:
    """The id of a job that was submitted."""
    async with client.post(f"/jobs?start={start}&end={end}&kind={kind}") as answer:
        assert answer.status in (200, 202), await answer.text()
        return str((await answer.json())["id"])


async def all_is_quiet(target: Target, client: aiohttp.ClientSession) -> bool:
    """Whether no job is unfinished and no worker works."""
    async with client.get("/jobs?state=queued,running") as answer:
        if (await answer.json())["total"]:
            return False
    before_s = worked_s(target)
    await asyncio.sleep(0.1)  # what is asked is whether they work meanwhile
    return worked_s(target) == before_s


def worked_s(target: Target) -> float:
    """Processor seconds of all workers so far."""
    workers = target.process.children(recursive=True)
    return sum(sum(worker.cpu_times()[:2]) for worker in workers)


async def count(client: aiohttp.ClientSession, start: int, end: int) -> int:
    """How many primes the service counts, in a job that succeeds."""
    async with client.post(
        f"/jobs?start={start}&end={end}&kind=count", headers={"Prefer": "wait=30"}
    ) as answer:
        document = await answer.json()
        assert document["state"] == "succeeded", document
        return int(document["count"])


async def test_hundreds_cancel_the_same_job(client: aiohttp.ClientSession) -> None:
    """Together with hundreds that forget it: each is answered, and the cores are free."""
    job_id = await started(client, *FOREVER)
    cancels = [status(client, "POST", f"/jobs/{job_id}/cancel") for _ in range(200)]
    first = await asyncio.gather(*cancels)
    assert set(first) == {200}
    deletes = [status(client, "DELETE", f"/jobs/{job_id}") for _ in range(200)]
    assert Counter(await asyncio.gather(*deletes)) == {204: 1, 410: 199}


async def test_hundreds_of_jobs_are_cancelled_at_once(client: aiohttp.ClientSession) -> None:
    """Jobs that share their work among each other, and with one that is left alone."""
    start, end = SOON
    ids = await asyncio.gather(*(started(client, start + n, end + 10**9 + n) for n in range(300)))
    assert len(set(ids)) == 300
    kept = asyncio.create_task(count(client, start, end))
    ends = await asyncio.gather(
        *(
            status(client, *way)
            for number, job_id in enumerate(ids)
            for way in (("POST", f"/jobs/{job_id}/cancel"), ("DELETE", f"/jobs/{job_id}"))
            if number % 3 or way[0] == "POST"
        )
    )
    assert set(ends) <= {200, 204, 409, 410}
    assert await kept == await asyncio.to_thread(load_engine("auto").count, start, end)


async def test_the_same_range_again_and_again(client: aiohttp.ClientSession) -> None:
    """Submitted and cancelled hundreds of times in a row, it is exact in the end."""
    start, end = SOON[0] + 5 * 10**9, SOON[1] + 5 * 10**9
    for _ in range(300):
        job_id = await started(client, start, end)
        assert await status(client, "POST", f"/jobs/{job_id}/cancel") in (200, 409)
    assert await count(client, start, end) == await asyncio.to_thread(
        load_engine("auto").count, start, end
    )


async def test_the_same_range_by_many_at_once(client: aiohttp.ClientSession) -> None:
    """Some submit it, some cancel it, some forget it, some wait: who submits last gets it."""
    start, end = SOON[0] + 7 * 10**9, SOON[1] + 7 * 10**9
    path = f"/jobs/{await started(client, start, end)}"

    async def again_and_again(method: str, path: str) -> None:
        for _ in range(50):
            assert await status(client, method, path) in (200, 202, 204, 404, 409, 410)

    submit = f"/jobs?start={start}&end={end}&kind=count"
    ways = [("POST", submit), ("POST", f"{path}/cancel"), ("DELETE", path), ("GET", path)]
    await asyncio.gather(*(again_and_again(*way) for way in ways * 4))
    assert await count(client, start, end) == await asyncio.to_thread(
        load_engine("auto").count, start, end
    )


async def test_hundreds_submit_and_leave(client: aiohttp.ClientSession) -> None:
    """Before they are answered: the jobs that they began are found, and can be cancelled."""
    start, end = FOREVER
    submits = [
        asyncio.create_task(status(client, "POST", f"/jobs?start={start + n}&end={end}&kind=count"))
        for n in range(200)
    ]
    await asyncio.wait(submits, return_when=asyncio.FIRST_COMPLETED)
    for task in submits[::2]:
        task.cancel()
    await asyncio.gather(*submits, return_exceptions=True)
    async with client.get("/jobs?state=queued,running&limit=1000") as answer:
        jobs = (await answer.json())["jobs"]
    assert len(jobs) >= 100
    cancels = [status(client, "POST", f"/jobs/{job['id']}/cancel") for job in jobs]
    assert set(await asyncio.gather(*cancels)) == {200}


async def test_inside_nothing_is_left_of_a_storm() -> None:
    """No call, no waiter, no shared memory, after hundreds of cancels of overlapping jobs."""
    async with PrimeService(Settings(workers=2)) as service:
        for round_ in range(100):
            jobs = [
                await service.submit(Range(SOON[0] + n, SOON[1] + n)) for n in range(round_ % 5 + 1)
            ]
            await asyncio.sleep(0)
            for job in jobs:
                service.cancel(job)
            ends = await asyncio.gather(*(job.wait() for job in jobs), return_exceptions=True)
            assert all(isinstance(end, JobCancelled) for end in ends)
        await eventually(lambda: idle(service))
        job = await (await service.submit(Range(*SOON))).wait()
        assert job.count == await asyncio.to_thread(load_engine("auto").count, *SOON)
        await eventually(lambda: idle(service))
