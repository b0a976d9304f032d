"""The rows of a journal: jobs and pieces as they are written, and read again only if true.

Each row ends with a check sum of the rest, for SQLite has none: a page that was overwritten can
still be a page. What cannot be true is refused whatever its check sum says, since rows of
version 1 had none: `ValueError` tells what is wrong, and the whole journal is to be left alone.
"""

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any, Final

from primesvc.collect.records import may_hold
from primesvc.jobs.job import Job
from primesvc.kinds.base import Question, Work
from primesvc.kinds.catalog import KINDS
from primesvc.sieve.grid import find_grid
from primesvc.states import State

JOB_COLUMNS: Final = (
    "id, kind, parameters, state, created_s, started_s, finished_s, error, findings"
)

PIECE_COLUMNS: Final = "grid, number, count, digits"

_SIGNATURE: Final = re.compile(r"[a-z]{1,20}:[0-9a-f]{8}(/[a-z0-9,:]{1,100})?", re.ASCII)
_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)

_LAST_S: Final = 2.5e11
"""A time in the year 9892: later ones are none, and no date can be made of them."""


@dataclass(frozen=True, slots=True)
class JournaledJob:
    """A job as the journal knows it."""

    id: str
    question: Question
    state: State
    created_s: float
    started_s: float | None
    finished_s: float | None
    error: str | None
    work: Work


Piece = tuple[str, int, int, int]
"""Grid, index, count and digits of a piece."""

Row = tuple[Any, ...]


class UnknownKind(Exception):
    """A job is of a kind that another version of primesvc knows; its row is no damage."""


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
    return (
        job.id, job.kind, write_parameters(job.question.parameters), job.state.value,
        job.created_s, job.started_s, job.finished_s, error,
        job.work.record(complete=job.state is State.SUCCEEDED),
    )  # fmt: skip


def read_job(row: Row) -> JournaledJob:
    """The job of a row. Raises `ValueError` if the row cannot be true, and `UnknownKind`."""
    id_, kind, parameters, state, created_s, started_s, finished_s, error, findings = row

    def check(holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"the {what} of the job {str(id_)[:36]!r} cannot be true")

    check(isinstance(kind, str) and _KIND.fullmatch(kind) is not None, "kind")
    if kind not in KINDS:
        raise UnknownKind(kind)
    check(state in list(State), "state")
    state = State(state)
    question = _read_question(kind, parameters)
    if question is None:
        raise ValueError(f"the job {str(id_)[:36]!r} has no question")
    check(id_ == question.job_id, "id or question")
    check(_is_time(created_s) and (started_s is None or _is_time(started_s)), "beginning")
    check(_is_time(finished_s) if state.final else finished_s is None, "end")
    check(isinstance(error, str) if state is State.FAILED else error is None, "error")
    check(isinstance(findings, bytes), "findings")
    work = question.recall(findings, complete=state is State.SUCCEEDED)
    return JournaledJob(id_, question, state, created_s, started_s, finished_s, error, work)


def read_piece(row: Row) -> Piece:
    """The piece of a row. Raises `ValueError` if the row cannot be true."""
    signature, number, count, digits = row
    if not _is_signature(signature) or any(type(n) is not int for n in (number, count, digits)):
        raise ValueError("a piece has no place or no count")
    grid = find_grid(signature)
    if grid is not None:
        if not 0 <= number < len(grid):
            raise ValueError(f"there is no piece {number} of {signature}")
        piece = grid.piece(number)
        if not may_hold(piece, count, digits, grid.selection):
            raise ValueError(f"the range {piece} does not hold {count} primes of {digits} digits")
    return signature, number, count, digits


def write_parameters(parameters: Any) -> str:
    """The parameters of a question as JSON, every value as text."""
    return json.dumps({name: str(value) for name, value in parameters.items()})


def _read_question(kind: str, text: object) -> Question | None:
    """The question that was written so, and not otherwise; None if there is none."""
    if not isinstance(text, str):
        return None
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            return None
        question = KINDS[kind].read(values)
    except (ValueError, RecursionError):
        return None
    return question if write_parameters(question.parameters) == text else None


def _is_signature(value: object) -> bool:
    return isinstance(value, str) and _SIGNATURE.fullmatch(value) is not None


def _is_time(value: object) -> bool:
    return type(value) is float and 0 <= value < _LAST_S
