"""The tables of the journal, their versions, and how an older file is led up to this one."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from primesvc.errors import JournalUnusable
from primesvc.jobs.records import JOB_COLUMNS, PIECE_COLUMNS, check_sum

APPLICATION_ID: Final = 0x5072696D  # "Prim"
"""Marks the file as ours (SQLite's `application_id`)."""

SCHEMA_VERSION: Final = 2
"""The version of the tables (SQLite's `user_version`); `MIGRATIONS` lead up to it."""

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
        UPDATE job SET check_sum = check_sum_of({JOB_COLUMNS});
        UPDATE piece SET check_sum = check_sum_of({PIECE_COLUMNS});
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


def check_tables(database: sqlite3.Connection, path: Path) -> int:
    """The version of the tables, 0 if there are none yet; nothing is changed.

    Raises `JournalUnusable` for a newer one, `sqlite3.DatabaseError` for tables that are not ours.
    """
    database.create_function("check_sum_of", -1, check_sum, deterministic=True)
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise JournalUnusable(path, f"a newer version of primesvc wrote it (schema {version})")
    if version < 0 or _tables_in(database) != _tables_of(version):
        raise sqlite3.DatabaseError("its tables are not those of a journal")
    return version


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
        database.create_function("check_sum_of", -1, check_sum, deterministic=True)
        for step in range(1, version + 1):
            migrate(database, step)
        return _tables_in(database)
