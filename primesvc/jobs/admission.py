"""Which ranges are let in: those whose work is in proportion, by the same estimate that is told."""

from primesvc.errors import RangeNotAllowed
from primesvc.jobs.job import Job, Kind
from primesvc.jobs.planner import plan_cost_s
from primesvc.sieve.engine import Engine
from primesvc.sieve.range import Range


class Admission:
    """Estimates jobs for `workers` processors, and refuses those beyond `max_span` and `max_s`."""

    def __init__(self, engine: Engine, *, workers: int, max_span: int, max_s: float) -> None:
        self._engine = engine
        self._workers = workers
        self._max_span = max_span
        self._max_s = max_s

    def left_s(self, job: Job) -> float:
        """About how many seconds a job still takes, by its rate or by its range: the shorter one.

        At first its rate is that of its beginning, which may be slow.
        """
        by_range_s = self._estimate_s(job.range, job.kind) * (1 - job.progress)
        return by_range_s if job.eta_s is None else min(job.eta_s, by_range_s)

    def check(self, range_: Range, kind: Kind) -> float:
        """About how many seconds a job for the range takes here. Raises `RangeNotAllowed`.

        On an idle service, and if nothing of it is known.
        """
        if range_.span > self._max_span:
            raise RangeNotAllowed(
                f"the range {range_} holds {range_.span} numbers, the limit is {self._max_span}; "
                "ask for parts of it, or raise max_span",
                limit=self._max_span,
            )
        seconds = self._estimate_s(range_, kind)
        if seconds > self._max_s:
            raise RangeNotAllowed(
                f"the range {range_} would take about {seconds:.3g} s here, the limit is "
                f"{self._max_s:g} s; ask for parts of it, or raise max_job_s",
                limit=self._max_s,
                estimate_s=seconds,
            )
        return seconds

    def _estimate_s(self, range_: Range, kind: Kind) -> float:
        return plan_cost_s(range_, self._engine, kind) / self._workers

    def __repr__(self) -> str:
        return f"<Admission up to {self._max_span} numbers and {self._max_s:g} s>"
