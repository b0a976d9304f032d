"""Notes in the journal what happens to jobs, and of their pieces what a restart can go on from."""

from collections.abc import Iterable, Mapping

from primesvc.collect.plan import Plan
from primesvc.jobs.job import Job
from primesvc.jobs.journal import Journal, JournalSnapshot
from primesvc.jobs.records import JournaledJob, Piece
from primesvc.sieve.grid import Grid
from primesvc.sieve.packed import Summary


class NullRecorder:
    """Where there is no journal nothing is noted."""

    async def load(self) -> tuple[list[JournaledJob], list[Piece]]:
        """The jobs and the pieces that an earlier run noted; they are handed over once."""
        return [], []

    def begun(self, job: Job) -> None:
        """An unfinished job is in the table."""

    async def promised(self, job_id: str) -> None:
        """Wait until what was noted of a job is written, if that is promised.

        Raises `JournalBehind`.
        """

    def snapshot(self) -> JournalSnapshot | None:
        """What there is to tell of the journal now; None if there is none."""
        return None

    def resumed(self, pieces: Iterable[Piece]) -> None:
        """All jobs are taken up again; of the pieces in the journal only theirs are to stay."""

    def ended(self, job: Job) -> None:
        """A job has reached its final state; may be told again."""

    def forgotten(self, job_id: str) -> None:
        """The job with this id is forgotten."""

    def sieved(self, grid: Grid, summaries: Mapping[int, Summary]) -> None:
        """Pieces were sieved, for a job or a reader."""

    def close(self) -> None:
        """Note nothing from now on: jobs that are unfinished stay so."""


class Recorder(NullRecorder):
    """Notes in a journal what it is told.

    A piece is noted as long as an unfinished job collects it, so the journal
    holds no more of them than those jobs have. With `sync` it is promised
    that a job is written before anybody is told of it.
    """

    def __init__(self, journal: Journal, *, sync: bool = False) -> None:
        self.journal = journal
        self._sync = sync
        # Unfinished jobs, and what they collect.
        self._plans: dict[Job, Plan | None] = {}

    async def load(self) -> tuple[list[JournaledJob], list[Piece]]:
        """As the journal has them."""
        return await self.journal.load()

    def begun(self, job: Job) -> None:
        """Note the job, and from now on its pieces."""
        collected = job.work.collected
        self._plans[job] = None if collected is None else collected.plan
        self.journal.note(job)

    async def promised(self, job_id: str) -> None:
        """As the journal has it."""
        if self._sync:
            await self.journal.written(job_id)

    def snapshot(self) -> JournalSnapshot:
        """As the journal has it."""
        return self.journal.snapshot()

    def resumed(self, pieces: Iterable[Piece]) -> None:
        """Drop the other pieces."""
        known: dict[str, list[int]] = {}
        for signature, index, _, _ in pieces:
            known.setdefault(signature, []).append(index)
        for signature, found in known.items():
            wanted = self._indices(signature)
            for indices in _without(range(min(found), max(found) + 1), wanted):
                self.journal.drop_pieces(signature, indices)

    def ended(self, job: Job) -> None:
        """Note how it ended, once, and drop the pieces that no other job collects."""
        if job not in self._plans:
            return
        self.journal.note(job)
        plan = self._plans.pop(job)
        if plan is not None:
            signature = plan.grid.signature
            for indices in _without(plan.indices, self._indices(signature)):
                self.journal.drop_pieces(signature, indices)

    def forgotten(self, job_id: str) -> None:
        """Drop it from the journal."""
        self.journal.forget(job_id)

    def sieved(self, grid: Grid, summaries: Mapping[int, Summary]) -> None:
        """Note those that unfinished jobs collect."""
        wanted = self._indices(grid.signature)
        self.journal.note_pieces(
            (grid.signature, index, summary.count, summary.digits)
            for index, summary in summaries.items()
            if any(index in indices for indices in wanted)
        )

    def close(self) -> None:
        """Let the journal take no more notes."""
        self.journal.seal()

    def _indices(self, signature: str) -> list[range]:
        plans = self._plans.values()
        return [plan.indices for plan in plans if plan and plan.grid.signature == signature]

    def __repr__(self) -> str:
        return f"<Recorder of {len(self._plans)} unfinished jobs>"


def _without(indices: range, others: Iterable[range]) -> list[range]:
    """The indices that are in none of the others."""
    rest = [indices]
    for other in others:
        rest = [
            part
            for run in rest
            for part in (
                range(run.start, min(run.stop, other.start)),
                range(max(run.start, other.stop), run.stop),
            )
            if part
        ]
    return rest
