"""The summaries of pieces already sieved: small, so that far more fit than packed primes.

With them a job whose primes were evicted, or never kept, need not be sieved
again to be counted, and a second job that overlaps it neither.
"""

from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.sieve.grid import Grid
from primesvc.sieve.packed import Summary

PAGE_PIECES: Final = 1024
"""Pieces a page: 8 KiB of summaries of neighbouring pieces, kept and forgotten together."""

_UNKNOWN: Final = 2**32 - 1
"""In place of a count: more primes than any piece has numbers (2^28 at the most)."""


class SummaryTable:
    """Summaries by grid and index of the piece, bounded; forgets the pages used least recently.

    A piece has fewer than 2^32 primes and digits, so a summary is 8 bytes.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._pages: OrderedDict[tuple[str, int], NDArray[np.uint32]] = OrderedDict()
        self._max_pages = max(max_bytes // (PAGE_PIECES * 8), 2)

    def get(self, grid: Grid, index: int) -> Summary | None:
        """The summary of the piece, if it is known."""
        key = (grid.name, index // PAGE_PIECES)
        page = self._pages.get(key)
        if page is None:
            return None
        self._pages.move_to_end(key)
        count, digits = page[index % PAGE_PIECES].tolist()
        return None if count == _UNKNOWN else Summary(count, digits)

    def put(self, grid: Grid, index: int, summary: Summary) -> None:
        """Remember the summary of the piece."""
        key = (grid.name, index // PAGE_PIECES)
        page = self._pages.get(key)
        if page is None:
            page = self._pages[key] = np.full((PAGE_PIECES, 2), _UNKNOWN, np.uint32)
            while len(self._pages) > self._max_pages:
                self._pages.popitem(last=False)
        self._pages.move_to_end(key)
        page[index % PAGE_PIECES] = summary.count, summary.digits

    def discard(self, grid: Grid, index: int) -> None:
        """Forget the summary of the piece, if it is known."""
        page = self._pages.get((grid.name, index // PAGE_PIECES))
        if page is not None:
            page[index % PAGE_PIECES] = _UNKNOWN, _UNKNOWN

    @property
    def current_bytes(self) -> int:
        """How much memory the table takes."""
        return len(self._pages) * PAGE_PIECES * 8

    def __repr__(self) -> str:
        return f"<SummaryTable {len(self._pages)} of {self._max_pages} pages>"
