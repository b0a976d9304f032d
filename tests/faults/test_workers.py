"""Workers that are killed, leave, hang or run out of memory while the service is at work."""

import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import psutil
import pytest

from primesvc import Job, PrimeService, Range, Settings
from primesvc.compute.local import MAX_DEATHS
from primesvc.errors import WorkerDied
from tests.compute import calls
from tests.faults.client import Client
from tests.faults.server import Server, runs
from tests.faults.test_restarts import SEED
from tests.helpers import WAIT_S, eventually, eventually_async
from tests.oracles import PI_OF_POWERS, primes_between

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="limits of other processes are Linux's"
    ),
]

DEATHS = "primesvc_worker_deaths_total"

BOUND = MAX_DEATHS
"""Deaths after which a call is given up."""

HIGH = (2**64 - 2**28, 2**64 - 1)
"""A range that is one piece, and one call of seconds and 100 MB, whatever the machine."""

LARGE = (0, 3 * 10**9)
"""A range of many calls, which take a good part of a second together."""

IN_LARGE = 144_449_537
"""How many primes it holds, by the `primesieve` command."""


def lines(server: Server) -> list[str]:
    """What the log tells of deaths."""
    return [line for line in server.log if "a worker process died" in line]


async def test_a_killed_worker_costs_no_job_anything() -> None:
    """Each kill of a busy worker is counted and logged once, and all counts are exact."""
    async with Server("--workers", "2") as server, Client(server) as client:
        large = await client.submit(*LARGE)
        await eventually_async(lambda: is_at(client, large, 0.1))
        random.Random(SEED).choice(server.workers()).kill()  # noqa: S311 - any will do
        await eventually_async(lambda: has_died(client, 1))
        assert await client.count(0, 10**6) == PI_OF_POWERS[6]
        assert (await client.ended(large))["count"] == IN_LARGE
        assert await client.metric(DEATHS) == 1
        await eventually(lambda: len(lines(server)) == 1)
        assert "SIGKILL" in lines(server)[0]


async def test_a_killed_fork_server_costs_no_job_anything() -> None:
    """The process that starts the workers is replaced as they are."""
    async with Server("--workers", "2") as server, Client(server) as client:
        large = await client.submit(*LARGE)
        for progress in (0.1, 0.3, 0.5):  # how soon it is replaced is a matter of moments
            await eventually_async(partial(is_at, client, large, progress))
            old = server.workers()
            server.fork_server().kill()
            await eventually(partial(are_gone, old))
            await eventually(partial(has_workers, server))
        assert (await client.ended(large))["count"] == IN_LARGE
        assert await client.count(0, 10**6) == PI_OF_POWERS[6]


async def test_a_worker_that_leaves_costs_no_job_anything() -> None:
    """A call that ends its worker by `os._exit` fails; jobs before, beside and after do not."""
    async with PrimeService(Settings(workers=2)) as service, asyncio.timeout(WAIT_S):
        before = await service.submit(Range(*LARGE))
        backend = service.runtime.backend
        with pytest.raises(WorkerDied, match="exit code 3"):
            await backend.run(calls.call, os._exit, (3,))
        await eventually(lambda: backend.snapshot().deaths == BOUND)
        assert await service.count(Range(0, 10**9)) == PI_OF_POWERS[9]
        await before.wait()
        assert before.count == IN_LARGE


async def test_a_worker_that_is_stopped_is_replaced() -> None:
    """It is found by the deadline of its call, while a job that needs no worker goes on."""
    flags = ("--workers", "2", "--hang-timeout-s", "1")
    async with Server(*flags) as server, Client(server) as client:
        large = await client.submit(0, 10**11)
        await eventually_async(lambda: is_at(client, large, 0.01))
        stopped = server.workers()
        for worker in stopped:  # one that waits for a call is not found before it has one
            worker.suspend()
        assert await client.count(2, 100) == 25
        await eventually_async(lambda: has_died(client, 1))
        await eventually(partial(are_gone, stopped))
        progress = (await client.job(large))["progress"]
        await eventually_async(lambda: is_at(client, large, progress + 0.01))
        assert await client.count(0, 10**9) == PI_OF_POWERS[9]
        assert await client.metric(DEATHS) == len(lines(server)) <= len(stopped)
        assert "hung" in lines(server)[0]


@pytest.mark.parametrize("which", ["the server", "the fork server"])
async def test_a_stopped_worker_ends_with_those_who_started_it(which: str) -> None:
    """It cannot notice that they were killed, and is not left behind all the same."""
    async with Server("--workers", "2") as server, Client(server) as client:
        assert await client.count(0, 10**8) == PI_OF_POWERS[8]
        await eventually(partial(are_prepared, server))
        stopped = server.workers()
        for worker in stopped:
            worker.suspend()
        if which == "the server":
            await server.kill()
        else:
            server.fork_server().kill()
            assert await client.count(0, 10**9) == PI_OF_POWERS[9]
        await eventually(partial(are_gone, stopped))


async def test_a_worker_without_memory_is_replaced() -> None:
    """One that may take no more memory fails a call, which another worker then does."""
    start, end = 10**16, 10**16 + 10**9
    expected = 27_153_205  # by the `primesieve` command
    async with Server("--workers", "2") as server, Client(server) as client:
        assert await client.count(0, 10**9) == PI_OF_POWERS[9]
        for worker in server.workers():
            size = worker.memory_info().vms
            worker.rlimit(psutil.RLIMIT_AS, (size, size))
        assert await client.count(start, end) == expected
        assert 1 <= await client.metric(DEATHS) <= MAX_DEATHS
        await eventually(lambda: any("ran out of memory" in line for line in lines(server)))


@contextmanager
def short_lived(server: Server) -> Iterator[None]:
    """The kernel kills every worker that has worked for a second, those to come too."""
    stop = threading.Event()

    def limit() -> None:
        limited: set[psutil.Process] = set()
        while not stop.wait(0.01):
            for worker in {*server.workers()} - limited:
                with suppress(psutil.NoSuchProcess):
                    worker.rlimit(psutil.RLIMIT_CPU, (1, 1))
                limited.add(worker)

    thread = threading.Thread(target=limit)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def test_a_range_that_keeps_killing_workers_fails_alone() -> None:
    """Its job tells why it failed; those before, beside and after it succeed, exactly."""
    async with Server("--workers", "2") as server, Client(server) as client:
        before = await client.submit(0, 10**9)
        with short_lived(server):
            guilty = await client.submit(*HIGH)
            beside = await client.submit(*LARGE)
            document = await client.ended(guilty)
            after = await client.submit(10**12, 10**12 + 1000, "primes")
            for job_id, count in (
                (before, PI_OF_POWERS[9]),
                (beside, IN_LARGE),
                (after, len(primes_between(10**12, 10**12 + 1000))),
            ):
                assert (await client.ended(job_id))["count"] == count
        assert document["state"] == "failed"
        assert document["error"]["type"] == "urn:primesvc:problem:worker-died"
        assert f"died {BOUND} times" in document["error"]["detail"]
        assert "SIGKILL" in document["error"]["detail"]
        assert await client.metric(DEATHS) == len(lines(server)) >= BOUND


@pytest.mark.parametrize(
    ("kills", "end", "count"),
    [
        pytest.param(4, 10**10, PI_OF_POWERS[10], id="four", marks=pytest.mark.slow),
        pytest.param(20, 4 * 10**10, 1_711_955_433, id="twenty", marks=pytest.mark.slow),
        pytest.param(20, 10**11, PI_OF_POWERS[11], id="long", marks=pytest.mark.slow),
    ],
)
async def test_kills_at_random_moments_of_a_job(
    kills: int, end: int, count: int, record_property: Callable[[str, object], None]
) -> None:
    """The count is right, so are small jobs beside it, and only what was under way is lost."""
    undisturbed_s, _ = await timed(end, count, 0)
    disturbed_s, lost = await timed(end, count, kills)
    slowdown = disturbed_s / undisturbed_s
    record_property("slowdown", slowdown)
    print(  # noqa: T201 - the figure that is asked for
        f"{kills} kills, {lost} calls run again: {undisturbed_s:.2f} s became {disturbed_s:.2f} s, "
        f"{slowdown:.2f} times"
    )


async def timed(end: int, count: int, kills: int) -> tuple[float, int]:
    """Seconds of a job while so many workers are killed, and the calls that were lost by that."""
    random_ = random.Random(SEED)  # noqa: S311 - a schedule, no secret
    async with PrimeService(Settings(workers=2)) as service:
        await service.warm_up()
        backend = service.runtime.backend
        began_s = time.perf_counter()
        job = await service.submit(Range(0, end))
        beside = asyncio.create_task(small_jobs(service))
        killed = 0
        for number in range(kills):
            goal = 0.95 * (number + random_.uniform(0, 0.3)) / kills
            await eventually(partial(is_due, job, goal))
            victim, *neighbours = random_.sample(backend.snapshot().pids, 3)
            os.kill(victim, signal.SIGKILL)
            killed += 1
            await eventually(partial(has_recovered, service, killed))
            assert set(neighbours) <= set(backend.snapshot().pids)
            # A call that loses three workers is given up: this one is over before the next kill.
            calls_ = service.runtime.dispatcher.calls
            await eventually(partial(has_gone_on, service, job, calls_ + 4))
        await job.wait()
        took_s = time.perf_counter() - began_s
        await beside
        snapshot = backend.snapshot()
        assert (job.count, snapshot.deaths) == (count, killed), f"seed {SEED}"
        assert snapshot.lost_calls <= killed
        return took_s, snapshot.lost_calls


def is_due(job: Job, progress: float) -> bool:
    """Whether a job has come so far, or has ended."""
    return job.state.final or job.progress >= progress


def has_recovered(service: PrimeService, deaths: int) -> bool:
    """Whether so many workers of a service have died, and all of them were replaced."""
    snapshot = service.runtime.backend.snapshot()
    return snapshot.deaths == deaths and len(snapshot.pids) == 3


def has_gone_on(service: PrimeService, job: Job, calls_: int) -> bool:
    """Whether so many calls were handed to workers, or the job has ended."""
    return job.state.final or service.runtime.dispatcher.calls >= calls_


async def small_jobs(service: PrimeService) -> None:
    """Jobs of 10^4 numbers each, somewhere, one after another, all of them exact."""
    random_ = random.Random(SEED)  # noqa: S311 - a schedule, no secret
    for _ in range(20):
        start = random_.randrange(10**12)
        job = await service.submit(Range(start, start + 10**4))
        await job.wait()
        found = [int(n) async for array in service.primes(job) for n in array]
        assert found == primes_between(start, start + 10**4)


def are_gone(workers: list[psutil.Process]) -> bool:
    """Whether none of them runs."""
    return not any(runs(worker) for worker in workers)


def are_prepared(server: Server) -> bool:
    """Whether all workers, the spare one too, have begun to watch their server."""
    return [worker.num_threads() for worker in server.workers()] == [2, 2, 2]


def has_workers(server: Server) -> bool:
    """Whether a server has workers."""
    return bool(server.workers())


async def is_at(client: Client, job_id: str, progress: float) -> bool:
    """Whether a job has come so far."""
    return float((await client.job(job_id))["progress"]) >= progress


async def has_died(client: Client, deaths: int) -> bool:
    """Whether so many workers are known to have died."""
    return await client.metric(DEATHS) >= deaths
