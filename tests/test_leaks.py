"""What a service takes from the system it gives back, however often it is opened and closed."""

import gc
import re
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from aiohttp import ClientSession, web

from primesvc import PrimeService, Range, Settings, create_app
from primesvc.errors import JournalUnusable
from tests.helpers import eventually

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="what a process holds is read from /proc"
    ),
]

ONE_WORKER = Settings(workers=1)

SMALL = Range(10**6, 10**7)
"""A range that takes a worker some milliseconds; shorter work is done without one."""

BIG = Range(0, 10**11)
"""A range that takes many seconds."""


few_and_many = pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.slow)])


class Held(NamedTuple):
    """What this process holds of the system."""

    files: int
    """File descriptors."""
    mapped: int
    """Mappings of shared memory: slots for results."""
    processes: frozenset[int]
    """Child processes, and theirs."""


def held() -> Held:
    """What this process holds now."""
    gc.collect()
    return Held(
        files=len(list(Path("/proc/self/fd").iterdir())),
        mapped=len(re.findall("/shm/|/memfd:primesvc", Path("/proc/self/maps").read_text())),
        processes=frozenset(child.pid for child in psutil.Process().children(recursive=True)),
    )


def workers() -> list[psutil.Process]:
    """Those whom the fork server, a child of this process, has started."""
    return [each for child in psutil.Process().children() for each in child.children()]


async def rounds(count: int, one: Callable[[], Awaitable[object]]) -> None:
    """Go through `count` rounds; fail if more is held afterwards than after the first two.

    The first rounds start what is the interpreter's and stays: the fork server
    with its helper, and the threads of the event loop.
    """
    for _ in range(2):
        await one()
    await eventually(lambda: not workers())
    before = held()
    for _ in range(count):
        await one()
    # Wait for what ends by itself: the workers' threads close their pipes.
    await eventually(lambda: held() == before)


@few_and_many
async def test_services_that_worked_leave_nothing(count: int) -> None:
    """Services that counted and listed primes in worker processes leave nothing behind."""

    async def one() -> None:
        async with PrimeService(ONE_WORKER) as service:
            job = await service.submit(SMALL)
            await job.wait()
            assert sum([len(primes) async for primes in service.primes(job)]) == 586_081
            await service.warm_up()
            assert len(service.snapshot().backend.pids) == 2

    await rounds(count, one)


async def test_services_closed_in_the_middle_of_work_leave_nothing() -> None:
    """Services that are closed while their workers are at it leave nothing behind either."""

    async def one() -> None:
        async with PrimeService(ONE_WORKER) as service:
            job = await service.submit(BIG)
            await eventually(lambda: job.collected.done_numbers > 0)

    await rounds(10, one)


@few_and_many
async def test_applications_leave_nothing(count: int) -> None:
    """Applications that were served and answered a request leave nothing behind."""

    async def one() -> None:
        runner = web.AppRunner(create_app(ONE_WORKER))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        async with (
            ClientSession() as session,
            session.post(f"http://{host}:{port}/primes?start_num=4&end_num=11") as response,
        ):
            assert response.status == 200
        await runner.cleanup()

    await rounds(count, one)


async def test_services_that_cannot_start_leave_nothing(tmp_path: Path) -> None:
    """Whether the journal is in use, which is found first, or the port, which is found last."""
    settings = Settings(workers=1, journal=str(tmp_path / "journal"))

    async def one() -> None:
        with pytest.raises(JournalUnusable):
            async with PrimeService(settings):
                pass
        runner = web.AppRunner(create_app(ONE_WORKER))
        await runner.setup()
        with pytest.raises(OSError, match="in use"):
            await web.TCPSite(runner, "127.0.0.1", port).start()
        await runner.cleanup()

    async with PrimeService(settings):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            await rounds(10, one)


async def test_a_parent_that_fails_to_start_is_left_nothing() -> None:
    """When an embedding application fails to start after ours has, ours holds nothing."""

    async def fail(_: web.Application) -> None:
        raise RuntimeError("the parent's own start-up fails")

    async def one() -> None:
        parent = web.Application()
        parent.add_subapp("/primes-api/", create_app(ONE_WORKER))
        parent.on_startup.append(fail)
        runner = web.AppRunner(parent)
        with pytest.raises(RuntimeError, match="the parent's own"):
            await runner.setup()
        await runner.cleanup()

    await rounds(10, one)
