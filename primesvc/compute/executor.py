"""The backend of an embedder: any `concurrent.futures.Executor`, used as it is."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

from primesvc.compute.backend import BackendSnapshot, CallResult
from primesvc.errors import ExecutorLost, ServiceClosed


class ExecutorBackend:
    """`slots` calls at a time, and a short one, run in the executor, which stays open.

    Threads, a pool of processes, Dask's `Client.get_executor(pure=False)`: any will do.
    What it has begun cannot be ended: that goes on for nobody.
    """

    spare_slots = 1

    def __init__(self, executor: Executor, slots: int) -> None:
        self.slots = slots
        self._executor = executor
        self._calls: set[asyncio.Future[Any]] = set()
        self._lost_calls = 0
        self._closed = False

    async def start(self) -> None:
        """Nothing to do: the executor belongs to who made it."""

    async def run(
        self, function: Callable[..., Any], *args: Any, deadline_s: float | None = None
    ) -> CallResult:
        """The result of `function(*args, None)`; raises what it raises.

        Raises `ExecutorLost` if the executor drops the call or does not answer within
        `deadline_s` seconds, and `ServiceClosed`.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(self._executor, partial(function, *args, None))
        self._calls.add(call)
        try:
            done, _ = await asyncio.wait([call], timeout=deadline_s)
        finally:
            self._calls.discard(call)
            call.cancel()  # nothing if it is done
        if call.cancelled():
            self._check_open()
        # Dask cancels its futures when the scheduler is gone: that is no cancel of ours.
        if not done or call.cancelled():
            self._lost_calls += 1
            raise ExecutorLost(None if done else deadline_s)
        return CallResult(call.result())

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceClosed

    async def close(self) -> None:
        """End the calls that are waited for; the executor belongs to who made it."""
        self._closed = True
        for call in self._calls:
            call.cancel()

    def snapshot(self) -> BackendSnapshot:
        """What there is to tell: the executor has its own ways to be looked at."""
        return BackendSnapshot(lost_calls=self._lost_calls)

    def __repr__(self) -> str:
        return f"<ExecutorBackend {self._executor!r}, {self.slots} slots>"
