"""Runs coroutines for threads that have no event loop, and cancels those nobody waits for."""

import asyncio
import math
import os
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

from anyio.from_thread import start_blocking_portal

from primesvc.errors import ServiceClosed

T = TypeVar("T")

LOOK_S: Final = 0.1
"""Seconds that a thread waits at a time: Ctrl-C does not end a wait on Windows, nor anywhere if it
comes just as the wait begins."""

END_S: Final = 10.0
"""Seconds that a thread waits at the most for the end of a call that it cancelled: twice of what
the service has to cancel the job."""


class Portal:
    """An event loop in a thread of its own, which runs what other threads ask for.

    Any number of threads may call at a time; each waits for its own call. A thread that
    is interrupted meanwhile, as the main thread is by Ctrl-C, cancels its call.

    Whatever is called after `close`, or when it closes, raises `ServiceClosed`; what is called
    from a callback in the portal's own thread, `RuntimeError`.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._calls: set[_Call[Any]] = set()
        self._generators: set[AsyncGenerator[Any, None]] = set()
        self._closed = False
        # A process that was forked from this one has no such thread.
        self._process = os.getpid()
        self._exit = ExitStack()
        self._portal = self._exit.enter_context(start_blocking_portal())
        self._thread = self._portal.call(threading.get_ident)

    @property
    def closed(self) -> bool:
        """Whether nothing can be called any more."""
        return self._closed or os.getpid() != self._process

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """What the coroutine function returns or raises, run in the portal's event loop."""
        self._check_thread()
        call = _Call(function)
        try:
            # What began when the loop ends would never be answered.
            with self._lock:
                if not self.closed:
                    self._calls.add(call)
                    self._portal.start_task_soon(call.run)
            if call in self._calls:
                call.wait()
        except BaseException:  # of this thread: those of the call are raised below
            self._cancel(call)
            raise
        finally:
            self._calls.discard(call)
        return call.outcome()

    def _cancel(self, call: "_Call[Any]") -> None:
        """Cancel a call, and wait until it has ended; it may be about to begin."""
        with self._lock:
            if call not in self._calls:
                return
            if not self.closed:
                self._portal.start_task_soon(call.cancel)
        call.wait(END_S)

    def iterate(self, make: Callable[[], AsyncGenerator[T, None]]) -> Generator[T, None, None]:
        """What an asynchronous generator yields, one by one; closed with it."""
        generator = make()
        self._generators.add(generator)
        end = object()

        async def step() -> Any:
            return await anext(generator, end)

        try:
            while (item := self.call(step)) is not end:
                yield item
        finally:
            # Closed with the portal, or collected as garbage in its thread: the loop does it then.
            with suppress(RuntimeError):
                self.call(generator.aclose)
            self._generators.discard(generator)

    def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """End every call, call `last`, and stop; nothing if that was done. Bounded in time."""
        self._check_thread()
        with self._lock:
            if self.closed:
                return
            self._closed = True
        with self._exit:
            ending = _Call(partial(self._end, last))
            self._portal.start_task_soon(ending.run)
            try:
                ending.wait()
            except BaseException:  # interrupted once, it is closed all the same
                ending.wait(END_S)
                raise
            ending.outcome()

    def _check_thread(self) -> None:
        if threading.get_ident() == self._thread:
            raise RuntimeError("a callback cannot wait for what waits for it: use another thread")

    async def _end(self, last: Callable[[], Awaitable[None]]) -> None:
        try:
            for call in list(self._calls):
                call.cancel()
            if tasks := [call.task for call in list(self._calls) if call.task is not None]:
                await asyncio.wait(tasks)
            for generator in list(self._generators):
                await generator.aclose()
        finally:
            await last()


class _Call(Generic[T]):
    """A call that can be waited for, and cancelled, also before it has begun."""

    # Not through AnyIO's future, which would be done as soon as it is cancelled: how the call ends
    # is to be waited for. Nor by its scopes, which cancel again whatever the call does to end well.

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._cancelled = False
        self._result: T | None = None
        self._error: BaseException | None = asyncio.CancelledError()
        # Held until it has ended: a bare lock, for an interrupt in the middle of the bookkeeping
        # of a future or an event could leave that locked.
        self._running = threading.Lock()
        self._running.acquire()
        self._ended = False
        self.task: asyncio.Task[Any] | None = None
        """What runs it, once it has begun."""

    async def run(self) -> None:
        """Run it. In the event loop, as is `cancel`."""
        if self._cancelled:
            return
        self.task = asyncio.current_task()
        try:
            self._result = await self._function()
            self._error = None
        except BaseException as error:
            self._error = error
        finally:
            self._end()

    def cancel(self) -> None:
        """Cancel it, once: how it ends is not to be cancelled too."""
        if self._cancelled:
            return
        self._cancelled = True
        if self.task is None:
            self._end()
        else:
            self.task.cancel()

    def _end(self) -> None:
        self._ended = True
        self._running.release()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended, but not longer than that. For one thread."""
        until_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not self._ended and time.monotonic() < until_s:
            self._running.acquire(timeout=LOOK_S)

    def outcome(self) -> T:
        """What it returned, or raised; `ServiceClosed` if it was not let in, or cancelled."""
        if isinstance(self._error, asyncio.CancelledError):
            begun = self.task is not None
            raise ServiceClosed(
                "it was closed before the answer was there"
                if begun
                else "it is closed: open it again with `connect`"
            )
        if self._error is not None:
            raise self._error
        return cast("T", self._result)
