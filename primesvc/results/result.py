"""What can be read: the primes of a range whose pieces are all summarised."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from primesvc.jobs.job import Job, Plan
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import Range


@dataclass(frozen=True, slots=True)
class Result:
    """The primes of `plan.range`: how many there are in each piece, and with how many digits."""

    plan: Plan
    counts: NDArray[np.int64]
    """Primes a piece, trimmed to the range; shape (pieces,)."""
    digits: NDArray[np.int64]
    """Their decimal digits; shape (pieces,)."""

    @classmethod
    def of(cls, job: Job) -> Self:
        """The result of a job. Raises as `Job.check` does if there is none."""
        job.check()
        summaries = job.summaries.astype(np.int64)
        return cls(job.plan, summaries[:, 0], summaries[:, 1])

    @classmethod
    def front_of(cls, job: Job) -> Self | None:
        """What can be read of a job already: the pieces from the first on that are summarised.

        None while the first is not.
        """
        if job.front == 0:
            return None
        indices = job.plan.indices[: job.front]
        last = job.plan.piece(indices[-1])
        plan = replace(job.plan, range=Range(job.range.start, last.end), indices=indices)
        summaries = job.summaries[: job.front].astype(np.int64)
        return cls(plan, summaries[:, 0], summaries[:, 1])

    @property
    def total(self) -> Summary:
        """The summary of the whole."""
        return Summary(int(self.counts.sum()), int(self.digits.sum()))
