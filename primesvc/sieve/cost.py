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

PACK_S_PER_PRIME: Final = 2.5e-9
"""Seconds a prime to pack a list: differences, the narrowing of the type, the copy."""

LONG_LIST: Final = 3e6
"""Primes from which a list takes fresh memory, by which each costs `FRESH_S_PER_PRIME` more."""

FRESH_S_PER_PRIME: Final = 5e-9


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds for a range, interpolated between measured places on the line.

    `points` are `(number, seconds to set up, seconds more if all primes that sieve have multiples
    in the range, seconds a number)`, ascending in the number; between two of them the
    logarithms of the second and of the last are interpolated.
    """

    points: tuple[tuple[float, float, float, float], ...]

    def _at(self, number: int) -> tuple[float, float, float]:
        right = bisect_right(self.points, (number, math.inf))
        if right == 0:
            return self.points[0][1:]
        if right == len(self.points):
            return self.points[-1][1:]
        (x0, setup0, entry0, rate0), (x1, setup1, entry1, rate1) = self.points[
            right - 1 : right + 1
        ]
        share = math.log(number / x0) / math.log(x1 / x0)
        return (
            setup0 * (setup1 / setup0) ** share,
            entry0 + (entry1 - entry0) * share,
            rate0 * (rate1 / rate0) ** share,
        )

    def setup_s(self, number: int) -> float:
        """Seconds that a range at `number` costs however narrow it is."""
        return self._at(number)[0]

    def seconds(self, range_: Range, *, pack: bool) -> float:
        """Seconds to count the primes of the range, or with `pack` to list and pack them."""
        span = range_.span
        setup, entry, rate = self._at(range_.end)
        seconds = setup + rate * span
        if entry:
            # Of the primes p up to the root, min(1, span / p) have a multiple in the range: so
            # large a share of all, were they as dense everywhere. An odd one, hence the 2.
            share = min(2 * span / math.sqrt(range_.end), 1.0)
            seconds += entry * share * (1 - math.log(share))
        if pack:
            primes = span / _log(range_.end)
            seconds += primes * PACK_S_PER_PRIME
            seconds += max(primes - LONG_LIST, 0.0) * FRESH_S_PER_PRIME
        return seconds


PRIMESIEVE: Final = CostModel(
    (
        (1e6, 12e-6, 0.0, 0.04e-9),
        (1e8, 25e-6, 10e-6, 0.072e-9),
        (1e9, 35e-6, 20e-6, 0.095e-9),
        (1e10, 65e-6, 80e-6, 0.105e-9),
        (1e11, 0.1e-3, 0.2e-3, 0.125e-9),
        (1e12, 0.24e-3, 0.65e-3, 0.155e-9),
        (1e13, 0.7e-3, 2.0e-3, 0.2e-9),
        (1e14, 2.2e-3, 5.8e-3, 0.26e-9),
        (1e15, 6.5e-3, 17e-3, 0.31e-9),
        (1e16, 21e-3, 40e-3, 0.4e-9),
        (1e17, 70e-3, 80e-3, 0.65e-9),
        (1e18, 225e-3, 70e-3, 1.7e-9),
        (1.8e19, 1.0, 20e-3, 2.8e-9),
    )
)
"""libprimesieve 12.9, one core, ranges of 2^10 to 2^28 numbers: within 30 %. See also the table
in `grid`."""

TESTING: Final = CostModel(
    (
        (1e9, 80e-6, 0.0, 90e-9),
        (1e12, 80e-6, 0.0, 96e-9),
        (1e14, 80e-6, 0.0, 99e-9),
        (1e16, 80e-6, 0.0, 102e-9),
        (1e18, 80e-6, 0.0, 105e-9),
        (1.8e19, 80e-6, 0.0, 116e-9),
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
