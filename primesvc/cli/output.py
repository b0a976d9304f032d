"""Where primes are written to: standard output, or a file that appears once it is complete."""

import asyncio
import contextlib
import errno
import os
import queue
import stat
import sys
import threading
from asyncio import wrap_future
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from primesvc.cli.progress import on_terminal

STDOUT: Final = 1

SETTLE_S: Final = 1.0
"""Seconds that the last write may take after an error, before its file is closed."""


class CannotWrite(Exception):
    """The output cannot be written; `reason` is the system's."""

    def __init__(self, where: object, reason: OSError) -> None:
        super().__init__(f"cannot write {where}: {reason.strerror or reason}")


@contextlib.contextmanager
def explained(where: object) -> Iterator[None]:
    """Turn the errors of the system inside into `CannotWrite`; a reader that has gone is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CannotWrite(where, error) from error


class Output:
    """Writes bytes to a file, or for None to standard output; enter it with `async with`.

    A file is written under another name beside it, `FILE.<pid>.part`, and
    gets its own when all is there; after an error nothing is left of it, and
    what was there before stays. What is no regular file, such as `/dev/null`,
    is written to as it is. Raises `CannotWrite`, and `BrokenPipeError` if it
    is a pipe whose reader has gone.
    """

    def __init__(self, path: Path | None) -> None:
        self._where = "standard output" if path is None else path
        # Of a link, the file that it names is the one to replace.
        self._path = None if path is None else path.resolve()
        self._part: Path | None = None
        self._descriptor = STDOUT
        self._writer: _Writer

    async def __aenter__(self) -> Self:
        with explained(self._where):
            self._descriptor = self._open()
        self._writer = _Writer(self._descriptor)
        return self

    def _open(self) -> int:
        if self._path is None:
            if sys.stdout is None:
                # Closed by who started this: the number may mean something else by now.
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return STDOUT
        if self._path.exists() and not self._path.is_file():
            return os.open(self._path, os.O_WRONLY)
        self._part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        return os.open(self._part, flags, 0o666)

    async def write(self, data: bytes) -> None:
        """Write the bytes, while the next ones are made: errors may show with the next call."""
        with explained(self._where):
            await self._writer.write(data)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with explained(self._where):
            try:
                try:
                    if error is None:
                        await self._writer.flush()
                    elif self._path is not None:
                        await self._writer.settle()
                finally:
                    self._close()
                if error is None and self._part is not None and self._path is not None:
                    self._part.replace(self._path)
                    self._part = None
            finally:
                if self._part is not None:
                    self._part.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._path is not None:
            os.close(self._descriptor)

    @property
    def terminal(self) -> bool:
        """Whether somebody reads it on a screen."""
        return os.isatty(self._descriptor)

    @property
    def pipe(self) -> bool:
        """Whether another program reads it."""
        mode = os.fstat(self._descriptor).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class _Writer:
    """Writes to a descriptor in a thread, one piece while the next is made.

    A pipe that nobody empties holds up the thread, and neither the event loop
    nor the end of the program: executors wait for their threads, this does not.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: queue.SimpleQueue[tuple[bytes, Future[None]]] = queue.SimpleQueue()
        self._last: Future[None] | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            data, done = self._queue.get()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._descriptor, view) :]
            except OSError as error:
                done.set_exception(error)
            else:
                done.set_result(None)

    async def write(self, data: bytes) -> None:
        await self.flush()
        self._last = Future()
        self._queue.put((data, self._last))

    async def flush(self) -> None:
        """Wait until all is written. Raises `OSError`."""
        if self._last is not None:
            await wrap_future(self._last)

    async def settle(self) -> None:
        """Wait until nothing is being written any more, well or not, but not for long."""
        if self._last is not None and not self._last.done():
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    await wrap_future(self._last)


def progress_fits(output: Output) -> bool:
    """Whether a bar on standard error disturbs neither the output nor who reads it."""
    return on_terminal() and not output.terminal and not output.pipe
