"""Everything that clients do, mixed by chance, with every answer held against what is known."""

import asyncio
import random
from collections import Counter

from tests.faults import oracle
from tests.faults.client import Client
from tests.faults.server import Server
from tests.helpers import WAIT_S
from tests.oracles import PI_OF_POWERS

LIMIT = 2 * 10**7
"""The numbers that jobs are about, but for the largest: their primes are found once."""

WRONG = (
    ("POST", "/primes?start_num=4", 400),
    ("POST", "/primes?start_num=11&end_num=4", 400),
    ("POST", "/jobs?start=0&end=2^65", 422),
    ("GET", "/result/none", 404),
    ("GET", "/jobs/00000000-0000-4000-8000-000000000000", 404),
    ("GET", "/nowhere", 404),
    ("DELETE", "/jobs", 405),
)
"""Requests that are answered with an error, and with which."""

PAGES = ("/", "/docs/", "/openapi.json", "/jobs?limit=20", "/metrics", "/health/ready")


class Load:
    """Clients that each do one thing after another until they are told to stop."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.done: Counter[str] = Counter()
        """How often each thing was done."""
        self._random = random.Random(seed)  # noqa: S311 - a schedule, no secret
        self._primes = oracle.primes(0, LIMIT)
        self._stop = asyncio.Event()

    async def run(self, clients: int) -> None:
        """Do things until `stop`. Raises what went wrong with any of them."""
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._one())

    def stop(self) -> None:
        """Have every client end with what it is at."""
        self._stop.set()

    async def _one(self) -> None:
        things = {
            self.small: 30, self.repeated: 30, self.download: 15, self.overlap: 6, self.large: 2,
            self.cancelled: 4, self.aborted: 6, self.slow: 3, self.watched: 5, self.wrong: 15,
            self.page: 10, self.deleted: 4, self.paged: 6,
        }  # fmt: skip
        async with Client(self.server) as client:
            while not self._stop.is_set():
                (thing,) = self._random.choices(list(things), list(things.values()))
                await thing(client)
                self.done[thing.__name__] += 1

    def _range(self, width: int) -> tuple[int, int]:
        start = self._random.randrange(LIMIT - width)
        return start, start + self._random.randrange(1, width)

    def _between(self, start: int, end: int) -> oracle.Values:
        first, stop = self._primes.searchsorted([start, end + 1])
        return self._primes[first:stop]

    async def _finished(self, client: Client, start: int, end: int) -> str:
        job_id = await client.submit(start, end, "primes")
        document = await client.ended(job_id)
        # Others may cancel it, or have it forgotten.
        if document["state"] != "cancelled":
            assert document["state"] == "succeeded", document
            assert document["count"] == len(self._between(start, end)), (start, end)
        return job_id

    async def small(self, client: Client) -> None:
        """The contract's two calls for a new small range."""
        start, end = self._range(2000)
        url = f"{self.server.url}/primes?start_num={start}&end_num={end}"
        async with client.session.post(url) as answer:
            job_id = await answer.json()
        async with asyncio.timeout(WAIT_S):
            while True:
                async with client.session.get(f"{self.server.url}/result/{job_id}") as answer:
                    if answer.status == 200:
                        body = await answer.json()
                        break
                    assert answer.status == 204, await answer.text()
        assert body == str(self._between(start, end).tolist())

    async def repeated(self, client: Client) -> None:
        """The same POST many times."""
        url = f"{self.server.url}/primes?start_num=4&end_num=11"
        for _ in range(20):
            async with client.session.post(url) as answer:
                assert answer.status == 200, await answer.text()
                assert await answer.json() == "fa406b46-00c5-559f-acd0-89e1e40bb04f"

    async def download(self, client: Client) -> None:
        """A whole file in any format."""
        start, end = self._range(10**6)
        job_id = await self._finished(client, start, end)
        format_ = self._random.choice(oracle.FORMATS)
        url = f"{self.server.url}/jobs/{job_id}/primes?format={format_}"
        async with client.session.get(url) as answer:
            if answer.status == 200:
                file = await answer.read()
                assert oracle.holds(format_, file, self._between(start, end)), (start, end)

    async def overlap(self, client: Client) -> None:
        """Two ranges that share most of their numbers, at a time."""
        start, end = self._range(10**7)
        other = (start + (end - start) // 10, end)
        await asyncio.gather(self._finished(client, start, end), self._finished(client, *other))

    async def large(self, client: Client) -> None:
        """A count that takes the workers a while."""
        power = self._random.choice([8, 9])
        assert await client.count(0, 10**power) == PI_OF_POWERS[power]

    async def cancelled(self, client: Client) -> None:
        """A job that is cancelled while it runs."""
        job_id = await client.submit(1, 10**11 + self._random.randrange(10**6))
        async with client.session.post(f"{self.server.url}/jobs/{job_id}/cancel") as answer:
            assert answer.status in (200, 409), await answer.text()
            # Of a range that was cancelled often enough all pieces are known in the end.
            state = "cancelled" if answer.status == 200 else "succeeded"
        assert (await client.ended(job_id))["state"] == state

    async def aborted(self, client: Client) -> None:
        """A download that is left in the middle."""
        job_id = await self._finished(client, *self._range(10**7))
        url = f"{self.server.url}/jobs/{job_id}/primes?format={self._random.choice(oracle.FORMATS)}"
        async with client.session.get(url) as answer:
            await answer.content.read(self._random.randrange(10**6))
            answer.close()

    async def slow(self, client: Client) -> None:
        """A client that takes its file in small parts, and long for each."""
        start, end = self._range(10**7)
        job_id = await self._finished(client, start, end)
        async with client.session.get(f"{self.server.url}/jobs/{job_id}/primes") as answer:
            for _ in range(20):
                if not await answer.content.read(2**15) or self._stop.is_set():
                    break
                await asyncio.sleep(0.1)  # what makes it slow
            answer.close()

    async def watched(self, client: Client) -> None:
        """A job that is followed by its events to the end."""
        job_id = await client.submit(*self._range(10**7), "primes")
        async with client.session.get(f"{self.server.url}/jobs/{job_id}/events") as answer:
            if answer.status == 200:
                text = (await answer.read()).decode()
                assert "event: done" in text

    async def wrong(self, client: Client) -> None:
        """A request that is refused."""
        method, path, status = self._random.choice(WRONG)
        async with client.session.request(method, self.server.url + path) as answer:
            assert answer.status == status, await answer.text()

    async def page(self, client: Client) -> None:
        """A page, a list, the figures."""
        async with client.session.get(self.server.url + self._random.choice(PAGES)) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()

    async def deleted(self, client: Client) -> None:
        """A job that is forgotten at once."""
        job_id = await client.submit(*self._range(10**7), "primes")
        async with client.session.delete(f"{self.server.url}/jobs/{job_id}") as answer:
            assert answer.status == 204, await answer.text()

    async def paged(self, client: Client) -> None:
        """Some primes out of the middle."""
        start, end = self._range(10**6)
        job_id = await self._finished(client, start, end)
        values = self._between(start, end)
        offset = self._random.randrange(len(values) + 1)
        url = f"{self.server.url}/jobs/{job_id}/primes?offset={offset}&limit=50"
        async with client.session.get(url) as answer:
            if answer.status == 200:
                assert await answer.json() == values[offset : offset + 50].tolist()
