"""The n-th prime: about where it is, and which one it is within a range."""

import math
from typing import Final

import gmpy2

from primesvc.sieve.engine import Engine, count_primes, list_primes
from primesvc.sieve.range import MAX_NUMBER, Range

_LISTED_SPAN: Final = 2**20
"""Numbers that are listed instead of counted first."""

_LISTED_SPARE: Final = 500
"""Numbers that are listed beyond those expected: a few gaps."""

_TERMS: Final = ((1, 1), (2, -1), (3, -1), (5, -1), (6, 1), (7, -1), (10, 1), (11, -1), (13, -1))
"""The first numbers at which the Möbius function is not 0, with its values."""

_PRECISION: Final = 128
"""Bits to reckon with: 64 for the number, the rest for what is lost."""


def expected_pi(number: int) -> float:
    """About how many primes there are up to the number, by Riemann's R function.

    Off by less than the root of the number up to 2^64; 10^-6 of it at 10^12.
    """
    if number < 2:
        return 0.0
    with gmpy2.context(precision=_PRECISION):
        logarithm = gmpy2.log(gmpy2.mpfr(number))
        # li(x^(1/k)) of the first terms is all that counts; below 2 li falls without bound.
        terms = (sign * gmpy2.eint(logarithm / k) / k for k, sign in _TERMS if logarithm / k > 0.69)
        return max(float(sum(terms)), 0.0)


def expected_prime(index: float) -> int:
    """About where the prime of this index is, from 0 to 2^64 - 1: the inverse of `expected_pi`."""
    if index < 6:
        return int(max(index, 0) * 2.5)
    number = index * math.log(index)
    for _ in range(20):
        error = index - expected_pi(int(number))
        step = error * math.log(max(number, 3))
        number = min(max(number + step, 2.0), float(MAX_NUMBER - 2048))
        if abs(step) <= max(1.0, number * 1e-15):
            break
    return int(number)


def find_nth(engine: Engine, range_: Range, n: int) -> tuple[int, int | None]:
    """The n-th prime of the closed range, for a negative n from its end downwards.

    And how many primes were counted on the way there; if the range holds fewer than n, that is
    all of them, and the prime is None.
    """
    passed, left, upwards = 0, abs(n), n > 0
    while True:
        gap = math.log(max(range_.start if upwards else range_.end, 3))
        # Nearly as far as the prime is expected, and then so little that it may be listed.
        width = int((left - 4 * math.sqrt(left)) * gap)
        listed = width <= _LISTED_SPAN
        if listed:
            width = int(left * gap * 1.2) + _LISTED_SPARE
        near, far = _split(range_, width, upwards=upwards)
        primes = list_primes(engine, near) if listed else None
        count = count_primes(engine, near) if primes is None else len(primes)
        if count < left:
            passed, left = passed + count, left - count
            if far is None:
                return passed, None
            range_ = far
        elif primes is not None:
            return abs(n), int(primes[left - 1] if upwards else primes[-left])
        else:
            # A little too far: back from there.
            left, upwards, range_ = count - left + 1, not upwards, near


def _split(range_: Range, width: int, *, upwards: bool) -> tuple[Range, Range | None]:
    """The part of the range so wide at its near end, and the rest if there is one."""
    if width >= range_.span:
        return range_, None
    if upwards:
        cut = range_.start + width
        return Range(range_.start, cut - 1), Range(cut, range_.end)
    cut = range_.end - width
    return Range(cut + 1, range_.end), Range(range_.start, cut)
