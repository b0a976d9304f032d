"""A job: one question, the work on it, and how it ended.

    queued ──> running ──> succeeded
       │          ├──────> failed
       └──────────┴──────> cancelled

`queued`: the work has not begun. `running`: it has. The other three are
final. All transitions are methods of `Job`.
"""

import asyncio
import time

from primesvc.collect.collected import Collected
from primesvc.errors import InvalidParameter, JobCancelled, JobFailed, JobNotFinished
from primesvc.kinds.base import Question, Work
from primesvc.sieve.range import Range
from primesvc.states import State


class Job:
    """One question and what is known of its answer. Made by the `JobManager` only."""

    __slots__ = (
        "_began_s", "_spent_s", "created_s", "ended", "error", "finished_s", "id", "question",
        "started_s", "state", "work",
    )  # fmt: skip

    def __init__(self, question: Question, work: Work) -> None:
        self.id = question.job_id
        self.question = question
        self.work = work
        self.state = State.QUEUED
        self.error: Exception | None = None
        self.created_s = time.time()
        """Unix time; as are `started_s` and `finished_s`, None until then."""
        self.started_s: float | None = None
        self.finished_s: float | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the job is finished."""
        # The clock of the day may be set while the job runs: durations are of another.
        self._began_s: float | None = None
        self._spent_s: float | None = None

    def start(self) -> None:
        """From queued to running."""
        self.state = State.RUNNING
        self.started_s = time.time()
        self._began_s = time.monotonic()

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
        if started_s is not None:
            self._spent_s = finished_s - started_s

    def _finish(self, state: State) -> None:
        self._spent_s = self.spent_s
        self.state = state
        self.finished_s = time.time()
        if not self.ended.done():
            self.ended.set_result(None)

    @property
    def spent_s(self) -> float | None:
        """Seconds from the job's start until now, or its end; None before its start."""
        if self._spent_s is None and self._began_s is not None:
            return time.monotonic() - self._began_s
        return self._spent_s

    @property
    def kind(self) -> str:
        """The name of the question's kind."""
        return self.question.kind

    @property
    def progress(self) -> float:
        """How much of the work is done, 0 to 1; see `Work.progress`."""
        return self.work.progress

    @property
    def count(self) -> int:
        """How many primes were found so far; of the whole range once it succeeded."""
        count: int = self.work.findings["count"]
        return count

    @property
    def collected(self) -> Collected:
        """What is known of each piece of the range, from which its primes can be read.

        Raises `InvalidParameter` for a kind of question that has none.
        """
        collected = self.work.collected
        if collected is None:
            raise InvalidParameter("id", f"a job of the kind {self.kind} has no primes to read")
        return collected

    @property
    def range(self) -> Range:
        """The range whose primes can be read. Raises as `collected` does."""
        return self.collected.plan.range

    @property
    def rate(self) -> float | None:
        """Numbers a second so far, or None before the first, and where none are counted."""
        spent_s, numbers = self.spent_s, self.work.done_numbers
        return None if spent_s is None or not numbers else numbers / max(spent_s, 1e-6)

    @property
    def eta_s(self) -> float | None:
        """About how many seconds are left, as fast as so far; 0 once finished, None if unknown."""
        if self.finished_s is not None:
            return 0.0
        spent_s, progress = self.spent_s, self.progress
        return None if spent_s is None or not progress else spent_s * (1 - progress) / progress

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
        return f"<Job {self.question.key} {self.state} {self.progress:.0%}>"
