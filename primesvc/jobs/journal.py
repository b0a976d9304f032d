"""The journal: a file from which a service that was killed takes up its jobs again.

SQLite in WAL mode, written by one thread of its own, in batches, so that
neither requests nor the event loop wait for the disk. What it holds:

- every job the table knows, with its state, and once it succeeded what it
  found: it is there again at once after a restart;
- the summaries of pieces sieved while a job is unfinished: such a job goes on
  from them, and loses at most the chunks that were under way and what was
  noted in the last `FLUSH_S` seconds.

Primes are never written: they are sieved again where they are read.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self, TypeVar

from primesvc.errors import JournalUnusable
from primesvc.jobs.job import Job
from primesvc.jobs.records import (
    PIECE_COLUMNS,
    JournaledJob,
    Piece,
    Row,
    UnknownKind,
    check_sum,
    job_row,
    read_job,
    read_piece,
)
from primesvc.jobs.schema import check_header, check_tables, job_columns, migrate_to_newest, upgrade

log = logging.getLogger(__name__)

T = TypeVar("T")

FLUSH_S: Final = 0.02
"""Seconds that notes are gathered before they are written: what a kill may lose beside
the chunks under way, which take longer. Fifty batches a second cost a job of 10^11
1 % of its processor time, and ten the same within what can be measured."""

MOST_WAITING: Final = 100_000
"""Notes that wait to be written at the most: 30 MB, and more than come in ten minutes."""


class Journal:
    """A journal in a file, made if it is not there. `open` it, and `close` it in the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._database: sqlite3.Connection
        self._found: tuple[list[JournaledJob], list[Piece]] = [], []
        self._jobs: dict[str, Row | None] = {}
        self._pieces: list[Piece] = []
        self._dropped: list[tuple[str, int, int]] = []
        self._behind = self._sealed = False
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.writes = 0
        """How many batches were written."""

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the file, and read all of it.

        Raises `JournalUnusable`; a file that is not ours, or damaged, is left as it is.
        """
        journal = cls(path)
        try:
            await journal._in_thread(journal._open)
        except BaseException:
            journal._thread.shutdown(wait=False)
            raise
        journal._task = asyncio.create_task(journal._write_on(), name=f"journal {path}")
        return journal

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _open(self) -> None:
        check_header(self.path)
        try:
            self._database = sqlite3.connect(self.path, timeout=0, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                # Else closing would move what a killed process has left beside the file into it.
                self._database.interrupt()
                self._database.close()
                raise
        except sqlite3.Error as error:
            raise JournalUnusable(self.path, _reason(error)) from error
        except (ValueError, MemoryError) as error:
            raise JournalUnusable(self.path, f"it is damaged ({error})") from error

    def _prepare(self) -> None:
        run = self._database.execute
        # Exclusive: held until the connection, or the process, ends.
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("BEGIN IMMEDIATE")
        run("ROLLBACK")  # a commit would put right what it finds wrong about the file's length
        if run("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("database disk image is malformed")
        version = check_tables(self._database, self.path)
        if version:
            self._found = self._read(version)
        # Up to here nothing in the file was changed.
        run("PRAGMA journal_mode = WAL")
        # A lost power supply may cost the last batch, never the file.
        run("PRAGMA synchronous = NORMAL")
        migrate_to_newest(self._database, version)

    async def load(self) -> tuple[list[JournaledJob], list[Piece]]:
        """The jobs, the oldest first, and the pieces that unfinished ones can go on from.

        As they were when the file was opened; they are handed over once.
        """
        found, self._found = self._found, ([], [])
        return found

    def _read(self, version: int) -> tuple[list[JournaledJob], list[Piece]]:
        jobs, unknown = [], set()
        # Closed whatever happens: left open, they would keep the file locked.
        with contextlib.closing(self._rows("job", job_columns(version), version)) as rows:
            for row in rows:
                try:
                    jobs.append(read_job(upgrade(row, version)))
                except UnknownKind as error:
                    unknown.add(str(error))
        with contextlib.closing(self._rows("piece", PIECE_COLUMNS, version)) as rows:
            pieces = [read_piece(row) for row in rows]
        if unknown:
            log.warning(
                "the journal %s has jobs of a kind that this version does not know (%s): "
                "they stay in it, not taken up", self.path, ", ".join(sorted(unknown)),
            )  # fmt: skip
        jobs.sort(key=lambda job: job.created_s)
        return jobs, pieces

    def _rows(self, table: str, columns: str, version: int) -> Generator[Row, None, None]:
        """The rows of a table. Raises `ValueError` if one is not as it was written."""
        # Version 1 had no check sums.
        written_ = "check_sum" if version > 1 else f"check_sum_of({columns})"
        rows = self._database.execute(f"SELECT {written_}, {columns} FROM {table}")  # noqa: S608
        with contextlib.closing(rows):
            for written, *row in rows:
                if written != check_sum(*row):
                    raise ValueError(f"a {table} is not as it was written")
                yield tuple(row)

    def note(self, job: Job) -> None:
        """Note a job as it is now. Returns at once; written with the next batch."""
        if self._keeps_up(len(self._jobs)):
            self._jobs[job.id] = job_row(job)
            self._wake.set()

    def forget(self, job_id: str) -> None:
        """Note that a job is forgotten."""
        if self._keeps_up(len(self._jobs)):
            self._jobs[job_id] = None
            self._wake.set()

    def note_pieces(self, pieces: Iterable[Piece]) -> None:
        """Note the summaries of pieces that were sieved."""
        if self._keeps_up(len(self._pieces)):
            self._pieces.extend(pieces)
            self._wake.set()

    def _keeps_up(self, waiting: int) -> bool:
        """Whether the disk keeps up; where it hangs, notes are dropped, not piled up."""
        if self._sealed:
            return False
        if waiting < MOST_WAITING:
            return True
        if not self._behind:
            log.error("the journal %s is not written any more: its disk hangs", self.path)
        self._behind = True
        return False

    def drop_pieces(self, grid: str, indices: range) -> None:
        """Note that nothing can go on from these pieces of a grid any more."""
        if self._sealed:
            return
        self._pieces = [
            piece for piece in self._pieces if piece[0] != grid or piece[1] not in indices
        ]
        self._dropped.append((grid, indices.start, indices.stop))
        self._wake.set()

    def seal(self) -> None:
        """Take no more notes; what was noted is still written."""
        self._sealed = True

    async def flush(self) -> None:
        """Write what is noted. An error of the disk is logged; the service goes on without."""
        jobs, self._jobs = self._jobs, {}
        pieces, self._pieces = self._pieces, []
        dropped, self._dropped = self._dropped, []
        if not jobs and not pieces and not dropped:
            return
        try:
            await self._in_thread(lambda: self._write(jobs, pieces, dropped))
            self._behind = False
        except sqlite3.Error as error:
            log.error("the journal %s cannot be written: %s", self.path, error)

    def _write(
        self,
        jobs: dict[str, Row | None],
        pieces: list[Piece],
        dropped: list[tuple[str, int, int]],
    ) -> None:
        run = self._database
        run.execute("BEGIN")
        try:
            run.executemany(
                "DELETE FROM piece WHERE grid = ? AND number >= ? AND number < ?", dropped
            )
            self._insert("piece", pieces)
            gone = [(id_,) for id_, row in jobs.items() if row is None]
            run.executemany("DELETE FROM job WHERE id = ?", gone)
            self._insert("job", [row for row in jobs.values() if row is not None])
        except BaseException:
            run.execute("ROLLBACK")
            raise
        run.execute("COMMIT")
        self.writes += 1

    def _insert(self, table: str, rows: list[Row] | list[Piece]) -> None:
        if rows:
            places = ", ".join("?" * (len(rows[0]) + 1))
            self._database.executemany(
                f"INSERT OR REPLACE INTO {table} VALUES ({places})",  # noqa: S608 - ours
                [(*row, check_sum(*row)) for row in rows],
            )

    async def _write_on(self) -> None:
        while not self._closing.is_set():
            await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._closing.wait()
            self._wake.clear()
            await self.flush()

    async def close(self) -> None:
        """Write what is noted and let go of the file; may be called again."""
        task, self._task = self._task, None
        if task is None:
            return
        # Not cancelled: what it has taken to be written would be lost.
        self._closing.set()
        self._wake.set()
        await task
        await self.flush()
        await self._in_thread(self._database.close)
        self._thread.shutdown(wait=False)

    def __repr__(self) -> str:
        return f"<Journal {self.path} {self.writes} writes>"


def _reason(error: sqlite3.Error) -> str:
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return "another process uses it"
    if isinstance(error, sqlite3.OperationalError):
        return str(error)
    return f"it is damaged ({error})"
