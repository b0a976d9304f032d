"""Journals whose rows were edited: what cannot be true makes them unusable."""

import json
import math
import sqlite3
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from primesvc import Range, State
from primesvc.jobs.journal import Journal
from primesvc.jobs.notes import Notes
from primesvc.jobs.records import JOB_COLUMNS, check_sum, write_parameters
from primesvc.jobs.schema import RANGE_JOB_COLUMNS, SCHEMA_VERSION
from primesvc.kinds.catalog import KINDS
from primesvc.kinds.count import Count
from primesvc.kinds.primes import Primes
from primesvc.kinds.ranges import RangeQuestion
from primesvc.sieve.grid import CELLS, SEGMENTS
from tests.fuzz.journals import (
    Files,
    assert_found,
    assert_may_be_true,
    edited,
    opened,
    right_of,
    some_jobs,
)
from tests.fuzz.search import cases

RIGHT = Primes(Range(0, 10**5))
HEAD = f"{CELLS.signature} 1\n".encode()


def columns_of(job_columns: str) -> st.SearchStrategy[tuple[str, str]]:
    """A column of one of the tables."""
    jobs = [("job", name.strip(' "')) for name in job_columns.split(",")]
    return st.sampled_from(
        jobs + [("piece", name) for name in ("grid", "number", "count", "digits")]
    )


columns = columns_of(JOB_COLUMNS)
values = st.one_of(
    st.none(),
    st.integers(-10, 10**6),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=40),
    st.binary(max_size=60),
    st.binary(max_size=100).map(zlib.compress),
    st.binary(max_size=100).map(lambda data: HEAD + zlib.compress(data)),
    st.dictionaries(st.sampled_from(["start", "end"]), st.text(max_size=20)).map(json.dumps),
    st.sampled_from([
        SEGMENTS.signature, CELLS.signature, "cells:00000000", *State, *KINDS, RIGHT.job_id,
        '{"start": "7", "end": "7"}', '{"end": "100000", "start": "0"}', "[" * 10**5, "[]", "null",
        str(2**64), str(2**64 - 1), "-1", "007", "1e5", "\u0661", "9" * 5000,
        math.inf, 9e15, 2e11, 1.0,
    ]),
)  # fmt: skip


def update(column: tuple[str, str], at: int, value: object) -> tuple[str, tuple[object, ...]]:
    """The statement that writes a value into a column of one row."""
    table, name = column
    key = {"job": "id", "piece": "number"}[table]
    row = f"(SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET ?)"  # noqa: S608
    return f'UPDATE {table} SET "{name}" = ? WHERE {key} = {row}', (value, at)  # noqa: S608


async def assert_no_untruth(path: Path, statement: tuple[str, tuple[object, ...]]) -> None:
    """Whatever the statement writes, with the right check sum, is refused or may be true."""
    try:
        edited(path, statement, sums=True)
    except sqlite3.IntegrityError:
        return
    found = await opened(path)
    if found is not None:
        assert_may_be_true(found)


@cases(80)
@given(columns, st.integers(0, 6), values)
@example(("job", "state"), 0, "sleeping")
@example(("job", "kind"), 0, "sums")
@example(("job", "parameters"), 0, "a")
@example(("job", "created_s"), 0, math.inf)
@example(("job", "findings"), 0, HEAD + b"not zlib")
@example(("job", "findings"), 0, HEAD + zlib.compress(bytes(12)))
@example(("piece", "count"), 0, 17)
async def test_an_edited_row_is_refused(
    path: Path, closed: Files, column: tuple[str, str], at: int, value: object
) -> None:
    """A row that is not as it was written makes the journal unusable, whatever was changed."""
    right = await right_of(path, closed)
    try:
        edited(path, update(column, at, value))
    except sqlite3.IntegrityError:
        return
    await assert_found(path, Files.read(path), right)


@cases(80)
@given(columns, st.integers(0, 6), values)
@example(("job", "findings"), 0, HEAD + zlib.compress(bytes(16)))
@example(("job", "finished_s"), 0, 2e11)
@example(("job", "parameters"), 0, '{"start": "00", "end": "100000"}')
@example(("job", "parameters"), 0, '{"start": "0", "end": "1e5"}')
@example(("piece", "digits"), 0, -1)
@example(("piece", "number"), 0, 2**62)
async def test_a_row_that_cannot_be_true_is_refused(
    path: Path, closed: Files, column: tuple[str, str], at: int, value: object
) -> None:
    """Even with the right check sum: what is taken up is a job, and can be told of."""
    closed.write(path)
    await assert_no_untruth(path, update(column, at, value))


@cases(80)
@given(columns_of(RANGE_JOB_COLUMNS), st.integers(0, 6), values)
@example(("job", "start"), 0, "00")
@example(("job", "end"), 0, 100_000)
@example(("job", "kind"), 0, "sums")
@example(("job", "keep"), 0, 2)
@example(("job", "summaries"), 0, None)
@example(("job", "summaries"), 0, zlib.compress(bytes(16)))
async def test_a_row_of_version_2_that_cannot_be_true_is_refused(
    path: Path, former: Files, column: tuple[str, str], at: int, value: object
) -> None:
    """Before the tables are led up: not a byte of the file differs."""
    former.write(path)
    await assert_no_untruth(path, update(column, at, value))


ends = st.integers(0, 2**64 - 1) | st.integers(0, 10**6)
times = st.none() | st.floats(0, 3e11) | st.floats()


@cases(80)
@given(
    st.tuples(ends, ends).map(sorted),
    st.sampled_from([Primes, Count]),
    st.sampled_from(State),
    st.tuples(times, times, times),
    st.sampled_from([SEGMENTS, CELLS]),
    st.integers(0, 2**32 - 1) | st.integers(0, 10**6),
    st.sampled_from([None, "a reason"]),
)
@example([0, 2**64 - 1], Count, State.QUEUED, (1.0, None, None), CELLS, 0, None)
@example([0, 2**64 - 1], Primes, State.SUCCEEDED, (1.0, 1.0, 1e11), SEGMENTS, 0, None)
async def test_a_row_with_the_right_id(
    path: Path,
    bounds: list[int],
    kind: type[RangeQuestion],
    state: State,
    times: tuple[float | None, ...],
    grid: Any,
    number: int,
    error: str | None,
) -> None:
    """A job of any range, with a result of the right length: taken up only if it may be true."""
    range_ = Range(*bounds)
    pieces = min(len(grid.cover(range_)), 10**5)
    digits = number * len(str(range_.end))
    blob = np.array([[number, digits & 0xFFFFFFFF]] * pieces, "<u4").tobytes()
    question = kind(range_)
    findings = f"{grid.signature} 0\n".encode()
    if state is State.SUCCEEDED:
        findings += zlib.compress(blob, 1)
    row = (
        question.job_id, kind.kind, write_parameters(question.parameters), state.value, *times,
        error, findings,
    )  # fmt: skip
    Files(b"").write(path)
    assert await opened(path) is not None
    places = ", ".join("?" * (len(row) + 1))
    try:
        edited(path, (f"INSERT INTO job VALUES ({places})", (*row, check_sum(*row))))  # noqa: S608
    except sqlite3.IntegrityError:
        return
    found = await opened(path)
    if found is not None:
        assert_may_be_true(found)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE diary (day TEXT)",
        "CREATE TRIGGER t AFTER INSERT ON job BEGIN DELETE FROM job; END",
        "CREATE INDEX i ON piece (count)",
        "CREATE VIEW v AS SELECT * FROM job",
        "DROP TABLE piece",
        "ALTER TABLE job DROP COLUMN check_sum",
        "ALTER TABLE job ADD COLUMN more",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 1",
        "PRAGMA user_version = -1",
        f"PRAGMA user_version = {SCHEMA_VERSION + 1}",
    ],
)
async def test_other_tables_are_refused(path: Path, closed: Files, sql: str) -> None:
    """A file whose tables are not those of its version is none of ours, and is left as it is."""
    closed.write(path)
    edited(path, (sql, ()))
    assert await opened(path) is None


async def test_a_small_database_of_something_else_is_refused(path: Path) -> None:
    """A foreign database of one small page is not taken for an empty journal."""
    edited(path, ("PRAGMA page_size = 512", ()), ("CREATE TABLE diary (day TEXT)", ()))
    assert await opened(path) is None


async def test_a_compressed_bomb_takes_no_memory(path: Path, closed: Files) -> None:
    """A result that unpacks to far more than its range has pieces is refused unpacked."""
    closed.write(path)
    bomb = HEAD + zlib.compress(bytes(10**8))
    sql = "UPDATE job SET findings = ?, id = ?, parameters = ? WHERE id = ?"
    known = RIGHT
    for question in (RIGHT, Primes(Range(0, 2**50))):
        values = bomb, question.job_id, write_parameters(question.parameters), known.job_id
        edited(path, (sql, values), sums=True)
        known = question
        tracemalloc.start()
        assert await opened(path) is None
        assert tracemalloc.get_traced_memory()[1] < 2 * 10**6
        tracemalloc.stop()


RIGHT_SUMMARIES = [[6542, 31946], [3050, 15250]]


@pytest.mark.parametrize(
    "summaries",
    [
        [[0, 0], [0, 0]],
        [[6542, 31946], [3050, 15249]],
        [[6542, 31946], [3050, 18301]],
        [[12000, 60000], [3050, 15250]],
        [[6542, 31946], [3050, 15250], [0, 0]],
        [[6542, 31946]],
        [[6542, 40000], [2**32 - 1, 2**32 - 1]],
    ],
)
async def test_a_result_that_cannot_be_is_refused(
    path: Path, closed: Files, summaries: list[list[int]]
) -> None:
    """Counts that no range of its width holds, other digits than it has, or of other pieces."""
    sql = "UPDATE job SET findings = ? WHERE id = ?"
    for wanted in (RIGHT_SUMMARIES, summaries):
        closed.write(path)
        blob = zlib.compress(np.array(wanted, "<u4").tobytes())
        edited(path, (sql, (HEAD + blob, RIGHT.job_id)), sums=True)
        assert (await opened(path) is not None) == (wanted is RIGHT_SUMMARIES)


async def test_a_piece_without_primes_is_refused(path: Path, closed: Files) -> None:
    """No piece within a range is empty: the gaps between primes are far shorter."""
    wide = next(job for job in some_jobs() if len(job.collected.summaries) > 2)
    summaries = wide.collected.summaries.copy()
    head = f"{SEGMENTS.signature} 0\n".encode()
    for empty in (False, True):
        closed.write(path)
        if empty:
            summaries[1] = 0
        blob = zlib.compress(summaries.astype("<u4").tobytes())
        sql = "UPDATE job SET findings = ? WHERE id = ?"
        edited(path, (sql, (head + blob, wide.id)), sums=True)
        assert (await opened(path) is None) == empty


async def test_what_a_killed_process_left_is_not_touched(path: Path) -> None:
    """A journal that is refused is not even put together from the two files that it is in."""
    journal = await Journal.open(path)
    # No method writes what is not true.
    forged = Notes()
    forged.jobs["forged"] = ("forged", *[0] * 8)
    await journal._in_thread(lambda: journal._file.write(forged))
    killed = Files.read(path)
    await journal.close()
    assert killed.wal
    killed.write(path)
    assert await opened(path) is None
