"""A server that is killed again and again, with a journal."""

import os
import random
from pathlib import Path

import aiohttp
import pytest

from primesvc.sieve.engine import load_engine
from tests.faults.server import Server
from tests.helpers import eventually_async

SEED = int(os.environ.get("PRIMESVC_TEST_SEED", "20260101"))
"""Replays a schedule: the seed of a failed run stands in its message."""


async def _job(url: str, job_id: str) -> dict[str, object]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/jobs/{job_id}") as response:
        assert response.status == 200, await response.text()
        return dict(await response.json())


async def _submit(url: str, start: int, end: int) -> str:
    query = f"start={start}&end={end}&kind=count"
    async with aiohttp.ClientSession() as session, session.post(f"{url}/jobs?{query}") as response:
        assert response.status in (200, 202), await response.text()
        return str((await response.json())["id"])


async def _restart_while_it_runs(journal: Path, end: int, kills: int) -> None:
    random_ = random.Random(SEED)  # noqa: S311 - a schedule, no secret
    start = 12_345
    async with Server("--workers", "2", "--journal", str(journal)) as server:
        job_id = await _submit(server.url, start, end)
        for _ in range(kills):
            known = float(str((await _job(server.url, job_id))["progress"]))
            goal = known + random_.uniform(0.2, 1.0) * (1 - known) / kills

            async def is_at_goal(goal: float = goal) -> bool:
                return float(str((await _job(server.url, job_id))["progress"])) >= goal

            await eventually_async(is_at_goal)
            await server.kill()
            await server.start()

        async def is_done() -> bool:
            return (await _job(server.url, job_id))["state"] == "succeeded"

        await eventually_async(is_done, within_s=300)
        found = (await _job(server.url, job_id))["count"]
    assert found == load_engine("auto").count(start, end), f"seed {SEED}"


async def test_a_killed_server_goes_on_where_it_was(tmp_path: Path) -> None:
    """After each of some kills the same id goes on, and the count is exact in the end."""
    await _restart_while_it_runs(tmp_path / "journal", 2 * 10**10, 4)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_server_killed_twenty_times_goes_on_where_it_was(tmp_path: Path) -> None:
    """After each of twenty kills the same id goes on, and the count is exact in the end."""
    await _restart_while_it_runs(tmp_path / "journal", 10**11, 20)
