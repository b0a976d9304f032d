"""The file of a journal: opened, checked, read, and written a batch at a time.

All of it may block; the journal has a thread for it.
"""

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Final

from primesvc.errors import JournalUnusable
from primesvc.jobs.notes import Notes
from primesvc.jobs.records import (
    PIECE_COLUMNS,
    JournaledJob,
    Piece,
    Row,
    UnknownKind,
    check_sum,
    read_job,
    read_piece,
)
from primesvc.jobs.schema import check_header, check_tables, job_columns, migrate_to_newest, upgrade

log = logging.getLogger(__name__)

_PRIVATE: Final = 0o600


class JournalFile:
    """A SQLite database that this process alone uses; `open` it, and `close` it in the end.

    With `sync` each write waits for the disk itself.
    """

    def __init__(self, path: Path, *, sync: bool) -> None:
        self.path = path
        self._sync = sync
        self._database: sqlite3.Connection | None = None

    def look(self) -> None:
        """Raise `JournalUnusable` if the file is no journal, before anything is done to it."""
        with contextlib.suppress(OSError):  # the next look says what is wrong
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise JournalUnusable(self.path, "it is not a regular file")
        check_header(self.path)

    def open(self) -> tuple[list[JournaledJob], list[Piece]]:
        """Open the file, made if it is not there; the jobs in it, the oldest first, and the pieces.

        Raises `JournalUnusable`; then not a byte of a file that was there has changed.
        """
        try:
            with contextlib.suppress(FileExistsError):
                # SQLite would let everybody read it; the files beside it get its mode.
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE))
            self._database = sqlite3.connect(self.path, timeout=0, isolation_level=None)
            try:
                return self._prepare(self._database)
            except BaseException:
                # Else closing would move what a killed process has left beside the file into it.
                self._database.interrupt()
                self.close()
                raise
        except sqlite3.Error as error:
            raise JournalUnusable(self.path, _reason(error)) from error
        except (ValueError, MemoryError) as error:
            raise JournalUnusable(self.path, f"it is damaged ({error})") from error
        except OSError as error:
            raise JournalUnusable(self.path, error.strerror or str(error)) from error

    def close(self) -> None:
        """Let go of the file; may be called again."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _prepare(self, database: sqlite3.Connection) -> tuple[list[JournaledJob], list[Piece]]:
        run = database.execute
        # Exclusive: held until the connection, or the process, ends.
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("BEGIN IMMEDIATE")
        run("ROLLBACK")  # a commit would put right what it finds wrong about the file's length
        if run("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("database disk image is malformed")
        version = check_tables(database, self.path)
        found = self._read(database, version) if version else ([], [])
        # Up to here nothing in the file was changed.
        for beside in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):  # it is not there, or belongs to somebody else
                Path(f"{self.path}{beside}").chmod(_PRIVATE)
        run("PRAGMA journal_mode = WAL")
        # NORMAL: a lost power supply may cost the last batches, never the file.
        run(f"PRAGMA synchronous = {'FULL' if self._sync else 'NORMAL'}")
        migrate_to_newest(database, version)
        return found

    def _read(
        self, database: sqlite3.Connection, version: int
    ) -> tuple[list[JournaledJob], list[Piece]]:
        jobs, unknown = [], set()
        # Closed whatever happens: left open, they would keep the file locked.
        with contextlib.closing(_rows(database, "job", job_columns(version), version)) as rows:
            for row in rows:
                try:
                    jobs.append(read_job(upgrade(row, version)))
                except UnknownKind as error:
                    unknown.add(str(error))
        with contextlib.closing(_rows(database, "piece", PIECE_COLUMNS, version)) as rows:
            pieces = [read_piece(row) for row in rows]
        if unknown:
            log.warning(
                "the journal %s has jobs of a kind that this version does not know (%s): "
                "they stay in it, not taken up", self.path, ", ".join(sorted(unknown)),
            )  # fmt: skip
        jobs.sort(key=lambda job: job.created_s)
        return jobs, pieces

    def write(self, notes: Notes) -> None:
        """Write all of the notes or nothing. Raises `sqlite3.Error`."""
        database = self._database
        assert database is not None  # noqa: S101 - it is open
        database.execute("BEGIN")
        try:
            database.executemany(
                "DELETE FROM piece WHERE grid = ? AND number >= ? AND number < ?", notes.dropped
            )
            _insert(database, "piece", list(notes.pieces.values()))
            gone = [(id_,) for id_, row in notes.jobs.items() if row is None]
            database.executemany("DELETE FROM job WHERE id = ?", gone)
            _insert(database, "job", [row for row in notes.jobs.values() if row is not None])
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:  # some errors have ended it
                database.execute("ROLLBACK")
            raise

    def __repr__(self) -> str:
        return f"<JournalFile {self.path}>"


def _rows(
    database: sqlite3.Connection, table: str, columns: str, version: int
) -> Generator[Row, None, None]:
    """The rows of a table. Raises `ValueError` if one is not as it was written."""
    # Version 1 had no check sums.
    written_ = "check_sum" if version > 1 else f"check_sum_of({columns})"
    rows = database.execute(f"SELECT {written_}, {columns} FROM {table}")  # noqa: S608
    with contextlib.closing(rows):
        for written, *row in rows:
            if written != check_sum(*row):
                raise ValueError(f"a {table} is not as it was written")
            yield tuple(row)


def _insert(database: sqlite3.Connection, table: str, rows: list[Row] | list[Piece]) -> None:
    if rows:
        places = ", ".join("?" * (len(rows[0]) + 1))
        database.executemany(
            f"INSERT OR REPLACE INTO {table} VALUES ({places})",  # noqa: S608 - ours
            [(*row, check_sum(*row)) for row in rows],
        )


def _reason(error: sqlite3.Error) -> str:
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return "another process uses it"
    if isinstance(error, sqlite3.OperationalError):
        return str(error)
    return f"it is damaged ({error})"
