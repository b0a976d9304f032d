"""The backend of worker processes: what it survives, and how it ends."""

import asyncio
import gc
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from pickle import PicklingError

import psutil
import pytest

from primesvc.compute import local
from primesvc.compute.local import MAX_DEATHS, LocalBackend
from primesvc.errors import EngineFailed, ServiceClosed, WorkerDied, WorkersUnavailable
from tests.compute import calls
from tests.compute.helpers import Gate, pids_of, run
from tests.helpers import WAIT_S, eventually

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and FIFOs"),
]

SOON_S = 12.0
"""What is bounded ends well within this, also on a busy machine."""

NOT_IN_WORKERS = ("aiohttp", "aiocache", "primesvc.service", "primesvc.web")


def children() -> set[int]:
    """Our child processes and theirs."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


async def gone(pids: set[int]) -> None:
    """Wait until none of the processes exists."""
    await eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


# Running


async def test_calls_run_in_processes_of_their_own(gate: Gate) -> None:
    """Calls at the same time run in different processes, none of them ours."""
    backend = LocalBackend(2)
    running = [asyncio.create_task(run(backend, calls.hold, *gate.args)) for _ in range(3)]
    await gate.holds(3)
    assert sorted(pids_of(backend)) == sorted(gate.pids)
    gate.open()
    pids = set(await asyncio.gather(*running))
    assert len(pids) == 3
    assert os.getpid() not in pids
    await backend.close()


async def test_no_process_starts_before_the_first_call(backend: LocalBackend) -> None:
    """A new backend has no processes; its first call starts them all."""
    assert pids_of(backend) == []
    assert await run(backend, os.getpid) in pids_of(backend)
    await eventually(lambda: len(pids_of(backend)) == 2)


async def test_warming_up_starts_all_processes(backend: LocalBackend) -> None:
    """After warming up all processes run, and calls find them."""
    await backend.start()
    pids = set(pids_of(backend))
    assert len(pids) == 2
    assert await run(backend, os.getpid) in pids


async def test_an_error_in_a_call_is_the_calls_own(backend: LocalBackend) -> None:
    """What a call raises reaches its caller as it is, and costs no worker."""
    await backend.start()
    pids = pids_of(backend)
    with pytest.raises(EngineFailed, match="it said no"):
        await run(backend, calls.fail, "it said no")
    with pytest.raises(ValueError, match="invalid literal"):
        await run(backend, int, "seven")
    assert await run(backend, os.getpid) in pids
    assert (pids_of(backend), backend.snapshot().deaths) == (pids, 0)


async def test_what_cannot_be_pickled_fails_its_call_only(backend: LocalBackend) -> None:
    """An argument or a result that no pipe takes is an error of that call, and costs no worker."""
    await backend.start()
    pids = pids_of(backend)
    with pytest.raises(TypeError, match="pickle"):
        await run(backend, repr, threading.Lock())
    # The words and, in 3.14, the class depend on the interpreter.
    with pytest.raises((AttributeError, PicklingError), match="local object"):
        await backend.run(calls.unpicklable)
    assert await run(backend, os.getpid) in pids
    assert (pids_of(backend), backend.snapshot().deaths) == (pids, 0)


async def test_workers_import_no_http(backend: LocalBackend) -> None:
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
    assert await run(backend, calls.imported, "primesvc.compute.worker") == [
        "primesvc.compute.worker"
    ]
    assert await run(backend, calls.imported, *NOT_IN_WORKERS) == []


# Deaths


async def test_a_call_that_kills_workers_fails_alone(backend: LocalBackend) -> None:
    """Of 51 calls in flight the one that kills its worker fails, 50 succeed, and later ones."""
    numbers = [*range(25), None, *range(25, 50)]
    results = await asyncio.gather(
        *(run(backend, calls.die) if n is None else run(backend, str, n) for n in numbers),
        return_exceptions=True,
    )
    (error,) = (result for result in results if isinstance(result, BaseException))
    assert isinstance(error, WorkerDied)
    assert error.deaths == MAX_DEATHS
    assert [result for result in results if result is not error] == [str(n) for n in range(50)]
    assert await run(backend, str, 51) == "51"
    assert backend.snapshot().deaths == MAX_DEATHS


async def test_a_call_may_lose_some_workers(backend: LocalBackend, gate: Gate) -> None:
    """A call that was there at every death but the last allowed one has its result in the end."""
    gate.open()
    diary = gate.started.parent / "diary"
    deaths = MAX_DEATHS - 1
    assert await run(backend, calls.die_at_first, deaths, diary, *gate.args) in gate.pids
    snapshot = backend.snapshot()
    assert (snapshot.deaths, snapshot.lost_calls) == (deaths, deaths)


async def test_a_death_ends_one_call_only(backend: LocalBackend, gate: Gate) -> None:
    """A worker killed in the midst of its call is replaced; its neighbour does not notice."""
    running = [asyncio.create_task(run(backend, calls.hold, *gate.args)) for _ in range(2)]
    await gate.holds(2)
    victim, neighbour = random.sample(pids_of(backend), 2)
    os.kill(victim, signal.SIGKILL)
    await gate.holds(3)
    gate.open()
    pids = set(await asyncio.gather(*running))
    assert neighbour in pids
    assert victim not in pids
    assert backend.snapshot().deaths == 1
    assert neighbour in pids_of(backend)


async def test_a_cancelled_call_is_ended(
    backend: LocalBackend, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """Its worker is killed and replaced, which is no death; the neighbour does not notice."""
    running = [asyncio.create_task(run(backend, calls.hold, *gate.args)) for _ in range(2)]
    await gate.holds(2)
    before = set(pids_of(backend))
    running[0].cancel()
    async with asyncio.timeout(WAIT_S):
        await asyncio.wait([running[0]])
        await eventually(lambda: bool(before - set(pids_of(backend))))
        (ended,) = before - set(pids_of(backend))
        await eventually(lambda: len(pids_of(backend)) == 2)
        gate.open()
        assert await running[1] in before - {ended}
        assert await run(backend, str, 7) == "7"
    assert running[0].cancelled()
    assert (backend.snapshot().deaths, caplog.records) == (0, [])


async def test_a_worker_killed_while_it_sends_costs_nothing(
    backend: LocalBackend, gate: Gate
) -> None:
    """One that is killed in the middle of a result of 100 MB is noticed, and the result comes."""
    await backend.start()
    reader = psutil.Process()
    before = reader.io_counters().read_chars
    sending = asyncio.create_task(run(backend, calls.send, 10**8, gate.started))
    await gate.holds(1)
    # When the first bytes were read just now the last ones cannot have been sent.
    await eventually(lambda: reader.io_counters().read_chars > before + 2**20, pause_s=0)
    (victim,) = gate.pids
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(WAIT_S):
        assert await sending == bytes(10**8)
    assert backend.snapshot().deaths == 1


@pytest.mark.slow
async def test_a_worker_stopped_while_it_sends_is_replaced(
    backend: LocalBackend, gate: Gate
) -> None:
    """One that stops in the middle of a result is killed after the deadline of its call."""
    await backend.start()
    reader = psutil.Process()
    before = reader.io_counters().read_chars
    sending = asyncio.create_task(run(backend, calls.send, 10**8, gate.started, deadline_s=3.0))
    await gate.holds(1)
    await eventually(lambda: reader.io_counters().read_chars > before + 2**20, pause_s=0)
    (victim,) = gate.pids
    os.kill(victim, signal.SIGSTOP)
    async with asyncio.timeout(WAIT_S):
        assert await sending == bytes(10**8)
    assert backend.snapshot().deaths == 1


async def test_the_log_tells_of_every_death(
    backend: LocalBackend, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """One line a death, with what ended the worker."""
    for act in (calls.die, calls.leave):
        with pytest.raises(WorkerDied):
            await run(backend, act)
    gate.open()
    await run(backend, calls.hold, *gate.args)
    assert backend.snapshot().deaths == 2 * (MAX_DEATHS)
    lines = [record.message.split(";")[0] for record in caplog.records]
    assert lines == [
        *["a worker process died: it was ended by SIGKILL"] * (MAX_DEATHS),
        *["a worker process died: it left with exit code 3"] * (MAX_DEATHS),
    ]


@pytest.mark.slow
async def test_a_call_that_runs_out_of_memory_fails_alone(backend: LocalBackend) -> None:
    """It is run again by fresh workers, a few times, and then fails with this reason."""
    numbers = asyncio.gather(*(run(backend, str, n) for n in range(50)))
    with pytest.raises(WorkerDied, match="ran out of memory"):
        await run(backend, calls.run_out_of_memory)
    assert await numbers == [str(n) for n in range(50)]
    # The last death is counted when its worker is replaced, which may be after its call failed.
    await eventually(lambda: backend.snapshot().deaths == MAX_DEATHS)


async def test_an_idle_worker_killed_costs_nothing(backend: LocalBackend) -> None:
    """Workers that are killed while they wait are replaced by the time of the next call."""
    await backend.start()
    victims = pids_of(backend)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    assert await run(backend, os.getpid) not in victims


async def test_the_death_of_an_idle_worker_is_noticed(
    backend: LocalBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and logged although no call was lost, and replaced; the other one stays."""
    await backend.start()
    victim, other = pids_of(backend)
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: len({*pids_of(backend)} - {victim}) == 2)
    assert other in pids_of(backend)
    assert "it was ended by SIGKILL" in caplog.text
    snapshot = backend.snapshot()
    assert (snapshot.deaths, snapshot.lost_calls) == (1, 0)


async def test_a_cancelled_call_and_a_death_leave_nobody_waiting(
    backend: LocalBackend, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls queued behind cancelled ones are retried when a worker dies, and nothing is logged."""
    running = [asyncio.create_task(run(backend, calls.hold, *gate.args)) for _ in range(2)]
    await gate.holds(2)
    cancelled = [asyncio.create_task(run(backend, str, n)) for n in range(10)]
    queued = [asyncio.create_task(run(backend, str, n)) for n in range(10)]
    await asyncio.sleep(0)  # all of them are in the executor now
    for task in cancelled:
        task.cancel()
    await asyncio.wait(cancelled)
    os.kill(pids_of(backend)[0], signal.SIGKILL)
    await gate.holds(3)
    gate.open()
    async with asyncio.timeout(WAIT_S):
        assert await asyncio.gather(*queued) == [str(n) for n in range(10)]
        await asyncio.gather(*running)
    gc.collect()  # asyncio tells of an error that nobody saw when its future is collected
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


async def test_a_call_that_hangs_fails_alone(backend: LocalBackend, gate: Gate) -> None:
    """A call beyond its deadline counts as a death, again and again; those beside it succeed."""
    hung = asyncio.create_task(run(backend, calls.hold, *gate.args, deadline_s=0.2))
    await gate.holds(1)
    async with asyncio.timeout(WAIT_S):
        numbers = await asyncio.gather(*(run(backend, str, n) for n in range(10)))
        with pytest.raises(WorkerDied):
            await hung
    assert numbers == [str(n) for n in range(10)]
    assert await run(backend, str, 11) == "11"
    await gone(gate.pids)


async def test_a_call_within_its_deadline_is_left_alone(backend: LocalBackend) -> None:
    """A deadline that is not reached changes nothing, and a TimeoutError of the call is its own."""
    assert await run(backend, str, 7, deadline_s=WAIT_S) == "7"
    with pytest.raises(TimeoutError, match="of its own"):
        await run(backend, calls.time_out, "of its own", deadline_s=WAIT_S)
    assert backend.snapshot().deaths == 0


async def test_workers_leave_sigint_to_the_server(backend: LocalBackend, gate: Gate) -> None:
    """Ctrl-C reaches the workers too, in mid-call or idle, and they ignore it."""
    await backend.start()
    running = asyncio.create_task(run(backend, calls.hold, *gate.args))
    await gate.holds(1)
    pids = pids_of(backend)
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    gate.open()
    assert {await running} == gate.pids
    assert await run(backend, calls.sigint_handler) == str(signal.SIG_IGN)
    assert (pids_of(backend), backend.snapshot().deaths) == (pids, 0)


# Closing


async def test_close_ends_all_calls(backend: LocalBackend, gate: Gate) -> None:
    """Calls that run or wait when the backend closes raise ServiceClosed, and no worker is left."""
    running = [asyncio.create_task(run(backend, calls.hold, *gate.args)) for _ in range(20)]
    await gate.holds(2)
    async with asyncio.timeout(SOON_S):
        await backend.close()
        results = await asyncio.gather(*running, return_exceptions=True)
    assert [type(result) for result in results] == [ServiceClosed] * 20
    await gone(gate.pids)


async def test_close_with_calls_in_every_stage(backend: LocalBackend) -> None:
    """Short calls that wait when the backend closes have their result or raise ServiceClosed."""
    await run(backend, os.getpid)
    waiting = [asyncio.create_task(run(backend, str, n)) for n in range(20)]
    await asyncio.sleep(0)  # all of them are in the executor now
    async with asyncio.timeout(SOON_S):
        await backend.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} <= {ServiceClosed, str}


async def test_close_does_not_wait_for_stopped_workers(backend: LocalBackend, gate: Gate) -> None:
    """Workers that were stopped, with more in their pipe than it holds, do not hold up closing."""
    running = [asyncio.create_task(run(backend, calls.hold, *gate.args)) for _ in range(2)]
    await gate.holds(2)
    for pid in gate.pids:
        os.kill(pid, signal.SIGSTOP)
    running.append(asyncio.create_task(run(backend, len, bytes(10_000_000))))
    await asyncio.sleep(0)  # it is in the executor now
    async with asyncio.timeout(SOON_S):
        await backend.close()
        results = await asyncio.gather(*running, return_exceptions=True)
    assert [type(result) for result in results] == [ServiceClosed] * 3
    await gone(gate.pids)


async def test_close_while_it_starts(backend: LocalBackend) -> None:
    """A backend closed while its workers start ends the call that made them start, and them."""
    other = LocalBackend(1)
    await other.start()  # starts the fork server, which stays
    await other.close()
    before = children()
    first = asyncio.create_task(run(backend, os.getpid))
    await asyncio.sleep(0)  # it starts the workers now
    async with asyncio.timeout(SOON_S):
        await backend.close()
        with pytest.raises(ServiceClosed):
            await first
    assert pids_of(backend) == []
    await eventually(lambda: children() == before)


async def test_close_while_it_heals(backend: LocalBackend, gate: Gate) -> None:
    """A backend closed right after a death ends its calls and leaves no worker."""
    running = [asyncio.create_task(run(backend, calls.hold, *gate.args)) for _ in range(2)]
    await gate.holds(2)
    os.kill(pids_of(backend)[0], signal.SIGKILL)
    await eventually(lambda: backend.snapshot().deaths == 1)
    async with asyncio.timeout(SOON_S):
        await backend.close()
        results = await asyncio.gather(*running, return_exceptions=True)
    assert [type(result) for result in results] == [ServiceClosed] * 2
    await gone(gate.pids)


async def test_close_may_be_called_again(backend: LocalBackend) -> None:
    """Closing twice, at the same time too, does no more than closing once."""
    pid = await run(backend, os.getpid)
    async with asyncio.timeout(SOON_S):
        await asyncio.gather(backend.close(), backend.close())
        await backend.close()
    assert pids_of(backend) == []
    await gone({pid})


async def test_a_backend_that_was_never_used_closes(backend: LocalBackend) -> None:
    """Closing a backend that ran nothing starts nothing."""
    await backend.close()
    assert pids_of(backend) == []


async def test_no_call_runs_after_close(backend: LocalBackend) -> None:
    """A call after closing raises ServiceClosed, whether the backend was used before or not."""
    unused = LocalBackend(1)
    await unused.close()
    with pytest.raises(ServiceClosed):
        await run(unused, os.getpid)
    await run(backend, os.getpid)
    await backend.close()
    with pytest.raises(ServiceClosed):
        await run(backend, os.getpid)


async def test_repr_tells_the_state(backend: LocalBackend) -> None:
    """The representation tells processes and deaths, and that the backend is closed."""
    await backend.start()
    assert repr(backend) == "<LocalBackend 1 + 1 workers, 2 up, 0 deaths>"
    await backend.close()
    assert repr(backend) == "<LocalBackend 1 + 1 workers, closed>"


# What cannot start


async def test_a_stopped_fork_server_is_replaced(
    backend: LocalBackend, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that it does not start in time are started by another one, and calls go on."""
    monkeypatch.setattr(local, "START_TIMEOUT_S", 0.5)
    await backend.start()
    (fork_server,) = {psutil.Process(pid).ppid() for pid in pids_of(backend)}
    os.kill(fork_server, signal.SIGSTOP)
    for pid in pids_of(backend):
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(WAIT_S):
        assert await run(backend, str, 7) == "7"
    await gone({fork_server})


async def test_close_while_the_fork_server_is_stopped(backend: LocalBackend, gate: Gate) -> None:
    """Closing is bounded whatever state the children are in, and leaves none of them."""
    running = [asyncio.create_task(run(backend, calls.hold, *gate.args)) for _ in range(2)]
    await gate.holds(2)
    (fork_server,) = {psutil.Process(pid).ppid() for pid in gate.pids}
    os.kill(fork_server, signal.SIGSTOP)
    os.kill(min(gate.pids), signal.SIGKILL)
    await eventually(lambda: backend.snapshot().lost_calls == 1)
    async with asyncio.timeout(SOON_S):
        await backend.close()
        results = await asyncio.gather(*running, return_exceptions=True)
    assert [type(result) for result in results] == [ServiceClosed] * 2
    await gone(gate.pids)
    assert psutil.Process(fork_server).status() == psutil.STATUS_ZOMBIE  # until the next start


async def test_calls_are_told_why_no_worker_starts(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are not kept waiting; the log says it once; it works again when the cause is gone."""
    monkeypatch.setattr(local, "START_PAUSE_S", 0.001)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
    try:
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(WorkersUnavailable, match="cannot be started"):
                await run(backend, str, 7)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        monkeypatch.undo()
    assert backend.snapshot().problem
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Too many open files" in caplog.text
    assert await run(backend, str, 7) == "7"
    assert backend.snapshot().problem is None
