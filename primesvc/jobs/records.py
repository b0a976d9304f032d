"""The rows of a journal: jobs and pieces as they are written, and read again only if true.

Each row ends with a check sum of the rest, for SQLite has none: a page that was overwritten can
still be a page. What cannot be true is refused whatever its check sum says, since rows of
version 1 had none: `ValueError` tells what is wrong, and the whole journal is to be left alone.
"""

import math
import re
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from primesvc.errors import RangeNotAllowed
from primesvc.jobs.job import Job, Kind, State, job_id
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.packed import digit_cuts
from primesvc.sieve.range import Range

JOB_COLUMNS: Final = (
    'id, kind, start, "end", state, created_s, started_s, finished_s, error, grid, keep, summaries'
)

PIECE_COLUMNS: Final = "grid, number, count, digits"

GRIDS: Final = {grid.signature: grid for grid in (SEGMENTS, CELLS)}
"""The grids as they are cut now; of others nothing can be used, but they are no damage."""

_SIGNATURE: Final = re.compile(r"[a-z]{1,20}:[0-9a-f]{8}", re.ASCII)
_DIGITS: Final = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)

_LAST_S: Final = 2.5e11
"""A time in the year 9892: later ones are none, and no date can be made of them."""

_LONGEST_GAP: Final = 1550
"""From one prime to the next below 2^64 at the most (Oliveira e Silva, Herzog, Pardi 2014)."""

_MOST_COMPRESSED: Final = 64
"""Bytes in one of packed summaries at the most: counts vary too much for more than 8."""


@dataclass(frozen=True, slots=True)
class JournaledJob:
    """A job as the journal knows it."""

    id: str
    kind: Kind
    range: Range
    state: State
    created_s: float
    started_s: float | None
    finished_s: float | None
    error: str | None
    grid: str
    """Name and cut of the grid; summaries of another cut are of no use."""
    keep: bool
    summaries: NDArray[np.uint32] | None
    """Count and digits a piece, shape (pieces, 2); of jobs that succeeded on a grid cut as now."""


Piece = tuple[str, int, int, int]
"""Grid, index, count and digits of a piece."""

Row = tuple[Any, ...]


def check_sum(*values: Any) -> int:
    """The check sum of a row: of its values as Python writes them, of bytes at its end as they are.

    Takes 0.7 µs for a piece.
    """
    if isinstance(values[-1], bytes):
        return zlib.crc32(values[-1], zlib.crc32(repr(values[:-1]).encode()))
    return zlib.crc32(repr(values).encode())


def job_row(job: Job) -> Row:
    """The row of a job as it is now, without its check sum."""
    # What SQLite cannot store as text would keep the whole batch from being written.
    error = None if job.error is None else str(job.error).encode(errors="replace").decode()
    summaries = None
    if job.state is State.SUCCEEDED:
        summaries = zlib.compress(job.summaries.astype("<u4").tobytes(), 1)
    return (
        job.id, job.kind.value, str(job.range.start), str(job.range.end), job.state.value,
        job.created_s, job.started_s, job.finished_s, error, job.plan.grid.signature,
        int(job.plan.keep), summaries,
    )  # fmt: skip


def read_job(row: Row) -> JournaledJob:
    """The job of a row. Raises `ValueError` if the row cannot be true."""
    id_, kind, start, end, state, created_s, started_s, finished_s, error, grid, keep, blob = row

    def check(holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"the {what} of the job {str(id_)[:36]!r} cannot be true")

    check(kind in list(Kind) and state in list(State), "kind or state")
    kind, state = Kind(kind), State(state)
    range_ = _read_range(start, end)
    if range_ is None:
        raise ValueError(f"the job {str(id_)[:36]!r} has no range")
    check(id_ == job_id(range_, kind), "id or range")
    check(_is_time(created_s) and (started_s is None or _is_time(started_s)), "beginning")
    check(_is_time(finished_s) if state.final else finished_s is None, "end")
    check(isinstance(error, str) if state is State.FAILED else error is None, "error")
    check(_is_signature(grid), "grid")
    check(type(keep) is int and keep in (0, 1), "plan")
    succeeded = state is State.SUCCEEDED
    check(isinstance(blob, bytes) if succeeded else blob is None, "count")
    summaries = None
    if succeeded and grid in GRIDS:
        summaries = _read_summaries(blob, range_, GRIDS[grid])
        check(summaries is not None, "count")
    return JournaledJob(
        id_, kind, range_, state, created_s, started_s, finished_s, error, grid, bool(keep),
        summaries,
    )  # fmt: skip


def read_piece(row: Row) -> Piece:
    """The piece of a row. Raises `ValueError` if the row cannot be true."""
    signature, number, count, digits = row
    if not _is_signature(signature) or any(type(n) is not int for n in (number, count, digits)):
        raise ValueError("a piece has no place or no count")
    grid = GRIDS.get(signature)
    if grid is not None:
        if not 0 <= number < len(grid):
            raise ValueError(f"there is no piece {number} of {signature}")
        piece = grid.piece(number)
        if not _may_hold(piece, count, digits):
            raise ValueError(f"the range {piece} does not hold {count} primes of {digits} digits")
    return signature, number, count, digits


def _read_range(start: object, end: object) -> Range | None:
    if not all(isinstance(n, str) and _DIGITS.fullmatch(n) for n in (start, end)):
        return None
    try:
        return Range(int(str(start)), int(str(end)))
    except RangeNotAllowed:
        return None


def _is_signature(value: object) -> bool:
    return isinstance(value, str) and _SIGNATURE.fullmatch(value) is not None


def _is_time(value: object) -> bool:
    return type(value) is float and 0 <= value < _LAST_S


def _most_primes(span: int) -> int:
    """More primes than that no range of so many numbers holds (Montgomery, Vaughan 1973)."""
    return 1 if span == 1 else int(2 * span / math.log(span))


def _may_hold(range_: Range, count: int, digits: int) -> bool:
    """Whether the range may hold so many primes, which have so many digits together."""
    if not range_.span // _LONGEST_GAP <= count <= _most_primes(range_.span):
        return False
    return count * len(str(range_.start)) <= digits <= count * len(str(range_.end))


def _read_summaries(blob: bytes, range_: Range, grid: Grid) -> NDArray[np.uint32] | None:
    """The summaries of the pieces of the range, None if these bytes cannot be they."""
    indices = grid.cover(range_)
    size = 8 * len(indices)
    if size > _MOST_COMPRESSED * len(blob):
        return None
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(blob, size + 1)
    except zlib.error:
        return None
    if len(data) != size or not unpacker.eof or unpacker.unused_data:
        return None
    summaries = np.frombuffer(data, "<u4").reshape(-1, 2).astype(np.uint32)
    counts, digits = summaries.astype(np.uint64).T
    spans = [grid.piece(index).span for index in (indices[0], indices[-1])]
    fewest, most = np.full(len(counts), 20, np.uint64), np.zeros(len(counts), np.uint64)
    for part in digit_cuts(range_):
        pieces = grid.cover(part)
        at = slice(pieces.start - indices.start, pieces.stop - indices.start)
        width = np.uint64(len(str(part.start)))
        fewest[at], most[at] = np.minimum(fewest[at], width), width
    fit = (counts <= _most_primes(max(spans))) & (digits >= counts * fewest)
    fit &= digits <= counts * most
    fit[1:-1] &= counts[1:-1] >= min(spans) // _LONGEST_GAP
    holds = _may_hold(range_, int(counts.sum()), int(digits.sum()))
    return summaries if holds and bool(fit.all()) else None
