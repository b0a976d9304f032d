"""The backend of an embedder: any executor, used as it is."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from primesvc.compute.executor import ExecutorBackend
from primesvc.compute.worker import Payload
from primesvc.errors import EngineFailed, ExecutorLost, ServiceClosed
from tests.compute import calls
from tests.helpers import WAIT_S

pytestmark = pytest.mark.process


def say(text: str, slot: object) -> Payload:
    """A call that returns the text."""
    assert slot is None
    return Payload(len(text), text.encode())


def say_where(slot: object) -> Payload:
    """A call that returns the thread that it runs on."""
    return say(str(threading.get_ident()), slot)


def wait_for(gate: threading.Event, slot: object) -> Payload:
    """A call that ends when the gate is opened."""
    return say(str(gate.wait(WAIT_S)), slot)


class LosingExecutor(Executor):
    """An executor that cancels what it was given, as Dask's does when its scheduler is gone."""

    def submit(self, *_: object, **__: object) -> "Future[object]":  # type: ignore[override]
        """A future that is cancelled already."""
        future: Future[object] = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


async def said(backend: ExecutorBackend, function: Callable[..., Payload], *args: object) -> str:
    """What a call returns, as text."""
    return bytes((await backend.run(function, *args)).view).decode()


async def test_an_executor_stays_open() -> None:
    """Calls run in the embedder's executor, and closing leaves it usable."""
    with ThreadPoolExecutor(1) as executor:
        backend = ExecutorBackend(executor, slots=1)
        await backend.start()
        assert await said(backend, say_where) != str(threading.get_ident())
        await backend.close()
        await backend.close()
        assert executor.submit(str, 7).result(timeout=WAIT_S) == "7"
        with pytest.raises(ServiceClosed):
            await backend.run(say, "7")


async def test_an_error_passes_through() -> None:
    """What a call raises in an embedder's executor reaches its caller as it is."""
    with ThreadPoolExecutor(1) as executor, pytest.raises(EngineFailed, match="it said no"):
        await ExecutorBackend(executor, slots=1).run(calls.call, calls.fail, ("it said no",))


async def test_a_call_dropped_by_its_executor_is_no_cancel_of_ours() -> None:
    """A call that the executor cancelled raises ExecutorLost, so that nobody takes it for ours."""
    backend = ExecutorBackend(LosingExecutor(), slots=1)
    with pytest.raises(ExecutorLost, match="dropped"):
        await asyncio.wait_for(backend.run(say, "7"), WAIT_S)
    assert backend.snapshot().lost_calls == 1


async def test_a_call_that_does_not_answer_is_given_up() -> None:
    """After its deadline a call raises ExecutorLost, whatever becomes of it in the executor."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        backend = ExecutorBackend(executor, slots=1)
        with pytest.raises(ExecutorLost, match=r"did not answer in 0\.05 s"):
            await backend.run(wait_for, gate, deadline_s=0.05)
        gate.set()
        assert await said(backend, say, "8") == "8"
        assert backend.snapshot().lost_calls == 1


async def test_our_own_cancel_stays_a_cancel() -> None:
    """A task that is cancelled while its call waits in an executor is cancelled, not failed."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        backend = ExecutorBackend(executor, slots=1)
        running = asyncio.create_task(said(backend, wait_for, gate))
        waiting = asyncio.create_task(said(backend, say, "7"))
        await asyncio.sleep(0)  # both are in the executor now
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        gate.set()
        assert await running == "True"


async def test_closing_waits_for_no_thread() -> None:
    """Calls that run or wait when the backend closes raise ServiceClosed, at once."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        backend = ExecutorBackend(executor, slots=1)
        calls_ = [asyncio.create_task(said(backend, wait_for, gate)) for _ in range(3)]
        await asyncio.sleep(0)  # they are in the executor now
        async with asyncio.timeout(WAIT_S):
            await backend.close()
            results = await asyncio.gather(*calls_, return_exceptions=True)
        assert [type(result) for result in results] == [ServiceClosed] * 3
        gate.set()
