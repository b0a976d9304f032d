"""What there is to say of all primes of a range together, reduced to a bounded size.

A `Tally` takes primes in ascending order, an array at a time, or another tally of those that
follow; what lies across a cut counts once. However a range is cut, the whole is the same.

Parts of 2^16 primes, which stay in the cache, are counted in one table, by gap and residue at
once: gaps, residues and pairs all follow from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import gmpy2
import numpy as np
from numpy.typing import NDArray

from primesvc.sieve.cost import expected_primes
from primesvc.sieve.engine import Engine, counting_s
from primesvc.sieve.range import Range

PATTERNS: Final = {"twins": 2, "cousins": 4, "sexy": 6}
"""Pairs of primes by their distance, whatever lies between them."""

GAPS: Final = 1552
"""Even, and more than the longest gap below 2^64: 1550 (Oliveira e Silva, Herzog, Pardi 2014)."""

PAIRED_CLASSES: Final = 64
"""Classes of residues at the most of which neighbours are counted in pairs."""

_PART: Final = 2**16
"""Primes counted at a time: their table and arrays stay in the second-level cache."""


_S_PER_PRIME: Final = 6e-9
"""Seconds to list a prime that is sieved, and to count it."""

_S_PER_BIN: Final = 10e-6
"""Seconds for a bin that holds any primes."""

_SETUP_S: Final = 0.5e-3
"""Seconds for a part, however narrow: 0.3 ms, by a modulus of 10,000 2 ms. Too long for the event
loop itself."""


@lru_cache(64)
def residue_classes(modulus: int) -> tuple[int, ...]:
    """The residues that primes can have, ascending: of what is prime to it, and its factors."""
    residues = np.arange(modulus)
    common = np.gcd(residues, modulus)
    # All primes of another class have a factor in common: they are that factor.
    itself = (common % modulus == residues).tolist()
    return tuple(
        residue
        for residue, factor in enumerate(common.tolist())
        if factor == 1 or (itself[residue] and gmpy2.is_prime(factor))
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """What is counted: of which closed range, in how many bins, by residues to which modulus.

    Bin i holds the numbers from `edge(i)` up to, but not including, `edge(i + 1)`, the last also
    the end. They are equally wide, but for one number. Where there are more of them than numbers
    some hold none.
    """

    range: Range
    modulus: int
    bins: int

    def edge(self, index: int) -> int:
        """Where the bin begins; behind the last bin the end of the range, which belongs to it."""
        return min(self.range.start + index * self.range.span // self.bins, self.range.end)

    def bin(self, number: int) -> int:
        """The bin that holds a number of the range."""
        return ((number - self.range.start + 1) * self.bins - 1) // self.range.span

    @property
    def classes(self) -> tuple[int, ...]:
        """The residues that primes can have."""
        return residue_classes(self.modulus)

    @property
    def is_paired(self) -> bool:
        """Whether neighbours are counted in pairs."""
        return len(self.classes) <= PAIRED_CLASSES


def tally_s(engine: Engine, frame: Frame, part: Range) -> float:
    """About how many seconds it takes to find and count the primes of a part of the range."""
    primes = expected_primes(part)
    bins = frame.bin(part.end) - frame.bin(part.start) + 1
    seconds = _SETUP_S + primes * _S_PER_PRIME + min(bins, primes) * _S_PER_BIN
    return counting_s(engine, part) + seconds


class Tally:
    """What is counted of the primes in a closed part of a frame's range, or in all of it.

    At first none are. Arrays are int64.
    """

    __slots__ = (
        "by_bin", "first_bin", "frame", "gaps", "head", "largest_gap", "pairs", "patterns", "tail",
    )  # fmt: skip

    def __init__(self, frame: Frame, part: Range | None = None) -> None:
        self.frame = frame
        self.first_bin = 0 if part is None else frame.bin(part.start)
        bins = frame.bins if part is None else frame.bin(part.end) - self.first_bin + 1
        classes = len(frame.classes)
        self.by_bin = np.zeros((bins, classes), np.int64)
        """How many primes of each residue class lie in each bin, from `first_bin` on."""
        self.patterns = np.zeros((len(PATTERNS), bins), np.int64)
        """How many pairs of each pattern begin in each bin."""
        self.gaps = np.zeros(GAPS, np.int64)
        """How often each gap occurs between neighbours."""
        self.pairs = np.zeros((classes, classes) if frame.is_paired else (0, 0), np.int64)
        """How often a prime of one class is followed by one of another; empty if not paired."""
        self.largest_gap: tuple[int, int] | None = None
        """The largest gap, and the first prime that it follows."""
        self.head: tuple[int, ...] = ()
        """The first two primes."""
        self.tail: tuple[int, ...] = ()
        """The last two primes."""

    @property
    def size_bytes(self) -> int:
        """The memory of the arrays."""
        return sum(array.nbytes for array in (self.by_bin, self.patterns, self.gaps, self.pairs))

    @property
    def count(self) -> int:
        """How many primes there are."""
        return int(self.by_bin.sum())

    def plain(self) -> dict[str, Any]:
        """All of it in numbers, lists and mappings; of residues those that occur."""
        counts = self.by_bin.sum(axis=0)
        present = np.flatnonzero(counts)
        classes = np.array(self.frame.classes)
        gap, after = self.largest_gap or (None, None)
        frame = self.frame
        return {
            "count": self.count,
            "first": self.head[0] if self.head else None,
            "last": self.tail[-1] if self.tail else None,
            "bins": {
                "edges": [frame.edge(index) for index in range(frame.bins + 1)],
                "counts": self.by_bin.sum(axis=1).tolist(),
            },
            "gaps": [[gap, int(self.gaps[gap])] for gap in np.flatnonzero(self.gaps).tolist()],
            "largest_gap": None if gap is None else {"gap": gap, "after": after},
            "residues": {
                "modulus": frame.modulus,
                "classes": classes[present].tolist(),
                "counts": counts[present].tolist(),
                "by_bin": self.by_bin.T[present].tolist(),
            },
            "pairs": self.pairs[np.ix_(present, present)].tolist() if frame.is_paired else None,
            "patterns": {
                name: {"count": int(row.sum()), "by_bin": row.tolist()}
                for name, row in zip(PATTERNS, self.patterns, strict=True)
            },
        }

    def add(self, primes: NDArray[np.uint64]) -> None:
        """Count primes, ascending, that follow all that are counted; 5 ns each."""
        # From 5 on all gaps are even, and no third prime lies between cousins.
        while len(primes) and primes[0] <= 3:
            self._add(primes[:1])
            primes = primes[1:]
        if len(primes):
            self._add(primes)

    def append(self, other: "Tally") -> None:
        """Count what another has counted, which follows all that is counted here."""
        self._join(other.head)
        first = other.first_bin - self.first_bin
        self.by_bin[first : first + len(other.by_bin)] += other.by_bin
        self.patterns[:, first : first + len(other.by_bin)] += other.patterns
        self.gaps += other.gaps
        self.pairs += other.pairs
        if other.largest_gap is not None:
            self._note_gap(*other.largest_gap)
        self.tail = (self.tail + other.tail)[-2:]

    def _join(self, head: Sequence[int]) -> None:
        """Count what lies across the cut in front of the next primes, of which these are two."""
        if self.tail and head:
            before, after = self.tail[-1], head[0]
            self.gaps[after - before] += 1
            self._note_gap(after - before, before)
            if self.frame.is_paired:
                self.pairs[self._class(before), self._class(after)] += 1
            for row, distance in enumerate(PATTERNS.values()):
                for prime in self.tail:
                    if prime + distance in head:
                        self.patterns[row, self._bin(prime)] += 1
        self.head = (*self.head, *head)[:2]

    def _note_gap(self, gap: int, after: int) -> None:
        if self.largest_gap is None or gap > self.largest_gap[0]:
            self.largest_gap = gap, after

    def _class(self, prime: int) -> int:
        return self.frame.classes.index(prime % self.frame.modulus)

    def _bin(self, prime: int) -> int:
        return self.frame.bin(prime) - self.first_bin

    def _add(self, primes: NDArray[np.uint64]) -> None:
        self._join(primes[:2].tolist())
        self.tail = (*self.tail, *primes[-2:].tolist())[-2:]
        modulus, classes = self.frame.modulus, np.array(self.frame.classes)
        table = np.zeros((GAPS // 2, modulus if self.frame.is_paired else 1), np.int64)
        for at in range(0, len(primes) - 1, _PART):
            # With the two that follow, as far as there are so many.
            part = primes[at : at + _PART + 2]
            self._add_part(part, min(_PART, len(primes) - 1 - at), table, classes)
        # Behind the last one there is no gap yet.
        last = self.tail[-1]
        self.by_bin[self._bin(last), self._class(last)] += 1
        self.gaps[::2] += table.sum(axis=1)
        if self.frame.is_paired:
            gaps = np.flatnonzero(table.any(axis=1))
            before = np.broadcast_to(np.arange(modulus), (len(gaps), modulus))
            after = (before + 2 * gaps[:, None]) % modulus
            pairs = np.zeros((modulus, modulus), np.int64)
            np.add.at(pairs, (before, after), table[gaps])
            self.pairs += pairs[np.ix_(classes, classes)]

    def _add_part(
        self,
        primes: NDArray[np.uint64],
        count: int,
        table: NDArray[np.int64],
        classes: NDArray[np.intp],
    ) -> None:
        """Count the first `count` primes, in the table by half the gap behind them and residue."""
        modulus = np.uint32(self.frame.modulus)
        base = int(primes[0]) // self.frame.modulus * self.frame.modulus
        offsets = (primes - np.uint64(base)).astype(np.uint32)
        halves = (offsets[1:] - offsets[:-1]) >> np.uint32(1)
        offsets, gaps = offsets[:count], halves[:count]
        # NumPy divides by a number eight times as fast as it takes remainders.
        quotients = offsets // modulus
        rows = int(gaps.max()) + 1
        longest = 2 * rows - 2
        if self.largest_gap is None or longest > self.largest_gap[0]:
            self._note_gap(longest, int(primes[np.argmax(gaps)]))
        # Primes that are six apart may have one between them.
        sexy = gaps == 3
        sexy[: len(halves) - 1] |= (halves[:-1] + halves[1:] == 3)[:count]
        patterns = gaps == 1, gaps == 2, sexy
        is_paired = self.frame.is_paired
        keys = offsets + (gaps - quotients) * modulus if is_paired else gaps
        first, last = self._bin(int(primes[0])), self._bin(int(primes[count - 1]))
        edges = [self.frame.edge(self.first_bin + at) - base for at in range(first + 1, last + 1)]
        cuts = [0, *np.searchsorted(offsets, np.array(edges, np.uint32)).tolist(), count]
        for bin_, (start, stop) in enumerate(pairwise(cuts), first):
            if start == stop:
                continue
            found = np.bincount(keys[start:stop], minlength=rows * table.shape[1])
            found = found.reshape(rows, -1)
            table[:rows] += found
            if is_paired:
                residues = found.sum(axis=0)
            else:
                of_bin = offsets[start:stop] - quotients[start:stop] * modulus
                residues = np.bincount(of_bin, minlength=self.frame.modulus)
            self.by_bin[bin_] += residues[classes]
            for row, pattern in zip(self.patterns, patterns, strict=True):
                row[bin_] += np.count_nonzero(pattern[start:stop])
