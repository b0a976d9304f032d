"""A server that is killed again and again, with a journal."""

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from primesvc import Range
from primesvc.jobs.journal import Journal
from primesvc.sieve.grid import SEGMENTS
from tests.faults.client import Client
from tests.faults.server import Server
from tests.helpers import eventually_async
from tests.oracles import PI_OF_POWERS

pytestmark = pytest.mark.process

SEED = int(os.environ.get("PRIMESVC_TEST_SEED", "20260101"))
"""Replays a schedule: the seed of a failed run stands in its message."""

START = 12_345
"""Where the range begins: in the middle of a piece."""

BELOW_START = 1_474
"""How many primes there are below."""

SIEVED = 'primesvc_pieces_total{source="sieved"}'

BEGUN = "primesvc_chunk_wait_seconds_count"
"""Calls that were handed to workers."""

WORKERS = 2


async def restarted(path: Path, end: int, count: int, kills: int) -> float:
    """Kill the server so often during one job; the share of its numbers that was sieved twice.

    What the workers are at when it is killed counts as sieved, as much as their other
    calls have sieved on average.
    """
    random_ = random.Random(SEED)  # noqa: S311 - a schedule, no secret
    twice = kept = 0.0
    flags = ("--workers", str(WORKERS), "--journal", str(path))
    async with Server(*flags) as server, Client(server) as client:
        job_id = await client.submit(START, end)
        for left in range(kills, 0, -1):
            goal = kept + random_.uniform(0.2, 1.0) * (1 - kept) / (left + 1)

            async def is_at_goal(goal: float = goal) -> bool:
                return float((await client.job(job_id))["progress"]) >= goal

            await eventually_async(is_at_goal, within_s=120)
            begun = await client.metric(BEGUN)
            done = float((await client.job(job_id))["progress"])
            await server.kill()
            under_way = WORKERS * (done - kept) / max(begun - WORKERS, 1)
            kept = await journaled(path, end)
            twice += max(done - kept, 0) + under_way
            await server.start()
        document = await client.ended(job_id, within_s=120)
    assert document["state"] == "succeeded", document
    assert document["count"] == count - BELOW_START, f"seed {SEED}"
    return twice


async def journaled(path: Path, end: int) -> float:
    """The share of the numbers that lie in pieces which stand in the journal."""
    journal = await Journal.open(path)
    _, pieces = await journal.load()
    await journal.close()
    whole = [SEGMENTS.piece(index).span for _, index, _, _ in pieces]
    return sum(whole) / (end - START + 1)


def tell(
    record_property: Callable[[str, object], None], kills: int, end: int, twice: float
) -> None:
    """Record the share, and see that it has a bound."""
    record_property("share_done_twice", twice)
    print(f"{kills} kills during 0..{end:.0e}: {twice:.1%} of the numbers were sieved twice")  # noqa: T201
    assert twice < 0.5, f"seed {SEED}"


async def test_a_killed_server_goes_on_where_it_was(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """After each of some kills the same id goes on, and the count is exact in the end."""
    kills, end = 2, 2 * 10**10
    count = 882_206_716  # by the `primesieve` command
    twice = await restarted(tmp_path / "journal", end, count, kills)
    tell(record_property, kills, end, twice)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_server_killed_twenty_times_goes_on_where_it_was(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """After each of twenty kills the same id goes on, and the count is exact in the end."""
    kills, end = 20, 10**11
    twice = await restarted(tmp_path / "journal", end, PI_OF_POWERS[11], kills)
    tell(record_property, kills, end, twice)


async def test_a_terminated_server_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGTERM loses nothing: what was done by then stands in the journal, whole."""
    flags = ("--workers", "2", "--journal", str(tmp_path / "journal"))
    async with Server(*flags) as server, Client(server) as client:
        job_id = await client.submit(0, 10**12)

        async def is_under_way() -> bool:
            return float((await client.job(job_id))["progress"]) > 0.005

        await eventually_async(is_under_way)
        before = (await client.job(job_id))["progress"]
        assert await server.terminate() == 0
        await server.start()

        async def is_back() -> bool:
            return float((await client.job(job_id))["progress"]) >= float(before)

        # Known pieces are recorded by the thousand at once; sieved, they would count.
        await eventually_async(is_back)
        assert (await client.job(job_id))["state"] == "running"
        done = before * len(SEGMENTS.cover(Range(0, 10**12)))
        assert await client.metric(SIEVED) < done
        async with client.session.post(f"{server.url}/jobs/{job_id}/cancel") as answer:
            assert answer.status == 200
        assert await server.terminate() == 0


async def test_a_terminated_server_takes_no_requests_but_loses_no_job(tmp_path: Path) -> None:
    """A job submitted right before the signal is there after it."""
    flags = ("--workers", "2", "--journal", str(tmp_path / "journal"))
    async with Server(*flags) as server, Client(server) as client:
        job_id = await client.submit(0, 10**9)
        assert await server.terminate() == 0
        with pytest.raises(aiohttp.ClientError):
            await client.job(job_id)
        await server.start()
        assert (await client.ended(job_id))["count"] == PI_OF_POWERS[9]


async def test_a_job_that_was_answered_for_survives_a_kill(tmp_path: Path) -> None:
    """With `--journal-sync` the server may be killed right after any answer."""
    flags = ("--workers", "2", "--journal", str(tmp_path / "journal"), "--journal-sync")
    async with Server(*flags) as server, Client(server) as client:
        submitted = set()
        for kills in range(3):
            ends = range(10**12 + 100 * kills, 10**12 + 100 * kills + 20)
            submitted.update(await asyncio.gather(*(client.submit(0, end) for end in ends)))
            await server.kill()
            await server.start()
            async with client.session.get(f"{server.url}/jobs?limit=1000") as answer:
                assert {job["id"] for job in (await answer.json())["jobs"]} == submitted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB, in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not mount or not umount:
        pytest.skip("there is no command to mount a disk")
    command = [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("no disk of its own may be mounted here")
    yield disk
    subprocess.run([umount, str(disk)], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


async def behind(client: Client) -> dict[str, Any]:
    """What readiness says of the journal."""
    async with client.session.get(f"{client.server.url}/health/ready") as answer:
        return dict((await answer.json())["journal"])


@pytest.mark.parametrize("freed", ["before the stop", "right before the stop"])
async def test_what_happened_while_the_disk_was_full_is_not_lost(
    small_disk: Path, freed: str
) -> None:
    """A deleted job stays so, a new one is there, and one line, not 28 a second, told of it."""
    flags = ("--workers", "2", "--journal", str(small_disk / "journal"))
    async with Server(*flags) as server, Client(server) as client:
        deleted = await client.submit(0, 10**12)

        async def is_written() -> bool:
            return bool((await behind(client))["waiting"] == 0)

        async def is_behind() -> bool:
            found = await behind(client)
            return bool(found["problem"]) and found["behind_s"] > 0 and found["waiting"] > 0

        await eventually_async(is_written)
        fill(small_disk / "filler")
        async with client.session.delete(f"{server.url}/jobs/{deleted}") as answer:
            assert answer.status == 204
        submitted = await client.submit(0, 2 * 10**12)
        await eventually_async(is_behind)
        assert await client.metric("primesvc_journal_failing") == 1
        assert await client.metric("primesvc_journal_behind_seconds") > 0
        (small_disk / "filler").unlink()
        if freed == "before the stop":
            await eventually_async(is_written)
            assert await client.metric("primesvc_journal_failing") == 0
        assert await server.terminate() == 0
        lines = [line for line in server.log if "journal" in line]
        assert [("cannot be written" in line) for line in lines] == [True, False], lines
        assert "written again" in lines[1]
        await server.start()
        async with client.session.get(f"{server.url}/jobs") as answer:
            jobs = (await answer.json())["jobs"]
        assert [(job["id"], job["state"]) for job in jobs] == [(submitted, "running")]
        assert await server.terminate() == 0
