"""The number line cut into fixed pieces: segments, and finer cells.

A boundary is a pure function of its place on the line, the same for every
request, process and machine. Two requests that overlap therefore ask for the
same pieces, and sharing between them needs no interval arithmetic.

A piece holds its primes, or those of a `Selection`: then it is another piece,
of a grid with the same boundaries.
"""

import zlib
from bisect import bisect_right
from copy import copy
from functools import lru_cache
from itertools import pairwise
from typing import Final

from primesvc.sieve.range import MAX_NUMBER, Range
from primesvc.sieve.selection import ALL, Selection


class Grid:
    """A partition of [0, 2^64) into pieces, numbered from 0 upwards.

    `zones` are `(first number, log2 of the width)` pairs in ascending order,
    the first at 0: from `first number` on, up to the next zone, every piece
    is `2**log2` numbers wide. A zone starts at a multiple of its width, so
    every piece does too.
    """

    def __init__(self, name: str, zones: tuple[tuple[int, int], ...]) -> None:
        self.name = name
        self.zones = zones
        self.signature = f"{name}:{zlib.crc32(repr(zones).encode()):08x}"
        """Tells grids apart that are cut differently, also in another version."""
        self.selection = ALL
        """The primes that its pieces hold."""
        self.base = self
        """The grid of the same boundaries whose pieces hold all their primes."""
        self._starts = [start for start, _ in zones]
        self._shifts = [shift for _, shift in zones]
        self._firsts = [0]  # index of the first piece of each zone
        for (start, shift), (stop, _) in pairwise(zones):
            self._firsts.append(self._firsts[-1] + ((stop - start) >> shift))

    def select(self, selection: Selection) -> "Grid":
        """The grid of the same boundaries whose pieces hold these primes."""
        if not selection:
            return self.base
        grid = copy(self.base)
        grid.name += f"/{selection}"
        grid.signature += f"/{selection}"
        grid.selection = selection
        return grid

    def index(self, number: int) -> int:
        """The index of the piece that holds `number`, 0 <= number < 2^64."""
        zone = bisect_right(self._starts, number) - 1
        return self._firsts[zone] + ((number - self._starts[zone]) >> self._shifts[zone])

    def piece(self, index: int) -> Range:
        """The piece of this index as a closed range."""
        zone = bisect_right(self._firsts, index) - 1
        shift = self._shifts[zone]
        start = self._starts[zone] + ((index - self._firsts[zone]) << shift)
        return Range(start, start + (1 << shift) - 1)

    def cover(self, range_: Range) -> range:
        """The indices of the pieces that hold a number of the range, ascending."""
        return range(self.index(range_.start), self.index(range_.end) + 1)

    def __len__(self) -> int:
        return self.index(MAX_NUMBER) + 1

    def __repr__(self) -> str:
        return f"Grid({self.name!r}, {len(self._starts)} zones)"


@lru_cache(256)
def find_grid(signature: str) -> Grid | None:
    """The grid that a signature names; None if it is cut otherwise now.

    Raises `ValueError` for a selection that there cannot be.
    """
    cut, _, selection = signature.partition("/")
    for grid in (SEGMENTS, CELLS):
        if grid.signature == cut:
            return grid.select(Selection.parse(selection))
    return None


SEGMENTS: Final = Grid(
    "segments",
    (
        (0, 22),
        (2**32, 24),
        (2**36, 26),
        (2**44, 28),
    ),
)
"""The coarse grid.

A piece is wide enough that the set-up of its sieve (see `cost`) is a small
part of it, and no wider, so that a job is cut finely. libprimesieve 12.9, one
core, milliseconds to list | to count the primes of one piece that starts at
the number:

| at    | 2^20          | 2^22          | 2^24          | 2^26          | 2^28          |
|-------|---------------|---------------|---------------|---------------|---------------|
| 10^6  | 0.06 | 0.04   | 0.26 | 0.15   | 1.2 | 0.7     |               |               |
| 10^9  | 0.15 | 0.13   | 0.51 | 0.42   | 2.0 | 1.7     |               |               |
| 10^10 | 0.24 | 0.19   | 0.55 | 0.47   | 2.0 | 1.7     | 9.3 | 6.7     | 86 | 26       |
| 10^11 | 0.45 | 0.40   | 0.87 | 0.74   | 2.8 | 2.2     | 10 | 8.1      | 85 | 32       |
| 10^12 | 1.1 | 1.1     | 1.5 | 1.4     | 3.7 | 3.2     | 12 | 10       | 89 | 40       |
| 10^13 | 2.6 | 2.6     | 3.5 | 3.4     | 6.1 | 5.7     | 17 | 14       | 99 | 53       |
| 10^14 | 5.3 | 5.3     | 7.9 | 7.8     | 12 | 12       | 24 | 22       | 110 | 68      |
| 10^16 | 26 | 26       | 35 | 35       | 57 | 57       | 87 | 82       | 194 | 149     |
| 10^18 | 229 | 230     | 243 | 245     | 288 | 289     | 424 | 427     | 827 | 732     |
"""

CELLS: Final = Grid("cells", ((0, 16), (2**44, 14)))
"""The fine grid, for narrow ranges: a request for a few numbers must not pay
for a whole segment. 2^16 numbers cost 10 to 500 µs to sieve below 10^12; high
up, where numbers are tested one by one (see `narrow`), 2^14 cost about 3 ms.
"""
