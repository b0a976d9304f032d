"""What it costs to find the primes of a range, estimated before it is done.

Used to cut jobs into chunks of even work, to choose between sieving a range
and testing its numbers, and to choose the grid of a request. Estimates only:
no result depends on them.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from primesvc.sieve.range import Range

LIGHT_CALL_BYTES: Final = 32 * 2**20
"""Memory that nearly every call stays within; what a process that makes calls has anyway."""

WIDEST_CALL_BYTES: Final = 192 * 2**20
"""Memory that no piece of a grid takes more than, beyond that of a light call."""

PACK_S_PER_PRIME: Final = 4e-9
"""Seconds a prime to pack a list: differences, the narrowing of the type, the copy."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds for a range, interpolated between measured places on the line.

    `points` are `(number, seconds to set up, seconds a number)`, ascending in
    the number; between two of them the logarithms are interpolated.
    """

    points: tuple[tuple[float, float, float], ...]

    def _at(self, number: int) -> tuple[float, float]:
        right = bisect_right(self.points, (number, math.inf))
        if right == 0:
            return self.points[0][1:]
        if right == len(self.points):
            return self.points[-1][1:]
        (x0, setup0, rate0), (x1, setup1, rate1) = self.points[right - 1], self.points[right]
        share = math.log(number / x0) / math.log(x1 / x0)
        return (
            math.exp(math.log(setup0) * (1 - share) + math.log(setup1) * share),
            math.exp(math.log(rate0) * (1 - share) + math.log(rate1) * share),
        )

    def setup_s(self, number: int) -> float:
        """Seconds that a range at `number` costs however narrow it is."""
        return self._at(number)[0]

    def seconds(self, range_: Range, *, pack: bool) -> float:
        """Seconds to count the primes of the range, or with `pack` to list and pack them."""
        setup, rate = self._at(range_.end)
        if pack:
            rate += PACK_S_PER_PRIME / _log(range_.end)
        return setup + rate * range_.span


PRIMESIEVE: Final = CostModel(
    (
        (1e6, 5e-6, 0.07e-9),
        (1e8, 10e-6, 0.085e-9),
        (1e9, 20e-6, 0.11e-9),
        (1e10, 30e-6, 0.13e-9),
        (1e11, 90e-6, 0.15e-9),
        (1e12, 240e-6, 0.18e-9),
        (1e13, 0.7e-3, 0.24e-9),
        (1e14, 2.1e-3, 0.32e-9),
        (1e15, 6.5e-3, 0.46e-9),
        (1e16, 21e-3, 0.65e-9),
        (1e17, 68e-3, 1.25e-9),
        (1e18, 221e-3, 2.3e-9),
        (1.8e19, 1.0, 3.5e-9),
    )
)
"""libprimesieve 12.9, one core; see the table in `grid`."""

TESTING: Final = CostModel(
    (
        (1e9, 50e-6, 90e-9),
        (1e12, 50e-6, 96e-9),
        (1e14, 50e-6, 99e-9),
        (1e16, 50e-6, 102e-9),
        (1e18, 50e-6, 103e-9),
        (1.8e19, 50e-6, 116e-9),
    )
)
"""`narrow.primes_by_testing`, one core. So the crossover, below which testing
is cheaper than libprimesieve: ranges of 2,000 numbers at 10^12, 20,000 at 10^14,
200,000 at 10^16, 2.2 million at 10^18, 9 million at 2^64."""


def _log(number: int) -> float:
    return math.log(max(number, 3))


def expected_primes(range_: Range) -> float:
    """About how many primes the range holds: its span by the mean logarithm of its numbers.

    Within 1 % for wide ranges above 10^5 by the prime number theorem; narrow
    ones scatter by about the root of the figure.
    """
    start, end = range_.start, range_.end
    if start < end // 4:
        mean = (end * _log(end) - start * _log(start)) / (end - start) - 1
    else:
        # At most 0.07 above the mean; that itself is lost in rounding where a range is narrow.
        mean = _log((start + end) // 2)
    return range_.span / max(mean, 1.0)


def sieve_bytes(range_: Range, *, listed: bool) -> int:
    """About how much memory it takes at its peak to sieve the range, or also to list its primes.

    Measured for pieces of 2^28 numbers, MB to count | to list them: 3 | 94 at 2^44, 16 | 84
    at 10^15, 40 | 99 at 10^16, 66 | 146 at 10^18, 145 | 191 below 2^64 (libprimesieve 12.9;
    the NumPy engine takes 13 | 95 at 2^44, 107 | 130 at 10^16). Below 2^64 it is 41 to count
    2^24 numbers. What is allowed for here is a little more.
    """
    sieve = 2**24
    if range_.end > _LARGE_PRIMES_FROM:
        sieve = 40 * 2**20 + int(110 * 2**20 * min(range_.span / 2**28, 1))
    if not listed:
        return sieve
    # The list, and a gap of one or two bytes a prime.
    return sieve + 10 * int(expected_primes(range_))


_LARGE_PRIMES_FROM: Final = 2**50
"""Above, most of the primes that sieve have no multiple in a segment of the sieve, and are kept
in lists by where their next one is."""
