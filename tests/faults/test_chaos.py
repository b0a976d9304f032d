"""Random damage against a running load: every accepted job ends in a true state, and exactly."""

import asyncio
import os
import random
import re
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest

from primesvc.jobs.journal import Journal
from tests.faults import oracle
from tests.faults.client import Client
from tests.faults.server import Server
from tests.faults.test_restarts import SEED
from tests.helpers import eventually, eventually_async
from tests.oracles import PI_OF_POWERS

pytestmark = pytest.mark.process

STEPS = int(os.environ.get("PRIMESVC_TEST_STEPS", "250"))
"""Steps of the long schedule; more for a longer search."""

LOST = (aiohttp.ClientError, OSError, TimeoutError)
"""What a client meets when its server is killed."""

PROCESSES = 3
"""Workers of a server for two processors, the spare one included."""


@dataclass(frozen=True)
class Known:
    """A job that was accepted, and what is to be said of its range."""

    start: int
    end: int
    kind: str

    def count(self) -> int:
        """How many primes there are."""
        if self.start == 0:
            return PI_OF_POWERS[len(str(self.end)) - 1]
        return len(oracle.primes(self.start, self.end))


class Chaos:
    """A server under load and damage, by a schedule that a seed makes."""

    def __init__(self, server: Server, client: Client, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a schedule, no secret
        self.server = server
        self.client = client
        self.accepted: dict[str, Known] = {}
        self.cancelled: set[str] = set()
        self.deleted: set[str] = set()
        self.compared = 0

    async def run(self, steps: int) -> None:
        """Do so many things, one after another, while the jobs run."""
        work = {
            self.submit: 20,
            self.cancel: 3,
            self.delete: 2,
            self.leave: 5,
            self.watch: 4,
            self.compare: 6,
            self.damage_worker: 7,
            self.kill: 2,
            self.terminate: 1,
        }
        for _ in range(steps):
            (step,) = self.random.choices(list(work), list(work.values()))
            with suppress(*LOST):
                await step()

    def any_job(self) -> str | None:
        """A job that was accepted."""
        return self.random.choice(list(self.accepted)) if self.accepted else None

    async def submit(self) -> None:
        """Submit a range, small or large, anywhere; often one that overlaps an earlier one."""
        kind = self.random.choice(["count", "primes"])
        if self.random.random() < 0.25:
            known = Known(0, 10 ** self.random.choice([8, 9, 9, 10]), "count")
        else:
            start = 1 + self.random.randrange(
                self.random.choice([10**4, 10**7, 10**9, 10**12 // 2])
            )
            known = Known(
                start, start + self.random.randrange(10 ** self.random.choice([3, 6])), kind
            )
        job_id = await self.client.submit(known.start, known.end, known.kind)
        self.accepted[job_id] = known
        self.deleted.discard(job_id)

    async def cancel(self) -> None:
        """Cancel a job, if it still runs."""
        if job_id := self.any_job():
            self.cancelled.add(job_id)  # before the answer, which may be lost
            url = f"{self.server.url}/jobs/{job_id}/cancel"
            async with self.client.session.post(url) as answer:
                assert answer.status in (200, 404, 409, 410), await answer.text()

    async def delete(self) -> None:
        """Have a job forgotten, in whatever state it is."""
        if job_id := self.any_job():
            self.deleted.add(job_id)
            async with self.client.session.delete(f"{self.server.url}/jobs/{job_id}") as answer:
                assert answer.status in (204, 404, 410), await answer.text()

    async def leave(self) -> None:
        """Begin to download a result, in some format, and leave in the middle."""
        if job_id := self.any_job():
            format_ = self.random.choice(oracle.FORMATS)
            url = f"{self.server.url}/jobs/{job_id}/primes?format={format_}"
            async with self.client.session.get(url) as answer:
                await answer.content.read(1000)
                answer.close()

    async def watch(self) -> None:
        """Follow a job's events, and leave after the first few."""
        if job_id := self.any_job():
            async with self.client.session.get(f"{self.server.url}/jobs/{job_id}/events") as answer:
                for _ in range(self.random.randrange(1, 6)):
                    await answer.content.readline()
                answer.close()

    async def compare(self) -> None:
        """Download a finished result, or some bytes of it, and compare them."""
        finished = [job_id for job_id, known in self.accepted.items() if known.kind == "primes"]
        if not finished:
            return
        job_id = self.random.choice(finished)
        known = self.accepted[job_id]
        format_ = self.random.choice(oracle.FORMATS)
        url = f"{self.server.url}/jobs/{job_id}/primes?format={format_}"
        headers = {}
        if self.random.random() < 0.5:
            first = self.random.randrange(2000)
            headers["Range"] = f"bytes={first}-{first + self.random.randrange(5000)}"
        async with self.client.session.get(url, headers=headers) as answer:
            if answer.status not in (200, 206):
                assert answer.status in (404, 409, 410, 416), await answer.text()
                return
            body = await answer.read()
            place = re.match(r"bytes (\d+)-(\d+)/", answer.headers.get("Content-Range", ""))
        values = await asyncio.to_thread(oracle.primes, known.start, known.end)
        if place is None:
            assert oracle.holds(format_, body, values), (known, format_)
        elif format_ not in ("npy", "arrow"):
            file = oracle.text(format_, values)
            assert body == file[int(place[1]) : int(place[2]) + 1], (known, format_, place)
        self.compared += 1

    async def damage_worker(self) -> None:
        """Kill a worker process, or stop it so that it hangs until it is found out.

        Sometimes kill the process that starts them.
        """
        workers = await asyncio.to_thread(self.server.workers)
        if workers:
            victim = self.random.choice(workers)
            number = self.random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
            with suppress(psutil.NoSuchProcess):
                if self.random.random() < 0.1 and (parent := victim.parent()) is not None:
                    parent.kill()
                else:
                    victim.send_signal(number)

    async def kill(self) -> None:
        """Kill the server and start it again."""
        # Who was stopped while it started, or after its fork server was killed, cannot notice.
        await asyncio.to_thread(self.server.wake)
        await self.server.kill()
        await self.server.start()

    async def terminate(self) -> None:
        """End the server in order and start it again."""
        assert await self.server.terminate() == 0
        await self.server.start()

    async def check(self) -> None:
        """Every accepted job ends in a true state, and every count is exact."""
        for job_id, known in self.accepted.items():
            document = await self.client.find(job_id)
            if document is None and job_id not in self.deleted:
                # Accepted within the last moment before a kill: its client submits it again.
                document = await self.client.job(
                    await self.client.submit(known.start, known.end, known.kind)
                )
            if document is None:
                continue
            document = await self.client.ended(job_id, within_s=120)
            if document["state"] == "cancelled":
                assert job_id in self.cancelled
                continue
            assert document["state"] == "succeeded", document
            assert document["count"] == await asyncio.to_thread(known.count), known

    async def compare_some(self, number: int) -> None:
        """Compare so many results, so that every run has looked at some."""
        while self.compared < number:
            start = 1 + self.random.randrange(10**9)
            job_id = await self.client.submit(start, start + 10**5, "primes")
            self.accepted[job_id] = Known(start, start + 10**5, "primes")
            await self.client.ended(job_id)
            await self.compare()


async def chaos(path: Path, steps: int, seed: int) -> None:
    """Run a schedule, see what is left at its end, and end the server in order."""
    flags = ("--workers", "2", "--hang-timeout-s", "1", "--journal", str(path))
    async with Server(*flags) as server:
        async with Client(server) as client:
            # What is opened with the first work stays open.
            assert await client.count(0, 10**7) == PI_OF_POWERS[7]
        await eventually(lambda: len(server.workers()) == PROCESSES)
        base = server.open_files()
        async with Client(server) as client:
            test = Chaos(server, client, seed)
            try:
                await test.run(steps)
                await test.check()
                await test.compare_some(5)
                # All that work for it run again, and nobody else is served.
                assert await client.count(0, 10**8) == PI_OF_POWERS[8]
                await eventually_async(lambda: is_calm(client))
                async with client.session.get(f"{server.url}/jobs?limit=1") as answer:
                    known = (await answer.json())["total"]
            except (AssertionError, TimeoutError) as error:
                error.add_note(f"replay it with PRIMESVC_TEST_SEED={seed}")
                error.add_note("".join(server.log[-40:]))
                raise
        await eventually(lambda: server.open_files() <= base)
        assert await server.terminate() == 0
    journal = await Journal.open(path)
    jobs, pieces = await journal.load()
    await journal.close()
    assert len(jobs) == known
    assert pieces == []


async def is_calm(client: Client) -> bool:
    """Whether nothing is being sent or worked on."""
    names = ("downloads", "event_streams", 'jobs{state="running"}', 'jobs{state="queued"}')
    return sum([await client.metric(f"primesvc_{name}") for name in names]) == 0


async def test_jobs_survive_a_short_storm(tmp_path: Path) -> None:
    """After a few dozen random faults every accepted job ends in a true state, exactly counted."""
    await chaos(tmp_path / "journal", 30, SEED)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(3))
async def test_jobs_survive_a_long_storm(tmp_path: Path, number: int) -> None:
    """The same for hundreds of faults, by several schedules."""
    await chaos(tmp_path / "journal", STEPS, SEED + 1 + number)
