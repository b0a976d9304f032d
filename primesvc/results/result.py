"""What can be read: the primes of a range whose pieces are all summarised."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from primesvc.collect.collected import Collected
from primesvc.collect.plan import Plan
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
    def of(cls, collected: Collected) -> Self:
        """All that was collected, which is complete."""
        summaries = collected.summaries.astype(np.int64)
        return cls(collected.plan, summaries[:, 0], summaries[:, 1])

    @classmethod
    def front_of(cls, collected: Collected) -> Self | None:
        """What can be read already: the pieces from the first on that are summarised.

        None while the first is not.
        """
        return cls.part_of(collected, 0, collected.front) if collected.front else None

    @classmethod
    def part_of(cls, collected: Collected, first: int, stop: int) -> Self:
        """Of all pieces those at [first, stop), at least one, which are summarised."""
        plan = collected.plan
        indices = plan.indices[first:stop]
        range_ = Range(plan.piece(indices[0]).start, plan.piece(indices[-1]).end)
        summaries = collected.summaries[first:stop].astype(np.int64)
        plan = replace(plan, range=range_, indices=indices)
        return cls(plan, summaries[:, 0], summaries[:, 1])

    @property
    def total(self) -> Summary:
        """The summary of the whole."""
        return Summary(int(self.counts.sum()), int(self.digits.sum()))
