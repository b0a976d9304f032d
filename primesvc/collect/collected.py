"""What is known of the pieces of a range so far."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.collect.plan import Plan
from primesvc.sieve.packed import Summary

PIECE_BYTES: Final = 9
"""Memory a piece: 8 bytes of summary, and a mark."""


class Collected:
    """The summaries of the pieces of a plan, as far as they are known."""

    __slots__ = ("_recorded", "_summaries", "done_numbers", "front", "pieces_done", "plan")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.done_numbers = 0
        """How many numbers of the range lie in pieces that are summarised."""
        self.pieces_done = 0
        """How many pieces are summarised."""
        self.front = 0
        """How many pieces from the first on are all summarised: so far it can be read."""
        self._recorded = bytearray(len(plan.indices))
        self._summaries = np.zeros((len(plan.indices), 2), np.uint32)

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
        self.done_numbers = self.plan.range.span

    @property
    def progress(self) -> float:
        """The share of the range's numbers in pieces that are summarised, 0 to 1, exact."""
        return self.done_numbers / self.plan.range.span

    @property
    def count(self) -> int:
        """How many primes were found so far."""
        return int(self._summaries[:, 0].sum(dtype=np.uint64))

    @property
    def summary(self) -> Summary:
        """The sum of the summaries that are known; of the whole range in the end."""
        count, digits = self._summaries.sum(axis=0, dtype=np.uint64).tolist()
        return Summary(count, digits)

    @property
    def summaries(self) -> NDArray[np.uint32]:
        """Count and digits a piece, shape (pieces, 2), trimmed to the range; 0 where not known."""
        return self._summaries

    def __repr__(self) -> str:
        return f"<Collected {self.pieces_done} of {len(self.plan.indices)} pieces>"
