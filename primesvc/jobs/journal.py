"""The journal: a file from which a service that was killed takes up its jobs again.

SQLite in WAL mode, written by one thread of its own, in batches, so that
neither requests nor the event loop wait for the disk. What it holds:

- every job the table knows, with its state, and once it succeeded what it
  found: it is there again at once after a restart;
- the summaries of pieces sieved while a job is unfinished: such a job goes on
  from them, and loses at most the chunks that were under way and what was
  noted since the last write began: `FLUSH_S` seconds, or as long as that write takes.

Primes are never written: they are sieved again where they are read.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from primesvc.errors import JournalBehind, JournalUnusable
from primesvc.jobs.job import Job
from primesvc.jobs.journal_file import JournalFile
from primesvc.jobs.notes import MOST_PIECES, Notes
from primesvc.jobs.records import JournaledJob, Piece, job_row
from primesvc.repeated import Trouble
from primesvc.thread import DaemonThread

log = logging.getLogger(__name__)

T = TypeVar("T")

FLUSH_S: Final = 0.02
"""Seconds from the beginning of one write to that of the next at the least. Fifty batches a
second cost a job of 10^11 1 % of its processor time, and ten the same within what can be
measured."""

RETRY_S: Final = 1.0
"""Seconds from a write that failed to the next try."""

HANG_S: Final = 5.0
"""Seconds after which a write counts as one that hangs, a stop waits no longer for it, and
neither does a submission that waits to be written."""

OPEN_S: Final = 10.0
"""Seconds that a look at the file may take: a file system that hangs would take for ever."""

_HANGS: Final = "its disk hangs"


@dataclass(frozen=True, slots=True)
class JournalSnapshot:
    """What there is to tell of a journal at one moment."""

    behind_s: float
    """Age of the oldest note that is not written yet; 0 if there is none."""
    waiting: int
    """How many jobs and pieces have news that is not written yet."""
    problem: str | None
    """Why it cannot be written; None if it can."""


class Journal:
    """A journal in a file, made if it is not there. `open` it, and `close` it in the end.

    What cannot be written is kept: of each job its newest state, so no more than there
    are jobs. It is tried again every `RETRY_S` seconds, and when the journal is closed.
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self.path = path
        self._file = JournalFile(path, sync=sync)
        self._thread = DaemonThread("journal")
        self._found: tuple[list[JournaledJob], list[Piece]] = [], []
        # The ids that the file has: what it never had need not be deleted from it.
        self._in_file: set[str] = set()
        self._waiting = Notes()
        self._being_written = Notes()
        self._problem: str | None = None
        self._trouble = Trouble(log, f"the journal {path} is written again")
        self._sealed = False
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._closing = False
        self._flushed: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.writes = 0
        """How many batches were written."""

    @classmethod
    async def open(cls, path: Path, *, sync: bool = False) -> Self:
        """Open the file, and read all of it; `sync` has each write wait for the disk itself.

        Raises `JournalUnusable`; a file that is not ours, or damaged, is left as it is. May be
        cancelled also while the file system does not answer.
        """
        try:
            journal = cls(path, sync=sync)
        except RuntimeError as error:  # no thread can be started
            raise JournalUnusable(path, str(error)) from error
        try:
            async with asyncio.timeout(OPEN_S):
                await journal._in_thread(journal._file.look)
            journal._found = await journal._in_thread(journal._file.open)
        except BaseException as error:
            # Behind what may still be under way.
            journal._thread.submit(journal._file.close)
            journal._thread.shutdown()
            if isinstance(error, TimeoutError):
                raise JournalUnusable(path, f"it did not open in {OPEN_S:g} s") from error
            raise
        journal._in_file = {job.id for job in journal._found[0]}
        journal._task = asyncio.create_task(journal._write_on(), name=f"journal {path}")
        return journal

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def load(self) -> tuple[list[JournaledJob], list[Piece]]:
        """The jobs, the oldest first, and the pieces that unfinished ones can go on from.

        As they were when the file was opened; they are handed over once.
        """
        found, self._found = self._found, ([], [])
        return found

    def note(self, job: Job) -> None:
        """Note a job as it is now. Returns at once; written with the next batch."""
        if not self._sealed:
            self._waiting.jobs[job.id] = job_row(job)
            self._woken()

    def forget(self, job_id: str) -> None:
        """Note that a job is forgotten."""
        if self._sealed:
            return
        if job_id in self._in_file or job_id in self._being_written.jobs:
            self._waiting.jobs[job_id] = None
            self._woken()
        else:
            self._waiting.jobs.pop(job_id, None)

    def note_pieces(self, pieces: Iterable[Piece]) -> None:
        """Note the summaries of pieces that were sieved."""
        if not self._sealed and len(self._waiting.pieces) < MOST_PIECES:
            self._waiting.pieces.update((piece[:2], piece) for piece in pieces)
            self._woken()

    def drop_pieces(self, grid: str, indices: range) -> None:
        """Note that nothing can go on from these pieces of a grid any more."""
        if not self._sealed:
            self._waiting.drop(grid, indices)
            self._woken()

    def _woken(self) -> None:
        if self._waiting.since_s is None:
            self._waiting.since_s = asyncio.get_running_loop().time()
        self._wake.set()

    def seal(self) -> None:
        """Take no more notes; what was noted is still written."""
        self._sealed = True

    async def written(self, job_id: str) -> None:
        """Wait until what was noted of a job is in the file.

        Raises `JournalBehind` if it cannot be written, or not in `HANG_S` seconds.
        """
        try:
            async with asyncio.timeout(HANG_S):
                while job_id in self._waiting.jobs or job_id in self._being_written.jobs:
                    if self._problem is not None:
                        raise JournalBehind(self._problem)
                    if self._flushed is None:
                        self._flushed = asyncio.get_running_loop().create_future()
                    self._hurry.set()
                    await asyncio.shield(self._flushed)
        except TimeoutError:
            raise JournalBehind(_HANGS) from None

    async def _flush(self) -> None:
        """Write what is noted. What cannot be written is kept; a line in the log tells why."""
        notes = self._being_written = self._waiting
        self._waiting = Notes()
        if not notes:
            return
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._thread, self._file.write, notes)
        try:
            while not (await asyncio.wait([writing], timeout=HANG_S))[0]:
                self._note_problem(_HANGS)
                if self._closing:
                    return
            writing.result()
        except (sqlite3.Error, MemoryError) as error:
            self._note_problem(str(error) or type(error).__name__)
            notes.update(self._waiting)
            notes.forget_what_never_was(self._in_file)
            self._waiting = notes
        else:
            self.writes += 1
            self._problem = None
            self._trouble.end()
            for job_id, row in notes.jobs.items():
                (self._in_file.discard if row is None else self._in_file.add)(job_id)
        self._being_written = Notes()
        self._tell_flushed()

    def _note_problem(self, problem: str) -> None:
        self._problem = problem
        self._trouble.note("the journal %s cannot be written: %s; trying again", self.path, problem)
        self._tell_flushed()

    def _tell_flushed(self) -> None:
        flushed, self._flushed = self._flushed, None
        if flushed is not None:
            flushed.set_result(None)

    async def _write_on(self) -> None:
        clock = asyncio.get_running_loop().time
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            begun_s = clock()
            await self._flush()
            pause_s = begun_s + FLUSH_S - clock()
            if self._problem is not None:
                self._wake.set()
                pause_s = RETRY_S
            if pause_s > 0:  # to be woken takes a few rounds of the loop, which may be busy
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._hurry.wait()
            if not self._closing:
                self._hurry.clear()

    async def close(self) -> None:
        """Write what is noted and let go of the file; may be called again.

        Takes `HANG_S` seconds more than a write at the most: one that hangs is left alone.
        """
        task, self._task = self._task, None
        if task is None:
            return
        # Not cancelled: what it has taken to be written would be lost.
        self._closing = True
        self._wake.set()
        self._hurry.set()
        await task
        if not self._being_written:
            await self._flush()
        if lost := self.snapshot().waiting:
            log.error(
                "the journal %s is closed without its last %d notes: %s",
                self.path, lost, self._problem,
            )  # fmt: skip
        closed = self._thread.submit(self._file.close)
        self._thread.shutdown()
        if not self._being_written:
            await asyncio.wrap_future(closed)

    def snapshot(self) -> JournalSnapshot:
        """What there is to tell of the journal now."""
        since = [s for n in (self._being_written, self._waiting) if (s := n.since_s) is not None]
        behind_s = asyncio.get_running_loop().time() - min(since) if since else 0.0
        waiting = len(self._being_written) + len(self._waiting)
        return JournalSnapshot(behind_s, waiting, self._problem)

    def __repr__(self) -> str:
        return f"<Journal {self.path} {self.writes} writes>"
