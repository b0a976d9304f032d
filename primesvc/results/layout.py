"""A result as a virtual file: where every byte stands, before any is made.

A file is a head, what each piece contributes, and a tail (see
`formats.base`). The summaries of the pieces give the exact length of each;
their running sum is the layout.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from primesvc.formats.base import Format
from primesvc.results.result import Result
from primesvc.sieve.grid import SEGMENTS


@dataclass(frozen=True, slots=True)
class PieceWindow:
    """The bytes [first, stop) of what one piece contributes, which is `length` bytes long.

    All `spare` bytes are counted, also those behind the last prime of the file.
    """

    index: int
    batch: int
    """Primes of the batch that begins with the piece; 0 if none does."""
    first: int
    stop: int
    length: int


class Layout:
    """The layout of a result in a format: of a file, or of a part that begins and ends otherwise.

    `head` and `tail` are what stands there in place of those of a file.
    """

    def __init__(
        self,
        result: Result,
        format_: Format,
        *,
        head: bytes | None = None,
        tail: bytes | None = None,
    ) -> None:
        self.result = result
        self.format = format_
        total = result.total
        self.head = format_.head(total) if head is None else head
        self.tail = format_.tail() if tail is None else tail
        self._batches = _batches(result)
        lengths = format_.values_bytes(result.counts, result.digits)
        lengths += np.where(self._batches > 0, len(format_.piece_head(1)), 0)
        # _bounds[i] is where in the body piece i begins.
        self._bounds = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=self._bounds[1:])
        self._body = int(self._bounds[-1]) - (format_.spare if total.count else 0)
        self.length = len(self.head) + self._body + len(self.tail)
        """The length of the file in bytes."""

    def before(self, first: int, stop: int) -> bytes:
        """The part of the window [first, stop) of the file that lies in the head."""
        return self.head[first:stop]

    def after(self, first: int, stop: int) -> bytes:
        """The part of the window that lies in the tail."""
        start = len(self.head) + self._body
        return self.tail[max(first - start, 0) : max(stop - start, 0)]

    def pieces(self, first: int, stop: int) -> "PieceWindows":
        """The parts of the window that lie in pieces, ascending; made when they are looked at."""
        start = len(self.head)
        return PieceWindows(
            self.result.plan.indices.start,
            self._batches,
            self._bounds,
            min(max(first - start, 0), self._body),
            min(max(stop - start, 0), self._body),
        )


def _batches(result: Result) -> NDArray[np.int64]:
    """How many primes the batch holds that begins with each piece, 0 if none does.

    A batch is of one segment, on whatever grid the result was collected: that
    depends on what was cached at the time, and the bytes of a file must not.
    """
    plan = result.plan
    if plan.grid.base is SEGMENTS:
        return result.counts
    batches = np.zeros_like(result.counts)
    begins: dict[int, int] = {}
    for number, index in enumerate(plan.indices):
        if result.counts[number]:
            segment = SEGMENTS.index(plan.grid.piece(index).start)
            batches[begins.setdefault(segment, number)] += result.counts[number]
    return batches


class PieceWindows:
    """A sequence of the windows of neighbouring pieces, from `first` to `stop` in the body."""

    def __init__(
        self,
        base: int,
        batches: NDArray[np.int64],
        bounds: NDArray[np.int64],
        first: int,
        stop: int,
    ) -> None:
        self._base = base
        self._batches = batches
        self._bounds = bounds
        self._first = first
        self._stop = stop
        self._numbers = range(0)
        if first < stop:
            low = int(np.searchsorted(bounds, first, side="right")) - 1
            self._numbers = range(low, int(np.searchsorted(bounds, stop, side="left")))

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, at: int) -> PieceWindow:
        number = self._numbers[at]
        start, end = int(self._bounds[number]), int(self._bounds[number + 1])
        return PieceWindow(
            self._base + number,
            int(self._batches[number]),
            max(self._first - start, 0),
            min(self._stop, end) - start,
            end - start,
        )
