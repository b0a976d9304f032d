"""A job: one range, what is known of it so far, and how it ended.

    queued ──> running ──> succeeded
       │          ├──────> failed
       └──────────┴──────> cancelled

`queued`: no piece of it was looked at yet. `running`: pieces are being
collected. The other three are final. All transitions are methods of `Job`.
"""

import asyncio
import builtins
import math
import time
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.errors import JobCancelled, JobFailed, JobNotFinished
from primesvc.sieve.grid import Grid
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import Range

NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:primesvc:job")
"""What ids are derived from; another value would change the id of every range."""


class Kind(StrEnum):
    """What a job is asked for."""

    PRIMES = "primes"  # the primes of the range
    COUNT = "count"  # how many there are, and nothing is kept for reading them


def job_id(range_: Range, kind: Kind = Kind.PRIMES) -> str:
    """The id of the job for a range: the same after a restart and on every replica."""
    return str(uuid.uuid5(NAMESPACE, f"{kind}:{range_.start}:{range_.end}"))


WORKING_BYTES: Final = 16 * 2**10
"""About how much memory an unfinished job takes for the calls that it waits for."""


def job_bytes(pieces: int) -> int:
    """About how much memory a job of so many pieces takes: 8 bytes a summary, and a mark each."""
    return 2048 + 9 * pieces


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  # accepted, nothing of it looked at yet
    RUNNING = "running"  # its pieces are being collected
    SUCCEEDED = "succeeded"  # every piece is summarised, the result can be read
    FAILED = "failed"  # a piece could not be sieved; `error` says why
    CANCELLED = "cancelled"  # somebody stopped it, or the service did

    @property
    def final(self) -> bool:
        """Whether a job in this state stays in it."""
        return self in _FINAL


_FINAL: Final = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class Plan:
    """Which pieces a job collects: those of `grid` with `indices`, trimmed to `range`."""

    range: Range
    grid: Grid
    indices: "builtins.range"
    keep: bool
    """Whether its primes fit the cache and are packed on the way."""

    def piece(self, index: int) -> Range:
        """The part of the job's range that lies in the piece."""
        piece = self.grid.piece(index)
        return self.range.clip(piece) if self._is_end(index) else piece

    def trims(self, index: int) -> bool:
        """Whether the piece reaches beyond the job's range."""
        return self._is_end(index) and not self.range.covers(self.grid.piece(index))

    def _is_end(self, index: int) -> bool:
        """Whether the piece is the first or the last: only these can reach beyond the range."""
        return index in (self.indices.start, self.indices.stop - 1)


class Job:
    """One range and what is known of its primes. Made by the `JobTable` only."""

    __slots__ = (
        "_recorded",
        "_summaries",
        "created_s",
        "done_numbers",
        "ended",
        "error",
        "extra_bytes",
        "finished_s",
        "front",
        "id",
        "kind",
        "known_until_s",
        "pieces_done",
        "plan",
        "range",
        "rendered",
        "started_s",
        "state",
        "working_bytes",
    )  # fmt: skip

    def __init__(self, range_: Range, plan: Plan, kind: Kind = Kind.PRIMES) -> None:
        self.id = job_id(range_, kind)
        self.kind = kind
        self.range = range_
        self.plan = plan
        self.state = State.QUEUED
        self.error: Exception | None = None
        self.created_s = time.time()
        """Unix time; as are `started_s` and `finished_s`, None until then."""
        self.started_s: float | None = None
        self.finished_s: float | None = None
        self.done_numbers = 0
        """How many numbers of the range lie in pieces that are summarised."""
        self.known_until_s = math.inf
        """When the table forgets the job, on `time.monotonic`; set when it is finished."""
        self.extra_bytes = 0
        """Memory of what was added later; see `JobTable.charge`."""
        self.working_bytes = WORKING_BYTES
        """Memory of the work for it, 0 once it is finished; see `JobTable.note_end`."""
        self.rendered: dict[str, bytes] = {}
        """Whole bodies of small results, by the name of the format."""
        self.pieces_done = 0
        """How many pieces are summarised."""
        self.front = 0
        """How many pieces from the first on are all summarised: so far it can be read."""
        self._recorded = bytearray(len(plan.indices))
        self._summaries = np.zeros((len(plan.indices), 2), np.uint32)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the job is finished."""

    def start(self) -> None:
        """From queued to running."""
        self.state = State.RUNNING
        self.started_s = time.time()

    def record(self, index: int, summary: Summary) -> None:
        """Note the summary of the part of the range in one piece; once a piece."""
        number = index - self.plan.indices.start
        self._summaries[number] = summary.count, summary.digits
        self._recorded[number] = 1
        self.pieces_done += 1
        self.done_numbers += self.plan.piece(index).span
        if number == self.front:
            after = self._recorded.find(0, number)
            self.front = len(self._recorded) if after < 0 else after

    def recall(self, summaries: NDArray[np.uint32]) -> None:
        """Note the summaries of all pieces at once, as an earlier run found them."""
        self._summaries[:] = summaries
        self._recorded[:] = b"\x01" * len(self._recorded)
        self.pieces_done = self.front = len(self._recorded)
        self.done_numbers = self.range.span

    def recall_end(
        self,
        state: State,
        *,
        started_s: float | None,
        finished_s: float,
        error: Exception | None,
    ) -> None:
        """From queued to the final state that an earlier run reached."""
        self.error = error
        self._finish(state)
        self.started_s, self.finished_s = started_s, finished_s
        self.working_bytes = 0

    def succeed(self) -> None:
        """From running to succeeded."""
        self._finish(State.SUCCEEDED)

    def fail(self, error: Exception) -> None:
        """From queued or running to failed."""
        self.error = error
        self._finish(State.FAILED)

    def cancel(self) -> None:
        """From queued or running to cancelled; nothing if the job is finished."""
        if not self.state.final:
            self._finish(State.CANCELLED)

    def _finish(self, state: State) -> None:
        self.state = state
        self.finished_s = time.time()
        if not self.ended.done():
            self.ended.set_result(None)

    @property
    def progress(self) -> float:
        """The share of the range's numbers in pieces that are summarised, 0 to 1, exact."""
        return self.done_numbers / self.range.span

    @property
    def count(self) -> int:
        """How many primes were found so far; of the whole range once it succeeded."""
        return int(self._summaries[:, 0].sum(dtype=np.uint64))

    @property
    def summary(self) -> Summary:
        """The summary of the whole range. Raises as `check` does."""
        self.check()
        count, digits = self._summaries.sum(axis=0, dtype=np.uint64).tolist()
        return Summary(count, digits)

    @property
    def summaries(self) -> NDArray[np.uint32]:
        """Count and digits a piece, shape (pieces, 2), trimmed to the range; 0 where not known."""
        return self._summaries

    @property
    def rate(self) -> float | None:
        """Numbers a second so far, or None before the first piece."""
        if self.started_s is None or not self.done_numbers:
            return None
        seconds = (self.finished_s or time.time()) - self.started_s
        return self.done_numbers / max(seconds, 1e-6)

    @property
    def eta_s(self) -> float | None:
        """About how many seconds are left, by the rate so far; 0 once finished, None if unknown."""
        if self.finished_s is not None:
            return 0.0
        rate = self.rate
        return None if rate is None else (self.range.span - self.done_numbers) / rate

    @property
    def size_bytes(self) -> int:
        """About how much memory the job takes in the table."""
        return job_bytes(len(self.plan.indices)) + self.extra_bytes + self.working_bytes

    def check(self) -> None:
        """Return if the job succeeded.

        Raises `JobNotFinished`, `JobCancelled` or `JobFailed` otherwise.
        """
        if self.state is State.SUCCEEDED:
            return
        if self.state is State.FAILED:
            reason = str(self.error) or type(self.error).__name__
            raise JobFailed(self.id, reason) from self.error
        if self.state is State.CANCELLED:
            raise JobCancelled(self.id)
        raise JobNotFinished(self.id)

    async def ends_within(self, timeout_s: float) -> bool:
        """Wait until the job is finished, but not longer than that; whether it is. Never raises."""
        if self.finished_s is None and timeout_s > 0:
            await asyncio.wait([self.ended], timeout=timeout_s)
        return self.finished_s is not None

    async def wait(self) -> "Job":
        """Wait until the job is finished, and return it. Raises as `check` does."""
        await asyncio.wait([self.ended])
        self.check()
        return self

    def __repr__(self) -> str:
        return f"<Job {self.range} {self.state} {self.progress:.0%}>"
