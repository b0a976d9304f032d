"""The tables of the journal, their versions, and how an older file is led up to this one."""

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any, Final

from primesvc.collect.records import write_head
from primesvc.errors import JournalUnusable
from primesvc.jobs.records import JOB_COLUMNS, PIECE_COLUMNS, Row, check_sum

APPLICATION_ID: Final = 0x5072696D  # "Prim"
"""Marks the file as ours (SQLite's `application_id`)."""

SCHEMA_VERSION: Final = 3
"""The version of the tables (SQLite's `user_version`); `MIGRATIONS` lead up to it."""

RANGE_JOB_COLUMNS: Final = (
    'id, kind, start, "end", state, created_s, started_s, finished_s, error, grid, keep, summaries'
)
"""Those of a job up to version 2, when all there was to ask for were ranges."""

MIGRATIONS: Final = {
    1: """
        CREATE TABLE job (
            id TEXT PRIMARY KEY, kind TEXT NOT NULL, start TEXT NOT NULL, "end" TEXT NOT NULL,
            state TEXT NOT NULL, created_s REAL NOT NULL, started_s REAL, finished_s REAL,
            error TEXT, grid TEXT NOT NULL, keep INTEGER NOT NULL, summaries BLOB
        ) WITHOUT ROWID;
        CREATE TABLE piece (
            grid TEXT NOT NULL, number INTEGER NOT NULL, count INTEGER NOT NULL,
            digits INTEGER NOT NULL, PRIMARY KEY (grid, number)
        ) WITHOUT ROWID;
    """,
    2: f"""
        ALTER TABLE job ADD COLUMN check_sum INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE piece ADD COLUMN check_sum INTEGER NOT NULL DEFAULT 0;
        UPDATE job SET check_sum = check_sum_of({RANGE_JOB_COLUMNS});
        UPDATE piece SET check_sum = check_sum_of({PIECE_COLUMNS});
    """,  # noqa: S608 - ours
    3: f"""
        ALTER TABLE job RENAME TO range_job;
        CREATE TABLE job (
            id TEXT PRIMARY KEY, kind TEXT NOT NULL, parameters TEXT NOT NULL,
            state TEXT NOT NULL, created_s REAL NOT NULL, started_s REAL, finished_s REAL,
            error TEXT, findings BLOB, check_sum INTEGER NOT NULL
        ) WITHOUT ROWID;
        INSERT INTO job SELECT id, kind, parameters_of(start, "end"), state, created_s, started_s,
            finished_s, error, findings_of(grid, keep, summaries), 0 FROM range_job;
        UPDATE job SET check_sum = check_sum_of({JOB_COLUMNS});
        DROP TABLE range_job;
    """,  # noqa: S608 - ours
}
"""The statements that lead from the version before to each version."""

_MAGIC: Final = b"SQLite format 3\x00"
_APPLICATION_ID_AT: Final = 68  # https://www.sqlite.org/fileformat2.html#the_database_header


def check_header(path: Path) -> None:
    """Raise `JournalUnusable` for a file that is not ours; reads it, and nothing else."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise JournalUnusable(path, error.strerror or str(error)) from error
    ours = APPLICATION_ID.to_bytes(4, "big")
    at = _APPLICATION_ID_AT
    if header and (not header.startswith(_MAGIC) or header[at : at + 4] not in (ours, bytes(4))):
        raise JournalUnusable(path, "it is not a journal of primesvc")
    if header and header[at : at + 4] == bytes(4) and path.stat().st_size > 4096:
        raise JournalUnusable(path, "it is a database of something else")


def job_columns(version: int) -> str:
    """The columns of a job in this version, without its check sum."""
    return JOB_COLUMNS if version > 2 else RANGE_JOB_COLUMNS


def upgrade(row: Row, version: int) -> Row:
    """The row of a job as this version writes it. Raises `ValueError` if it cannot be true."""
    if version > 2:
        return row
    id_, kind, start, end, *middle, grid, keep, summaries = row
    if kind not in ("primes", "count"):
        raise ValueError("there was no such kind of job")
    return (id_, kind, _parameters(start, end), *middle, _findings(grid, keep, summaries))


def _parameters(start: Any, end: Any) -> str:
    if not isinstance(start, str) or not isinstance(end, str):
        raise ValueError("a job has no range")
    return json.dumps({"start": start, "end": end})


def _findings(grid: Any, keep: Any, summaries: Any) -> bytes:
    if not isinstance(grid, str) or type(keep) is not int:
        raise ValueError("a job has no plan")
    if not isinstance(summaries, bytes | None):
        raise ValueError("the count of a job cannot be true")
    return write_head(grid, keep) + (summaries or b"")


def check_tables(database: sqlite3.Connection, path: Path) -> int:
    """The version of the tables, 0 if there are none yet; nothing is changed.

    Raises `JournalUnusable` for a newer one, `sqlite3.DatabaseError` for tables that are not ours.
    """
    _add_functions(database)
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise JournalUnusable(path, f"a newer version of primesvc wrote it (schema {version})")
    if version < 0 or _tables_in(database) != _tables_of(version):
        raise sqlite3.DatabaseError("its tables are not those of a journal")
    return version


def _add_functions(database: sqlite3.Connection) -> None:
    """Let statements use what the migrations need."""
    database.create_function("check_sum_of", -1, check_sum, deterministic=True)
    database.create_function("parameters_of", 2, _parameters, deterministic=True)
    database.create_function("findings_of", 3, _findings, deterministic=True)


def migrate_to_newest(database: sqlite3.Connection, version: int) -> None:
    """Lead the tables from a version up to `SCHEMA_VERSION`, each step in a transaction."""
    for step in range(version + 1, SCHEMA_VERSION + 1):
        migrate(database, step)


def migrate(database: sqlite3.Connection, version: int) -> None:
    """Lead the tables from the version before up to this one."""
    database.executescript(
        f"BEGIN; {MIGRATIONS[version]} PRAGMA application_id = {APPLICATION_ID};"
        f"PRAGMA user_version = {version}; COMMIT;"
    )


def _tables_in(database: sqlite3.Connection) -> list[tuple[object, ...]]:
    """What stands in the database beside rows: tables, and whatever else somebody made in it."""
    found = database.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")
    return [(type_, name, sql and " ".join(sql.split())) for type_, name, sql in found.fetchall()]


def _tables_of(version: int) -> list[tuple[object, ...]]:
    """What `_tables_in` finds in a journal of this version."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        _add_functions(database)
        for step in range(1, version + 1):
            migrate(database, step)
        return _tables_in(database)
