"""Journals to be damaged, and what is asked of a journal that is opened all the same."""

import json
import sqlite3
import uuid
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from primesvc.collect.plan import Plan
from primesvc.errors import JournalUnusable, PrimesvcError, RangeNotAllowed
from primesvc.jobs.admission import Admission
from primesvc.jobs.job import Job
from primesvc.jobs.journal import Journal
from primesvc.jobs.records import JOB_COLUMNS, PIECE_COLUMNS, JournaledJob, Piece, check_sum
from primesvc.jobs.restorer import restore
from primesvc.jobs.schema import RANGE_JOB_COLUMNS, migrate
from primesvc.kinds.base import Limits
from primesvc.kinds.catalog import KINDS
from primesvc.kinds.count import Count
from primesvc.kinds.primes import Primes
from primesvc.kinds.ranges import Collecting, RangeQuestion
from primesvc.sieve.engine import load_engine, summarise
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import Range
from primesvc.states import State
from tests.helpers import eventually

UNFINISHED = Range(0, 10**9)


class Files(NamedTuple):
    """The bytes of a journal, and of what a killed process left beside it."""

    main: bytes
    wal: bytes = b""

    def write(self, path: Path) -> None:
        """Be the files at this path."""
        path.write_bytes(self.main)
        wal = path.with_name(f"{path.name}-wal")
        wal.unlink(missing_ok=True)
        if self.wal:
            wal.write_bytes(self.wal)

    def __repr__(self) -> str:
        return f"Files({len(self.main)} and {len(self.wal)} bytes)"

    @classmethod
    def read(cls, path: Path) -> "Files":
        """The files at this path; there are no others beside them."""
        wal = path.with_name(f"{path.name}-wal")
        assert {file.name for file in path.parent.iterdir()} <= {path.name, wal.name}
        return cls(path.read_bytes(), wal.read_bytes() if wal.exists() else b"")


@cache
def summary(range_: Range) -> Summary:
    """The summary of a range, from the engine that services do not use here."""
    return summarise(load_engine("numpy"), range_)


def new_job(range_: Range, grid: Grid, kind: type[RangeQuestion] = Primes) -> Job:
    """A job that is queued."""
    plan = Plan(range_, grid, grid.cover(range_), keep=kind is Primes)
    return Job(kind(range_), Collecting(plan))


def some_jobs() -> list[Job]:
    """Jobs in every state, in segments and in cells."""
    done = [
        new_job(Range(0, 10**5), CELLS),
        new_job(Range(12_345, 30_000_000), SEGMENTS, Count),
        new_job(Range(2**64 - 10_000, 2**64 - 1), CELLS),
        new_job(Range(24, 24), CELLS),
    ]
    for job in done:
        job.start()
        plan = job.collected.plan
        for index in plan.indices:
            job.collected.record(index, summary(plan.piece(index)))
        job.succeed()
    failed, cancelled = new_job(Range(7, 10**7), SEGMENTS), new_job(Range(7, 10**8), SEGMENTS)
    failed.start()
    failed.fail(PrimesvcError("a reason, with a lone surrogate: \udc80"))
    cancelled.cancel()
    return [*done, failed, cancelled, new_job(UNFINISHED, SEGMENTS, Count)]


def some_pieces() -> list[Piece]:
    """Pieces of both grids that were sieved."""
    found = [(SEGMENTS, index) for index in range(8)] + [(CELLS, index) for index in range(8)]
    return [
        (grid.signature, index, *asdict(summary(grid.piece(index))).values())
        for grid, index in found
    ]


async def all_written(journal: Journal) -> None:
    """Wait until nothing waits to be written."""
    await eventually(lambda: journal.snapshot().behind_s == 0)


async def make(folder: Path) -> tuple[Files, Files]:
    """A journal as it is while it is written, as a kill leaves it, and as it is when closed."""
    path = folder / "made"
    journal = await Journal.open(path)
    jobs = some_jobs()
    for job in jobs:
        journal.note(job)
    journal.note_pieces(some_pieces())
    await all_written(journal)
    killed = Files.read(path)
    await journal.close()
    closed = Files.read(path)
    path.unlink()
    return killed, closed


def range_row(job: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row of a job as versions 1 and 2 wrote it; not taken from the code, which may change."""
    id_, kind, parameters, *middle, findings = job
    ends = json.loads(parameters)
    head, _, summaries = findings.partition(b"\n")
    grid, keep = head.decode().split(" ")
    return (id_, kind, ends["start"], ends["end"], *middle, grid, int(keep), summaries or None)


def earlier(folder: Path, files: Files, version: int) -> Files:
    """The same journal as an earlier version wrote it."""
    new, old = folder / "new", folder / "old"
    files.write(new)
    with closing(sqlite3.connect(new)) as database:
        rows = database.execute(f"SELECT {JOB_COLUMNS} FROM job").fetchall()  # noqa: S608
        pieces = database.execute(f"SELECT {PIECE_COLUMNS} FROM piece").fetchall()  # noqa: S608
    with closing(sqlite3.connect(old, isolation_level=None)) as database:
        database.create_function("check_sum_of", -1, check_sum)
        for step in range(1, version + 1):
            migrate(database, step)
        for table, found in (("job", map(range_row, rows)), ("piece", pieces)):
            for row in found:
                values = row if version == 1 else (*row, check_sum(*row))
                places = ", ".join("?" * len(values))
                database.execute(f"INSERT INTO {table} VALUES ({places})", values)  # noqa: S608
        database.execute("PRAGMA journal_mode = WAL")
    found_files = Files(old.read_bytes())
    old.unlink()
    new.unlink()
    return found_files


def edited(path: Path, *statements: tuple[str, tuple[Any, ...]], sums: bool = False) -> None:
    """Run statements on a journal; with `sums` its check sums are made right afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.create_function("check_sum_of", -1, check_sum)
        version = database.execute("PRAGMA user_version").fetchone()[0]
        for sql, values in statements:
            database.execute(sql, values)
        if sums:
            job_columns = JOB_COLUMNS if version > 2 else RANGE_JOB_COLUMNS
            for table, columns in (("job", job_columns), ("piece", PIECE_COLUMNS)):
                database.execute(f"UPDATE {table} SET check_sum = check_sum_of({columns})")  # noqa: S608


Found = tuple[list[JournaledJob], list[Piece]]


async def opened(path: Path) -> Found | None:
    """What a journal holds; None if it is refused, with its name, and left as it is."""
    before = Files.read(path)
    refusal = ""
    try:
        journal = await Journal.open(path)
    except JournalUnusable as error:
        refusal = str(error)
    else:
        found = await journal.load()
        await journal.close()
        return found
    assert str(path) in refusal
    assert "another process" not in refusal
    assert len(refusal) < 1000
    assert Files.read(path) == before
    return None


def keys(found: Found) -> tuple[set[str], set[Piece]]:
    """Jobs as text, and pieces: what can be compared."""
    jobs, pieces = found
    return {text_of(job) for job in jobs}, set(pieces)


def text_of(job: JournaledJob) -> str:
    """All that is known of a job."""
    complete = job.state is State.SUCCEEDED
    return repr((
        job.id, job.question, job.state, job.created_s, job.started_s, job.finished_s, job.error,
        job.work.record(complete=complete),
    ))  # fmt: skip


def assert_may_be_true(found: Found) -> None:
    """Assert that nothing of it cannot be, and that jobs can be made of it and told of."""
    jobs, pieces = found
    limits = Limits(max_span=2**64, max_s=0, max_bytes=2**26)
    admission = Admission(load_engine("numpy"), workers=1, limits=limits)
    namespace = uuid.uuid5(uuid.NAMESPACE_URL, "urn:primesvc:job")
    for known in jobs:
        if not isinstance(known.question, RangeQuestion):
            continue
        assert KINDS[known.question.kind] is type(known.question)
        range_ = known.question.range
        name = f"{known.question.kind}:{range_.start}:{range_.end}"
        assert known.id == str(uuid.uuid5(namespace, name))
        try:
            admission.check_known(known.question)
        except RangeNotAllowed:
            continue
        job = restore(known)
        assert job.id == known.id
        assert 0 <= job.count <= range_.span
        assert job.state.final == (job.finished_s is not None)
        assert job.progress <= 1
        for seconds in (job.created_s, job.started_s, job.finished_s):
            assert seconds is None or datetime.fromtimestamp(seconds, UTC).year < 9999
        assert (job.eta_s or 0) >= 0
        assert (job.rate or 0) >= 0
    for signature, index, count, digits in pieces:
        for grid in (SEGMENTS, CELLS):
            if signature == grid.signature:
                piece = grid.piece(index)
                assert 1 <= count <= piece.span // 2
                assert count * len(str(piece.start)) <= digits <= count * len(str(piece.end))


async def assert_found(path: Path, files: Files, right: tuple[set[str], set[Any]]) -> None:
    """Assert that nothing is found in the files that did not stand there before."""
    files.write(path)
    found = await opened(path)
    if found is None:
        return
    assert_may_be_true(found)
    jobs, pieces = keys(found)
    assert jobs <= right[0]
    assert pieces <= right[1]


async def right_of(path: Path, files: Files) -> tuple[set[str], set[Any]]:
    """What stands in the files, which are not damaged."""
    files.write(path)
    found = await opened(path)
    assert found is not None
    return keys(found)
