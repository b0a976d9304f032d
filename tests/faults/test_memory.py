"""All that grows, pushed to grow at the same time, in the least memory there may be."""

import asyncio
from collections import Counter
from contextlib import suppress

import aiohttp
import pytest

from primesvc import Settings
from primesvc.budget import Budget
from tests.faults.server import Server
from tests.helpers import WAIT_S, eventually_async

TOP = 2**64
WIDE = 2**28
FORMATS = ("json", "text", "ndjson", "csv", "npy", "arrow")


class Crowd:
    """Clients of all kinds, each of which wants more than its share."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session
        self.statuses: Counter[int] = Counter()
        self.tasks: list[asyncio.Task[None]] = []
        self.peak_bytes = 0

    async def watch(self) -> None:
        """Note the most memory that all processes take together."""
        while True:
            taken = await asyncio.to_thread(self.server.memory_bytes)
            self.peak_bytes = max(self.peak_bytes, taken)

    async def submit(self, start: int, end: int, kind: str = "primes") -> str:
        """Submit a job."""
        url = f"{self.server.url}/jobs?start={start}&end={end}&kind={kind}"
        async with self.session.post(url) as answer:
            assert answer.status in (200, 202), await answer.text()
            return str((await answer.json())["id"])

    async def document(self, job_id: str) -> dict[str, object]:
        """The document of a job."""
        async with self.session.get(f"{self.server.url}/jobs/{job_id}") as answer:
            return dict(await answer.json())

    async def hold(self, path: str) -> None:
        """Ask for something and read no more of it than its head, until the server has enough."""
        with suppress(aiohttp.ClientError):
            async with self.session.get(self.server.url + path) as answer:
                self.statuses[answer.status] += 1
                if answer.status == 200:
                    await asyncio.Event().wait()

    def begin(self, path: str) -> None:
        """Have one more client hold something."""
        self.tasks.append(asyncio.create_task(self.hold(path)))

    async def leave(self) -> None:
        """Let all of them go."""
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_all_processes_together_stay_within_the_memory() -> None:
    """With jobs, wide pieces, downloads, event streams and lists at once it is never more."""
    limit = Budget.of(Settings(), processes=3, usable_bytes=0).total_bytes
    server = Server("--workers", "2", "--memory-bytes", str(limit))
    connector = aiohttp.TCPConnector(limit=0)
    async with server, aiohttp.ClientSession(connector=connector) as session:
        crowd = Crowd(server, session)
        watcher = asyncio.create_task(crowd.watch())
        file = await crowd.submit(0, 10**9)
        low = await crowd.submit(10**12, 10**12 + 10**10)
        high = [
            await crowd.submit(TOP - (n + 1) * 8 * WIDE, TOP - n * 8 * WIDE - 1, kind)
            for n, kind in enumerate(["primes", "count", "primes"])
        ]

        async def is_there() -> bool:
            return (await crowd.document(file))["state"] == "succeeded"

        await eventually_async(is_there, within_s=2 * WAIT_S)
        for number in range(300):
            crowd.begin(f"/jobs/{file}/primes?format={FORMATS[number % len(FORMATS)]}")
        for _ in range(200):
            crowd.begin(f"/jobs/{low}/events")
        for number in range(500):
            await crowd.submit(number * 10**6, number * 10**6 + 1000)
        for _ in range(50):
            crowd.begin("/jobs?limit=1000")

        async def has_come_far() -> bool:
            # Wide pieces went on all the while: at least one is done in each of these jobs.
            documents = [await crowd.document(job_id) for job_id in high]
            return all(float(str(document["progress"])) > 0 for document in documents)

        await eventually_async(has_come_far, within_s=4 * WAIT_S)
        await crowd.leave()
        watcher.cancel()
    assert crowd.peak_bytes < limit, f"{crowd.peak_bytes} of {limit} bytes"
    assert crowd.statuses[200] > 10
    assert crowd.statuses[503] > 10
    assert set(crowd.statuses) == {200, 503}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("height", [10**9, 10**13, 10**16])
async def test_many_running_jobs_stay_within_the_memory(height: int) -> None:
    """A job that waits for its next piece holds none of those before, anywhere on the line."""
    limit = Budget.of(Settings(), processes=3, usable_bytes=0).total_bytes
    server = Server("--workers", "2", "--memory-bytes", str(limit))
    async with server, aiohttp.ClientSession() as session:
        crowd = Crowd(server, session)
        watcher = asyncio.create_task(crowd.watch())
        jobs = [
            await crowd.submit(height + n * 10**10, height + n * 10**10 + 10**9) for n in range(400)
        ]

        async def have_pieces() -> bool:
            begun = [float(str((await crowd.document(each))["progress"])) > 0 for each in jobs]
            return sum(begun) >= 100

        await eventually_async(have_pieces, within_s=4 * WAIT_S)
        watcher.cancel()
    assert crowd.peak_bytes < limit, f"{crowd.peak_bytes} of {limit} bytes"
