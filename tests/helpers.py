"""What several tests need: the oracle, bounded waits, the shape of every error."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from primesvc import Job, PrimeService, Range

WAIT_S = 30.0
"""No test waits longer for anything."""


def naive_primes(start: int, end: int) -> list[int]:
    """The primes of the closed range by trial division: slow, and obviously right."""
    return [
        n for n in range(max(start, 2), end + 1) if all(n % d for d in range(2, int(n**0.5) + 1))
    ]


async def eventually(
    condition: Callable[[], bool], *, within_s: float = WAIT_S, pause_s: float = 0.005
) -> None:
    """Return when the condition holds; fail if it does not within the time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not become true in {within_s} s"
        await asyncio.sleep(pause_s)


async def eventually_async(
    condition: Callable[[], Awaitable[bool]], *, within_s: float = WAIT_S
) -> None:
    """Return when the awaited condition holds; fail if it does not within the time."""
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, f"{condition} did not become true in {within_s} s"
        await asyncio.sleep(0.01)


async def assert_problem(
    response: ClientResponse, status: int, type_: str, *, says: str = ""
) -> dict[str, Any]:
    """Assert that a response is a problem document of this status and type; return it."""
    assert response.status == status, await response.text()
    assert response.content_type == "application/problem+json"
    document: dict[str, Any] = await response.json(content_type=None)
    assert {"type", "title", "status", "detail", "message"} <= set(document)
    assert document["type"] == type_
    assert document["status"] == status
    assert document["message"] == document["detail"]
    assert says in document["detail"], document["detail"]
    assert "Traceback" not in await response.text()
    return document


async def submit(client: TestClient[Any, Any], start: int, end: int, *, prefix: str = "") -> str:
    """POST a range; return the id of its job."""
    async with client.post(f"{prefix}/primes?start_num={start}&end_num={end}") as response:
        assert response.status == 200, await response.text()
        return str(await response.json())


async def fetch(client: TestClient[Any, Any], job_id: str, *, prefix: str = "") -> str:
    """Poll a result until it is there; return its body."""
    deadline = time.monotonic() + WAIT_S
    while True:
        async with client.get(f"{prefix}/result/{job_id}") as response:
            if response.status != 204:
                assert response.status == 200, await response.text()
                return await response.text()
        assert time.monotonic() < deadline, "the job did not finish"
        await asyncio.sleep(0.005)


async def finished(service: PrimeService, start: int, end: int) -> Job:
    """The job for a range, once it has succeeded."""
    async with asyncio.timeout(WAIT_S):
        job = await service.submit(Range(start, end))
        return await job.wait()


def idle(service: PrimeService) -> bool:
    """Whether no call runs or waits and no shared memory is leased.

    Looks behind the public face: that nothing is left over shows nowhere else.
    """
    dispatcher = service.runtime.dispatcher
    waiting = any(not call.done.done() for queue in dispatcher._waiting for call in queue.calls)
    arena = getattr(service.runtime.backend, "_arena", None)
    return not (dispatcher._running or waiting) and (arena is None or arena.free == arena.slots)
