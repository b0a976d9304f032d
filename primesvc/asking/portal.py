"""Runs coroutines for threads that have no event loop, and cancels those nobody waits for."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import CancelledError, Future, wait
from contextlib import ExitStack, suppress
from typing import Any, Final, Generic, TypeVar

from anyio.from_thread import start_blocking_portal

from primesvc.errors import ServiceClosed

T = TypeVar("T")

LOOK_S: Final = 0.1 if sys.platform == "win32" else None
"""Seconds that a thread waits at a time: on Windows, Ctrl-C does not end a wait."""

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
        future: Future[T] | None = None
        try:
            # What began when the loop ends would never be answered.
            with self._lock:
                if not self.closed:
                    self._calls.add(call)
                    future = self._portal.start_task_soon(call.run)
            if future is not None:
                _wait(future)
        except BaseException:  # of this thread: those of the call are raised below
            self._cancel(call)
            raise
        finally:
            self._calls.discard(call)
        if future is None:
            raise ServiceClosed("it is closed: open it again with `connect`")
        try:
            return future.result()
        except CancelledError:
            raise ServiceClosed("it was closed before the answer was there") from None

    def _cancel(self, call: "_Call[Any]") -> None:
        """Cancel a call, and wait until it has ended; it may be about to begin."""
        with self._lock:
            if call not in self._calls:
                return
            if not self.closed:
                self._portal.start_task_soon(call.cancel)
        call.ended.wait(END_S)

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
            ending = self._portal.start_task_soon(self._end, last)
            try:
                _wait(ending)
            except BaseException:  # interrupted once, it is closed all the same
                wait([ending], END_S)
                raise
            ending.result()

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
    """A call that can be cancelled, also before it has begun."""

    # Not through its future, which would be done at once: the call is to be waited for. Nor by
    # AnyIO's scopes, which cancel again whatever the call does to end well.

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._cancelled = False
        self.task: asyncio.Task[Any] | None = None
        """What runs it, once it has begun."""
        self.ended = threading.Event()

    async def run(self) -> T:
        """Run it. In the event loop, as is `cancel`."""
        self.task = asyncio.current_task()
        try:
            if self._cancelled:
                raise asyncio.CancelledError
            return await self._function()
        finally:
            self.ended.set()

    def cancel(self) -> None:
        """Cancel it, once: how it ends is not to be cancelled too."""
        if self.task is None:
            self.ended.set()
        elif not self._cancelled:
            self.task.cancel()
        self._cancelled = True


def _wait(future: "Future[Any]") -> None:
    while not wait([future], LOOK_S).done:
        pass
