"""The pool of worker processes: what it survives, and how it ends."""

import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from primesvc.compute.pool import ALONE_DEATHS, SHARED_DEATHS, ForeignExecutor, ProcessPool
from primesvc.errors import EngineFailed, ExecutorLost, ServiceClosed, WorkerDied
from tests.compute import calls
from tests.helpers import WAIT_S, eventually

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and FIFOs"),
]

SOON_S = 5.0
"""What is bounded ends well within this, also on a busy machine."""

NOT_IN_WORKERS = ("aiohttp", "aiocache", "primesvc.service", "primesvc.web")


class Gate:
    """Holds calls in worker processes until it is opened."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "gate"
        self.started = directory / "started"
        self.started.mkdir()
        os.mkfifo(self.path)
        self._fd: int | None = None

    @property
    def args(self) -> tuple[Path, Path]:
        """What `calls.hold` takes."""
        return self.path, self.started

    @property
    def pids(self) -> set[int]:
        """The processes that were held so far."""
        return {int(path.name) for path in self.started.iterdir()}

    async def holds(self, count: int) -> None:
        """Wait until so many processes were held."""
        await eventually(lambda: len(self.pids) == count)

    def open(self) -> None:
        """Let all calls pass, those to come too."""
        self._fd = os.open(self.path, os.O_RDWR)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A closed gate."""
    gate = Gate(tmp_path)
    yield gate
    gate.close()


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    """A pool of two processes."""
    pool = ProcessPool(2)
    yield pool
    await pool.close()


def children() -> set[int]:
    """Our child processes and theirs."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


async def gone(pids: set[int]) -> None:
    """Wait until none of the processes exists."""
    await eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


# Running


async def test_calls_run_in_processes_of_their_own(gate: Gate) -> None:
    """Calls at the same time run in different processes, none of them ours."""
    pool = ProcessPool(3)
    running = [asyncio.create_task(pool.run(calls.hold, *gate.args)) for _ in range(3)]
    await gate.holds(3)
    assert sorted(pool.pids) == sorted(gate.pids)
    gate.open()
    pids = set(await asyncio.gather(*running))
    assert len(pids) == 3
    assert os.getpid() not in pids
    await pool.close()


async def test_no_process_starts_before_the_first_call(pool: ProcessPool) -> None:
    """A new pool has no processes; its first call starts them all."""
    assert pool.pids == []
    assert await pool.run(os.getpid) in pool.pids
    assert len(pool.pids) == 2


async def test_warming_up_starts_all_processes(pool: ProcessPool) -> None:
    """After warming up all processes run, and calls find them."""
    await pool.warm_up()
    pids = set(pool.pids)
    assert len(pids) == 2
    assert await pool.run(os.getpid) in pids


async def test_an_error_in_a_call_is_the_calls_own(pool: ProcessPool) -> None:
    """What a call raises reaches its caller as it is, and costs no worker."""
    await pool.warm_up()
    pids = pool.pids
    with pytest.raises(EngineFailed, match="it said no"):
        await pool.run(calls.fail, "it said no")
    with pytest.raises(ValueError, match="invalid literal"):
        await pool.run(int, "seven")
    assert await pool.run(os.getpid) in pids
    assert (pool.pids, pool.deaths) == (pids, 0)


async def test_what_cannot_be_pickled_fails_its_call_only(pool: ProcessPool) -> None:
    """An argument or a result that no pipe takes is an error of that call, and costs no worker."""
    await pool.warm_up()
    pids = pool.pids
    with pytest.raises(TypeError, match="pickle"):
        await pool.run(repr, threading.Lock())
    with pytest.raises(AttributeError, match="pickle"):
        await pool.run(calls.unpicklable)
    assert await pool.run(os.getpid) in pids
    assert (pool.pids, pool.deaths) == (pids, 0)


async def test_workers_import_no_http(pool: ProcessPool) -> None:
    """Neither the worker's code nor a running worker imports HTTP, the cache or the service."""
    names = repr(NOT_IN_WORKERS)
    code = (
        "import primesvc.compute.worker, sys\n"
        f"print([name for name in {names} if name in sys.modules])"
    )
    fresh = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=WAIT_S, check=True,
    )  # fmt: skip
    assert (fresh.stdout, fresh.stderr) == ("[]\n", "")
    assert await pool.run(calls.imported, "primesvc.compute.worker") == ["primesvc.compute.worker"]
    assert await pool.run(calls.imported, *NOT_IN_WORKERS) == []


# Deaths


async def test_a_call_that_kills_workers_fails_alone(pool: ProcessPool) -> None:
    """Of 51 calls in flight the one that kills its worker fails, 50 succeed, the pool goes on."""
    numbers = [*range(25), None, *range(25, 50)]
    results = await asyncio.gather(
        *(pool.run(calls.die) if n is None else pool.run(str, n) for n in numbers),
        return_exceptions=True,
    )
    (error,) = (result for result in results if isinstance(result, BaseException))
    assert isinstance(error, WorkerDied)
    assert error.deaths == SHARED_DEATHS + ALONE_DEATHS
    assert [result for result in results if result is not error] == [str(n) for n in range(50)]
    assert await pool.run(str, 51) == "51"
    assert pool.deaths == SHARED_DEATHS + ALONE_DEATHS


async def test_a_call_running_alone_holds_up_nobody(pool: ProcessPool, gate: Gate) -> None:
    """While a suspect runs alone the others run as ever."""
    diary = gate.started.parent / "diary"
    suspect = asyncio.create_task(pool.run(calls.die_at_first, SHARED_DEATHS, diary, *gate.args))
    await gate.holds(1)
    assert await asyncio.wait_for(pool.run(str, 1), WAIT_S) == "1"
    assert not suspect.done()
    gate.open()
    assert await suspect in gate.pids


async def test_a_suspect_that_was_innocent_succeeds(pool: ProcessPool, gate: Gate) -> None:
    """A call that was there at every death but the last allowed one has its result in the end."""
    gate.open()
    deaths = SHARED_DEATHS + ALONE_DEATHS - 1
    diary = gate.started.parent / "diary"
    assert await pool.run(calls.die_at_first, deaths, diary, *gate.args) in gate.pids
    assert pool.deaths == deaths


async def test_a_worker_killed_in_mid_call_costs_nothing(pool: ProcessPool, gate: Gate) -> None:
    """Calls under way when some worker is killed from outside have their results all the same."""
    running = [asyncio.create_task(pool.run(calls.hold, *gate.args)) for _ in range(2)]
    await gate.holds(2)
    victim = random.choice(pool.pids)  # noqa: S311 - any will do
    os.kill(victim, signal.SIGKILL)
    await gate.holds(4)
    gate.open()
    pids = set(await asyncio.gather(*running))
    assert len(pids) == 2
    assert victim not in pids
    assert pool.deaths == 1


async def test_a_worker_killed_while_it_sends_costs_nothing(pool: ProcessPool, gate: Gate) -> None:
    """One that is killed in the middle of a result of 100 MB is noticed, and the result comes."""
    await pool.warm_up()
    reader = psutil.Process()
    before = reader.io_counters().read_chars
    sending = asyncio.create_task(pool.run(calls.send, 10**8, gate.started))
    await gate.holds(1)
    # When the first bytes were read just now the last ones cannot have been sent.
    await eventually(lambda: reader.io_counters().read_chars > before + 2**20, pause_s=0)
    (victim,) = gate.pids
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(WAIT_S):
        assert await sending == bytes(10**8)
    assert pool.deaths == 1


@pytest.mark.slow
async def test_a_worker_stopped_while_it_sends_is_replaced(pool: ProcessPool, gate: Gate) -> None:
    """One that stops in the middle of a result is killed after the deadline of its call."""
    await pool.warm_up()
    reader = psutil.Process()
    before = reader.io_counters().read_chars
    sending = asyncio.create_task(pool.run(calls.send, 10**8, gate.started, deadline_s=1.0))
    await gate.holds(1)
    await eventually(lambda: reader.io_counters().read_chars > before + 2**20, pause_s=0)
    (victim,) = gate.pids
    os.kill(victim, signal.SIGSTOP)
    async with asyncio.timeout(WAIT_S):
        assert await sending == bytes(10**8)
    assert pool.deaths == 1


async def test_the_log_tells_of_every_death(
    pool: ProcessPool, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """One line a death, with what ended the worker."""
    for act in (calls.die, calls.leave):
        with pytest.raises(WorkerDied):
            await pool.run(act)
    gate.open()
    await pool.run(calls.hold, *gate.args)
    assert pool.deaths == 2 * (SHARED_DEATHS + ALONE_DEATHS)
    lines = [record.message.split(";")[0] for record in caplog.records]
    assert lines == [
        *["a worker process died: it was ended by SIGKILL"] * (SHARED_DEATHS + ALONE_DEATHS),
        *["a worker process died: it left with exit code 3"] * (SHARED_DEATHS + ALONE_DEATHS),
    ]


@pytest.mark.slow
async def test_a_call_that_runs_out_of_memory_fails_alone(pool: ProcessPool) -> None:
    """It is run again by fresh workers, a few times, and then fails with this reason."""
    numbers = asyncio.gather(*(pool.run(str, n) for n in range(50)))
    with pytest.raises(WorkerDied, match="ran out of memory"):
        await pool.run(calls.run_out_of_memory)
    assert await numbers == [str(n) for n in range(50)]
    assert pool.deaths == SHARED_DEATHS + ALONE_DEATHS


async def test_an_idle_worker_killed_costs_nothing(pool: ProcessPool) -> None:
    """Workers that are killed while they wait are replaced by the time of the next call."""
    await pool.warm_up()
    victims = pool.pids
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    assert await pool.run(os.getpid) not in victims


async def test_the_death_of_an_idle_worker_is_noticed(
    pool: ProcessPool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and logged although no call was lost, and the other one ends with it."""
    await pool.warm_up()
    pids = set(pool.pids)
    os.kill(pool.pids[0], signal.SIGKILL)
    await eventually(lambda: pool.deaths == 1)
    await gone(pids)
    await eventually(lambda: "it was ended by SIGKILL" in caplog.text)
    assert await pool.run(os.getpid) not in pids
    assert (pool.deaths, pool.lost_calls) == (1, 0)


async def test_a_cancelled_call_and_a_death_leave_nobody_waiting(
    pool: ProcessPool, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls queued behind cancelled ones are retried when a worker dies, and nothing is logged."""
    running = [asyncio.create_task(pool.run(calls.hold, *gate.args)) for _ in range(2)]
    await gate.holds(2)
    cancelled = [asyncio.create_task(pool.run(str, n)) for n in range(10)]
    queued = [asyncio.create_task(pool.run(str, n)) for n in range(10)]
    await asyncio.sleep(0)  # all of them are in the executor now
    for task in cancelled:
        task.cancel()
    await asyncio.wait(cancelled)
    os.kill(pool.pids[0], signal.SIGKILL)
    await gate.holds(4)
    gate.open()
    async with asyncio.timeout(WAIT_S):
        assert await asyncio.gather(*queued) == [str(n) for n in range(10)]
        await asyncio.gather(*running)
    gc.collect()  # asyncio tells of an error that nobody saw when its future is collected
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


async def test_a_call_that_hangs_fails_alone(pool: ProcessPool, gate: Gate) -> None:
    """A call beyond its deadline counts as a death, again and again; those beside it succeed."""
    hung = asyncio.create_task(pool.run(calls.hold, *gate.args, deadline_s=0.2))
    await gate.holds(1)
    async with asyncio.timeout(WAIT_S):
        numbers = await asyncio.gather(*(pool.run(str, n) for n in range(10)))
        with pytest.raises(WorkerDied):
            await hung
    assert numbers == [str(n) for n in range(10)]
    assert await pool.run(str, 11) == "11"
    await gone(gate.pids)


async def test_a_call_within_its_deadline_is_left_alone(pool: ProcessPool) -> None:
    """A deadline that is not reached changes nothing, and a TimeoutError of the call is its own."""
    assert await pool.run(str, 7, deadline_s=WAIT_S) == "7"
    with pytest.raises(TimeoutError, match="of its own"):
        await pool.run(calls.time_out, "of its own", deadline_s=WAIT_S)
    assert pool.deaths == 0


async def test_workers_leave_sigint_to_the_server(pool: ProcessPool, gate: Gate) -> None:
    """Ctrl-C reaches the workers too, in mid-call or idle, and they ignore it."""
    running = asyncio.create_task(pool.run(calls.hold, *gate.args))
    await gate.holds(1)
    pids = pool.pids
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    gate.open()
    assert {await running} == gate.pids
    assert await pool.run(calls.sigint_handler) == str(signal.SIG_IGN)
    assert (pool.pids, pool.deaths) == (pids, 0)


# Closing


async def test_close_ends_all_calls(pool: ProcessPool, gate: Gate) -> None:
    """Calls that run or wait when the pool closes raise ServiceClosed, and no worker is left."""
    running = [asyncio.create_task(pool.run(calls.hold, *gate.args)) for _ in range(20)]
    await gate.holds(2)
    async with asyncio.timeout(SOON_S):
        await pool.close()
        results = await asyncio.gather(*running, return_exceptions=True)
    assert [type(result) for result in results] == [ServiceClosed] * 20
    await gone(gate.pids)


async def test_close_with_calls_in_every_stage(pool: ProcessPool) -> None:
    """Short calls that wait when the pool closes have their result or raise ServiceClosed."""
    await pool.run(os.getpid)
    waiting = [asyncio.create_task(pool.run(str, n)) for n in range(20)]
    await asyncio.sleep(0)  # all of them are in the executor now
    async with asyncio.timeout(SOON_S):
        await pool.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} <= {ServiceClosed, str}


async def test_close_does_not_wait_for_stopped_workers(pool: ProcessPool, gate: Gate) -> None:
    """Workers that were stopped, with more in their pipe than it holds, do not hold up closing."""
    running = [asyncio.create_task(pool.run(calls.hold, *gate.args)) for _ in range(2)]
    await gate.holds(2)
    for pid in gate.pids:
        os.kill(pid, signal.SIGSTOP)
    running.append(asyncio.create_task(pool.run(len, bytes(10_000_000))))
    await asyncio.sleep(0)  # it is in the executor now
    async with asyncio.timeout(SOON_S):
        await pool.close()
        results = await asyncio.gather(*running, return_exceptions=True)
    assert [type(result) for result in results] == [ServiceClosed] * 3
    await gone(gate.pids)


async def test_close_ends_a_call_that_runs_alone(pool: ProcessPool, gate: Gate) -> None:
    """A suspect that runs in a process of its own is ended with the pool as any other call."""
    diary = gate.started.parent / "diary"
    suspect = asyncio.create_task(pool.run(calls.die_at_first, SHARED_DEATHS, diary, *gate.args))
    await gate.holds(1)
    async with asyncio.timeout(SOON_S):
        await pool.close()
        with pytest.raises(ServiceClosed):
            await suspect
    await gone(gate.pids)


async def test_close_while_it_starts(pool: ProcessPool) -> None:
    """A pool closed while its workers start ends the call that made them start, and them."""
    other = ProcessPool(1)
    await other.warm_up()  # starts the fork server, which stays
    await other.close()
    before = children()
    first = asyncio.create_task(pool.run(os.getpid))
    await asyncio.sleep(0)  # it starts the workers now
    async with asyncio.timeout(SOON_S):
        await pool.close()
        with pytest.raises(ServiceClosed):
            await first
    assert pool.pids == []
    await eventually(lambda: children() == before)


async def test_close_while_it_heals(pool: ProcessPool, gate: Gate) -> None:
    """A pool closed right after a death ends its calls and leaves no worker."""
    running = [asyncio.create_task(pool.run(calls.hold, *gate.args)) for _ in range(2)]
    await gate.holds(2)
    os.kill(pool.pids[0], signal.SIGKILL)
    await eventually(lambda: pool.deaths == 1)
    async with asyncio.timeout(SOON_S):
        await pool.close()
        results = await asyncio.gather(*running, return_exceptions=True)
    assert [type(result) for result in results] == [ServiceClosed] * 2
    await gone(gate.pids)


async def test_close_may_be_called_again(pool: ProcessPool) -> None:
    """Closing twice, at the same time too, does no more than closing once."""
    pid = await pool.run(os.getpid)
    async with asyncio.timeout(SOON_S):
        await asyncio.gather(pool.close(), pool.close())
        await pool.close()
    assert pool.pids == []
    await gone({pid})


async def test_a_pool_that_was_never_used_closes(pool: ProcessPool) -> None:
    """Closing a pool that ran nothing starts nothing."""
    await pool.close()
    assert pool.pids == []


async def test_no_call_runs_after_close(pool: ProcessPool) -> None:
    """A call after closing raises ServiceClosed, whether the pool was used before or not."""
    unused = ProcessPool(1)
    await unused.close()
    with pytest.raises(ServiceClosed):
        await unused.run(os.getpid)
    await pool.run(os.getpid)
    await pool.close()
    with pytest.raises(ServiceClosed):
        await pool.run(os.getpid)


async def test_repr_tells_the_state(pool: ProcessPool) -> None:
    """The representation tells processes and deaths, and that the pool is closed."""
    assert repr(pool) == "<ProcessPool 2 processes, 0 deaths>"
    await pool.close()
    assert repr(pool) == "<ProcessPool closed>"


# An embedder's executor


class LosingExecutor(Executor):
    """An executor that cancels what it was given, as Dask's does when its scheduler is gone."""

    def submit(self, *_: object, **__: object) -> "Future[object]":  # type: ignore[override]
        """A future that is cancelled already."""
        future: Future[object] = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


async def test_a_foreign_executor_stays_open() -> None:
    """Calls run in the embedder's executor, and closing leaves it usable."""
    with ThreadPoolExecutor(1) as executor:
        runner = ForeignExecutor(executor)
        assert await runner.run(threading.get_ident) != threading.get_ident()
        await runner.close()
        await runner.close()
        assert executor.submit(str, 7).result(timeout=WAIT_S) == "7"
        assert await runner.run(str, 8) == "8"


async def test_a_foreign_executors_error_passes_through() -> None:
    """What a call raises in an embedder's executor reaches its caller as it is."""
    with ThreadPoolExecutor(1) as executor, pytest.raises(EngineFailed, match="it said no"):
        await ForeignExecutor(executor).run(calls.fail, "it said no")


async def test_a_call_dropped_by_its_executor_is_no_cancel_of_ours() -> None:
    """A call that the executor cancelled raises ExecutorLost, so that nobody takes it for ours."""
    with pytest.raises(ExecutorLost):
        await asyncio.wait_for(ForeignExecutor(LosingExecutor()).run(str, 7), WAIT_S)


async def test_our_own_cancel_stays_a_cancel() -> None:
    """A task that is cancelled while its call waits in an executor is cancelled, not failed."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        runner = ForeignExecutor(executor)
        running = asyncio.create_task(runner.run(gate.wait, WAIT_S))
        waiting = asyncio.create_task(runner.run(str, 7))
        await asyncio.sleep(0)  # both are in the executor now
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        gate.set()
        assert await running
