"""Which questions are let in: those whose work is in proportion, by the estimate that is told."""

from dataclasses import replace

from primesvc.errors import RangeNotAllowed
from primesvc.jobs.job import Job
from primesvc.kinds.base import Limits, Question
from primesvc.sieve.engine import Engine
from primesvc.sieve.range import MAX_NUMBER


class Admission:
    """Estimates jobs for `workers` processors, and refuses those beyond the limits."""

    def __init__(self, engine: Engine, *, workers: int, limits: Limits) -> None:
        self._engine = engine
        self._workers = workers
        self._limits = limits

    def left_s(self, job: Job) -> float:
        """About how many seconds a job still takes, by its rate or its estimate: the shorter one.

        At first its rate is that of its beginning, which may be slow.
        """
        estimate_s = self._estimate_s(job.question) * (1 - job.progress)
        return estimate_s if job.eta_s is None else min(job.eta_s, estimate_s)

    def check(self, question: Question) -> float:
        """About how many seconds a job for it takes here. Raises `RangeNotAllowed`.

        On an idle service, and if nothing of the answer is known.
        """
        question.check(self._limits, self._engine)
        seconds, limit = self._estimate_s(question), self._limits.max_s
        if seconds > limit:
            raise RangeNotAllowed(
                f"{question} would take about {seconds:.3g} s here, the limit is {limit:g} s; "
                "ask for parts of it, or raise max_job_s",
                limit=limit,
                estimate_s=seconds,
            )
        return seconds

    def work_s(self, question: Question) -> float:
        """About how many seconds of one worker a job for it takes, if nothing is known."""
        return question.cost_s(self._engine, 1)

    def check_known(self, question: Question) -> None:
        """Raise `RangeNotAllowed` if a job that was let in once needs more memory than there is."""
        question.check(replace(self._limits, max_span=MAX_NUMBER + 1), self._engine)

    def _estimate_s(self, question: Question) -> float:
        return question.cost_s(self._engine, self._workers)

    def __repr__(self) -> str:
        return f"<Admission within {self._limits}>"
