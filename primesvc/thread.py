"""A thread for calls that may block: whoever waits can give up, and so can the whole process."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThread(Executor):
    """Runs calls one after another. The interpreter's end does not wait for one that hangs.

    That of `ThreadPoolExecutor` does. Raises `RuntimeError` if no thread can be started.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Run the function after the calls submitted before."""
        future: Future[T] = Future()
        self._calls.put((future, lambda: function(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """End after the calls that were submitted; never waits, and cancels nothing."""
        self._calls.put(None)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            del item, future, call  # what they hold is not to live until the next one


async def in_thread(name: str, function: Callable[..., T], *args: Any) -> T:
    """What a function returns that takes a while, run in a thread of its own.

    Where no thread can be started it runs here: late is better than never. Not
    `asyncio.to_thread`: to end the loop's threads, the loop has to start one more.
    """
    try:
        thread = DaemonThread(name)
    except RuntimeError:
        return function(*args)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, function, *args)
    finally:
        thread.shutdown()
