"""The portable engine: a segmented sieve on a wheel of 30, in NumPy alone.

Numbers coprime to 30 are 30 k + r with r one of eight residues. Each residue has a row, one byte
a k, in which the multiples of a prime p stand p apart. So one pattern of the smallest primes
serves all rows, a prime's first multiple in the next row is one subtraction away, and 8 of 30
numbers cost a byte where of the odd ones alone 15 would.

Nanoseconds a number on one core, ranges of 2^26 numbers:

    at       10^9   10^12   10^14   10^16   10^18
    count    0.50    0.96     1.9     4.1      29
    primes   0.74    1.23     2.2     4.3      32
"""

from collections.abc import Iterator
from math import isqrt, prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.sieve.cost import CostModel
from primesvc.sieve.narrow import (
    SMALL_LIMIT,
    count_by_testing,
    primes_by_testing,
    small_primes,
    strike,
)
from primesvc.sieve.primecount import Primecount
from primesvc.sieve.selection import Selection

_WHEEL: Final = 30
_RESIDUES: Final = (1, 7, 11, 13, 17, 19, 23, 29)

# By p mod 30, the m with m * p = -1 (mod 30); then (m * p + 1) / 30 is the inverse of 30 mod p.
_INVERTERS: Final = np.array([-pow(r, -1, 30) % 30 if r in _RESIDUES else 0 for r in range(30)])

_PATTERN_PRIMES: Final = (7, 11, 13, 17)
_PATTERN_PERIOD: Final = prod(_PATTERN_PRIMES)

# Copied at a time when a row is filled, 272 kB: within a 1 MiB level 2 cache.
_PATTERN_REPEATS: Final = 16

# Base primes up to here are kept, 4 bytes each: 16 MB, enough for ends below 2^52.
_KEPT_LIMIT: Final = 1 << 26

# Numbers sieved at a time for the base primes above, used once and dropped: 30 MB of primes.
_STREAMED: Final = 1 << 26

# Bytes a row, eight rows a segment, 30 numbers a byte: 8 MB and 3 * 10^7 numbers. Of 2^17 to 2^23
# the least within 1.3 times the best at 10^9, 10^12 and 10^14; 2^17, in the level 2 cache, costs
# 2 to 4 times the best.
_ROW: Final = 1 << 20

# The same when base primes are streamed: 75 MB. A pass over them costs 0.14 s at 10^16 and 1.8 s
# at 10^18, so a segment holds 2^28 numbers and such a range takes one pass.
_ROW_STREAMED: Final = 9 << 20

# Base primes at a time: their eight rows of first multiples are 512 kB. 2^12 to 2^14 cost the
# same, 2^15 up to twice as much.
_BATCH: Final = 1 << 13

# Packed bytes turned into numbers at a time, through a table of 64 bytes each, 1 MB. 2^12 costs a
# sixth more to list, 2^16 the same.
_UNPACKED: Final = 1 << 14

# Ranges narrower than sqrt(end) by this factor are tested: what a sieve spends on base primes
# grows with sqrt(end), whatever the width. Both cost the same at a factor of 47 at 10^10, 62 at
# 10^12, 73 at 10^14, 75 at 10^16, 64 below 2^64.
_TESTING_RATIO: Final = 64

_COST: Final = CostModel(
    (
        (1e9, 0.14e-3, 0.0, 0.49e-9),
        (1e10, 0.3e-3, 0.0, 0.6e-9),
        (1e12, 1.8e-3, 0.0, 0.93e-9),
        (1e14, 14e-3, 0.0, 1.7e-9),
        (1e16, 0.14, 0.0, 2.1e-9),
        (1e18, 1.8, 0.0, 3.1e-9),
        (1.8e19, 7.7, 0.0, 3.1e-9),
    )
)
"""Sieving on one core, base primes kept; ranges of 2^10 and 2^26."""


class NumpyEngine:
    """The engine on NumPy, for where libprimesieve does not load; one thread a call.

    Keeps the base primes it has needed, 16 MB at the most; the call that extends
    them takes 50 MB meanwhile. Besides its result a call takes 10 MB, or 150 MB
    if it ends above 2^52, and to list, a thirtieth of a byte a number.
    """

    name = "numpy"
    version = np.__version__
    cost = _COST
    primecount: Primecount | None = None

    def __init__(self) -> None:
        self._base = small_primes().astype(np.uint32), SMALL_LIMIT
        period = np.ones(_PATTERN_PERIOD, np.bool_)
        for p in _PATTERN_PRIMES:
            period[::p] = False
        self._pattern = np.tile(period, _PATTERN_REPEATS + 1)
        slots = np.arange(_UNPACKED * 8)
        numbers = slots // 8 * _WHEEL + np.array(_RESIDUES)[slots % 8]
        self._numbers = numbers.astype(np.uint64)

    def primes(self, start: int, end: int) -> NDArray[np.uint64]:
        """Return the primes of the closed range [start, end], ascending, shape (n,).

        Exact for 0 <= start, end <= 2^64 - 1; empty if end < start. The first
        call up to an end spends 0.03 s on base primes at 10^14, 0.2 s from 2^52.
        """
        if _is_narrow(start, end):
            return primes_by_testing(start, end)
        self._keep_base(isqrt(end))
        return self._list(start, end)

    def count(self, start: int, end: int) -> int:
        """Count the primes of the closed range [start, end], without listing them."""
        if _is_narrow(start, end):
            return count_by_testing(start, end)
        self._keep_base(isqrt(end))
        kept, low = self._kept(start, end)
        segments = self._segments(low, end)
        return kept.size + sum(int(np.count_nonzero(slots[:, :-1])) for _, slots in segments)

    def counts(self, selection: Selection) -> bool:
        """Whether there is a way without listing primes: for all primes only."""
        return not selection

    def count_selected(self, selection: Selection, start: int, end: int) -> int:
        """How many primes the closed range [start, end] holds."""
        return self.count(start, end)

    def _keep_base(self, root: int) -> None:
        """Extend the base primes to cover `root`, in powers of 2 up to the limit."""
        _, limit = self._base
        wanted = min(_KEPT_LIMIT, 1 << root.bit_length())
        if limit < wanted:
            # Replaced as one, so that calls from other threads see one pair or the other.
            self._base = self._list(0, wanted).astype(np.uint32), wanted

    def _kept(self, start: int, end: int) -> tuple[NDArray[np.uint32], int]:
        """Return the kept primes of [start, end], and where sieving has to start."""
        base, limit = self._base
        # Keys of another type would make a copy of the whole array.
        keys = np.array([min(start, limit), min(end, limit) + 1], np.uint32)
        low, high = base.searchsorted(keys)
        return base[low:high], max(start, limit + 1)

    def _list(self, start: int, end: int) -> NDArray[np.uint64]:
        kept, low = self._kept(start, end)
        # Packed, all segments are a small part of the result, and its exact size is known.
        packed = [(turn, _pack(slots)) for turn, slots in self._segments(low, end)]
        at = kept.size
        total = at + sum(int(np.bitwise_count(row).sum(dtype=np.int64)) for _, row in packed)
        found = np.empty(total, np.uint64)
        found[:at] = kept
        for turn, row in packed:
            for i in range(0, row.size, _UNPACKED):
                bits = np.unpackbits(row[i : i + _UNPACKED], bitorder="little").view(np.bool_)
                index = np.flatnonzero(bits)
                part = found[at : at + index.size]
                # "clip" writes straight to `out`; every index is in bounds.
                self._numbers.take(index, out=part, mode="clip")
                part += np.uint64(_WHEEL * (turn + i))
                at += index.size
        return found

    def _segments(self, low: int, high: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Yield (turn, slots): slots[i, j] is whether 30 * (turn + j) + residue i is prime.

        Covers [low, high], above the kept primes; the last column is no number's.
        The next step overwrites the slots.
        """
        if high < low:
            return
        turn, last = low // _WHEEL, high // _WHEEL
        most = min(_ROW if isqrt(high) <= _KEPT_LIMIT else _ROW_STREAMED, last - turn + 1)
        buffer = np.empty(8 * (most + 1), np.bool_)
        while turn <= last:
            n = min(most, last - turn + 1)
            slots = buffer[: 8 * (n + 1)].reshape(8, n + 1)
            self._fill(slots, turn)
            # A segment's root is far below its start, so no base prime strikes itself.
            for p in self._base_batches(isqrt(min(high, _WHEEL * (turn + n)))):
                strike(slots, p, _first_multiples(p, turn))
            for i, r in enumerate(_RESIDUES):
                slots[i, 0] &= _WHEEL * turn + r >= low
                slots[i, n - 1] &= _WHEEL * (turn + n - 1) + r <= high
            yield turn, slots
            turn += n

    def _fill(self, slots: NDArray[np.bool_], turn: int) -> None:
        """Set all slots but those of multiples of the pattern primes."""
        # 30 k + r = 30 * (k + r / 30) mod the period: one pattern serves every row, shifted.
        inverse = pow(_WHEEL, -1, _PATTERN_PERIOD)
        step = _PATTERN_REPEATS * _PATTERN_PERIOD
        for row, r in zip(slots, _RESIDUES, strict=True):
            phase = (turn + r * inverse) % _PATTERN_PERIOD
            for i in range(0, row.size, step):
                part = row[i : i + step]
                part[:] = self._pattern[phase : phase + part.size]

    def _base_batches(self, root: int) -> Iterator[NDArray[np.int64]]:
        """Yield the primes above the pattern's up to `root`, kept or sieved anew, in batches."""
        base, limit = self._base
        # 2, 3 and 5 are the wheel's.
        kept = base[3 + len(_PATTERN_PRIMES) : base.searchsorted(np.uint32(root), side="right")]
        for i in range(0, kept.size, _BATCH):
            yield kept[i : i + _BATCH].astype(np.int64)
        for low in range(limit + 1, root + 1, _STREAMED):
            streamed = self._list(low, min(root, low + _STREAMED - 1)).view(np.int64)
            for i in range(0, streamed.size, _BATCH):
                yield streamed[i : i + _BATCH]

    def __repr__(self) -> str:
        return f"<NumpyEngine {self.version}>"


def _is_narrow(start: int, end: int) -> bool:
    return (end - start) * _TESTING_RATIO < isqrt(end)


def _first_multiples(primes: NDArray[np.int64], turn: int) -> NDArray[np.int64]:
    """By residue and prime, the least j >= 0 with 30 * (turn + j) + r a multiple; shape (8, m).

    That is -(turn + r / 30) mod p: it falls by (r' - r) / 30 mod p from row to row.
    """
    inverse = (_INVERTERS[primes - primes // _WHEEL * _WHEEL] * primes + 1) // _WHEEL
    # Of x and x - p, of which one is negative and wraps round, the minimum is x mod p.
    p = primes.view(np.uint64)
    one = inverse.view(np.uint64)
    two = np.minimum(one + one, one + one - p)
    four = np.minimum(two + two, two + two - p)
    six = np.minimum(four + two, four + two - p)
    by_gap = {1: one, 2: two, 4: four, 6: six}
    first = np.empty((len(_RESIDUES), p.size), np.uint64)
    at, residue = p - np.uint64(turn) % p, 0
    for row, r in zip(first, _RESIDUES, strict=True):
        np.subtract(at, by_gap[r - residue], out=row)
        np.minimum(row, row + p, out=row)
        at, residue = row, r
    return first.view(np.int64)


def _pack(slots: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """One byte a turn, bit i for residue i; shape (n,) from (8, n + 1)."""
    bits = slots.view(np.uint8)[:, :-1]
    packed: NDArray[np.uint8] = bits[-1].copy()
    for row in bits[-2::-1]:
        # Doubling is vectorised, and three times as fast as a shift of each row.
        packed += packed
        packed |= row
    return packed
