"""A result as a virtual file: where every byte stands, before any is made.

A text is `prefix`, the primes with `separator` behind each but the last, and
`suffix`. The summaries of the pieces give the exact length of what each piece
contributes; their running sum is the layout.
"""

from dataclasses import dataclass

import numpy as np

from primesvc.formats.text import TextFormat
from primesvc.jobs.job import Job


@dataclass(frozen=True, slots=True)
class PieceWindow:
    """The bytes [first, stop) of the text of one piece, which is `length` bytes long.

    The text of a piece has a separator behind every prime, the last one too.
    """

    index: int
    first: int
    stop: int
    length: int


class Layout:
    """The layout of the result of a succeeded job in a text format.

    Raises as `Job.check` does if the job has not succeeded.
    """

    def __init__(self, job: Job, text: TextFormat) -> None:
        self.text = text
        self._indices = job.plan.indices
        counts = job.summaries[:, 0].astype(np.int64)
        digits = job.summaries[:, 1].astype(np.int64)
        ends = np.cumsum(digits + counts * len(text.separator))
        self._bounds = np.concatenate((np.zeros(1, np.int64), ends))
        spare = len(text.separator) if ends[-1] else 0
        self._body = int(ends[-1]) - spare
        self.length = len(text.prefix) + self._body + len(text.suffix)
        """The length of the file in bytes."""

    def before(self, first: int, stop: int) -> bytes:
        """The part of the window [first, stop) of the file that lies in the prefix."""
        return self.text.prefix[first:stop]

    def after(self, first: int, stop: int) -> bytes:
        """The part of the window that lies in the suffix."""
        start = len(self.text.prefix) + self._body
        return self.text.suffix[max(first - start, 0) : max(stop - start, 0)]

    def pieces(self, first: int, stop: int) -> "PieceWindows":
        """The parts of the window that lie in pieces, ascending, none empty; a lazy sequence."""
        head = len(self.text.prefix)
        return PieceWindows(
            self._indices.start,
            self._bounds,
            min(max(first - head, 0), self._body),
            min(max(stop - head, 0), self._body),
        )


class PieceWindows:
    """The windows of consecutive pieces, made when they are looked at."""

    def __init__(
        self, base: int, bounds: "np.ndarray[tuple[int], np.dtype[np.int64]]", first: int, stop: int
    ) -> None:
        self._base = base
        self._bounds = bounds
        self._first = first
        self._stop = stop
        if first >= stop:
            self._numbers = range(0)
        else:
            low = int(np.searchsorted(bounds, first, side="right")) - 1
            high = int(np.searchsorted(bounds, stop, side="left"))
            self._numbers = range(low, high)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, at: int) -> PieceWindow:
        number = self._numbers[at]
        start, end = int(self._bounds[number]), int(self._bounds[number + 1])
        return PieceWindow(
            self._base + number,
            max(self._first - start, 0),
            min(self._stop, end) - start,
            end - start,
        )
