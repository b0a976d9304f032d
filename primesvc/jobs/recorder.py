"""Notes in the journal what happens to jobs, and of their pieces what a restart can go on from."""

from collections.abc import Iterable, Mapping

from primesvc.jobs.job import Job, Plan
from primesvc.jobs.journal import Journal
from primesvc.jobs.records import Piece
from primesvc.jobs.table import JobTable
from primesvc.sieve.grid import Grid
from primesvc.sieve.packed import Summary


class Recorder:
    """What the journal is told of the jobs in a table.

    A piece is noted as long as an unfinished job collects it, so the journal
    holds no more of them than those jobs have.
    """

    def __init__(self, journal: Journal, table: JobTable) -> None:
        self._journal = journal
        self._table = table
        self._plans: dict[Job, Plan] = {}

    def resumed(self, pieces: Iterable[Piece]) -> None:
        """All jobs are taken up again; of the pieces in the journal only theirs are to stay."""
        known: dict[str, list[int]] = {}
        for signature, index, _, _ in pieces:
            known.setdefault(signature, []).append(index)
        for signature, found in known.items():
            wanted = (p.indices for p in self._plans.values() if p.grid.signature == signature)
            for indices in _without(range(min(found), max(found) + 1), wanted):
                self._journal.drop_pieces(signature, indices)

    def begun(self, job: Job) -> None:
        """An unfinished job is in the table."""
        self._plans[job] = job.plan
        self._journal.note(job)

    def ended(self, job: Job) -> None:
        """A job has reached its final state; may be told again."""
        if self._table.knows(job):
            self._journal.note(job)
        plan = self._plans.pop(job, None)
        if plan is not None:
            for indices in _without(plan.indices, self._indices(plan.grid)):
                self._journal.drop_pieces(plan.grid.signature, indices)

    def forgotten(self, job: Job) -> None:
        """The table has forgotten a job."""
        self._journal.forget(job.id)

    def sieved(self, grid: Grid, summaries: Mapping[int, Summary]) -> None:
        """Pieces were sieved, for a job or a reader."""
        wanted = list(self._indices(grid))
        self._journal.note_pieces(
            (grid.signature, index, summary.count, summary.digits)
            for index, summary in summaries.items()
            if any(index in indices for indices in wanted)
        )

    def _indices(self, grid: Grid) -> Iterable[range]:
        return (plan.indices for plan in self._plans.values() if plan.grid is grid)

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
