"""Journals of earlier versions are led up to this one step by step, or left as they are."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from primesvc import Range, State
from primesvc.errors import JournalUnusable
from primesvc.jobs import schema as module
from primesvc.jobs.journal import Journal
from primesvc.jobs.schema import APPLICATION_ID, SCHEMA_VERSION
from primesvc.kinds.count import Count
from primesvc.kinds.primes import Primes
from primesvc.sieve.grid import SEGMENTS

RANGE = Range(0, 10**12)
PIECES = [(SEGMENTS.signature, 0, 295_947, 2_032_554), (SEGMENTS.signature, 1, 268_216, 1_877_512)]

# As version 1 wrote it; not taken from the code, which may change.
VERSION_1 = """
    CREATE TABLE job (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, start TEXT NOT NULL, "end" TEXT NOT NULL,
        state TEXT NOT NULL, created_s REAL NOT NULL, started_s REAL, finished_s REAL,
        error TEXT, grid TEXT NOT NULL, keep INTEGER NOT NULL, summaries BLOB
    ) WITHOUT ROWID;
    CREATE TABLE piece (
        grid TEXT NOT NULL, number INTEGER NOT NULL, count INTEGER NOT NULL,
        digits INTEGER NOT NULL, PRIMARY KEY (grid, number)
    ) WITHOUT ROWID;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of version 1: a job that runs, with two of its pieces, and one that failed."""
    path = tmp_path / "journal"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(
            f"BEGIN; {VERSION_1} PRAGMA application_id = {APPLICATION_ID};"
            "PRAGMA user_version = 1; COMMIT;"
        )
        database.executemany(
            "INSERT INTO job VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (Count(RANGE).job_id, "count", "0", str(RANGE.end), "running", 1.5e9,
                 1.5e9, None, None, SEGMENTS.signature, 0, None),
                (Primes(Range(4, 11)).job_id, "primes", "4", "11", "failed", 1.6e9, 1.6e9, 1.6e9,
                 "it would not", SEGMENTS.signature, 1, None),
            ],
        )  # fmt: skip
        database.executemany("INSERT INTO piece VALUES (?, ?, ?, ?)", PIECES)
    return path


def version_of(path: Path) -> int:
    """The version of the tables in a file."""
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def content_of(path: Path) -> bytes:
    """The bytes of a file."""
    return path.read_bytes()


def tables_of(path: Path) -> set[str]:
    """The names of the tables in a file."""
    with closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}


async def check(path: Path) -> None:
    """Assert that what the old version noted is all there, twice: it is also written anew."""
    for _ in range(2):
        journal = await Journal.open(path)
        jobs, pieces = await journal.load()
        await journal.close()
        assert [(job.question, job.state) for job in jobs] == [
            (Count(RANGE), State.RUNNING),
            (Primes(Range(4, 11)), State.FAILED),
        ]
        assert jobs[1].error == "it would not"
        assert pieces == PIECES


async def test_a_journal_of_version_1_is_taken_over(path: Path) -> None:
    """With all jobs and pieces, and as one of this version from then on."""
    await check(path)
    assert version_of(path) == SCHEMA_VERSION


async def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    """Version 0 is a file in which nothing is: all steps are taken."""
    path = tmp_path / "journal"
    path.touch()
    journal = await Journal.open(path)
    assert await journal.load() == ([], [])
    await journal.close()
    assert version_of(path) == SCHEMA_VERSION


async def test_a_step_that_fails_leaves_the_file_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is refused, not a byte of it differs, and with a better step it is taken over."""
    before = content_of(path)
    halfway = "UPDATE job SET error = 'lost'; DROP TABLE piece; SELECT nothing;"
    with monkeypatch.context() as patch:
        patch.setitem(module.MIGRATIONS, 2, halfway)
        with pytest.raises(JournalUnusable, match=str(path)):
            await Journal.open(path)
    assert content_of(path) == before
    await check(path)


async def test_every_step_is_a_transaction_of_its_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the second of two fails the first one stands, whole, and the next start goes on there."""
    later = SCHEMA_VERSION + 1
    monkeypatch.setattr(module, "SCHEMA_VERSION", later)
    monkeypatch.setitem(module.MIGRATIONS, later, "CREATE TABLE half (n); SELECT nothing;")
    with pytest.raises(JournalUnusable):
        await Journal.open(path)
    assert version_of(path) == later - 1
    assert "half" not in tables_of(path)
    monkeypatch.setitem(module.MIGRATIONS, later, "CREATE TABLE half (n);")
    await check(path)
    assert version_of(path) == later
    assert "half" in tables_of(path)
