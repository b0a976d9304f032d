"""One number: whether it is a prime, its factors, its neighbours among the primes, its index.

Factors up to 2^20 are found by division. What is left has three more at the
most, all large: FLINT takes a third of a millisecond to find them, 1.1 at the
worst (`python-flint` 0.9: a wheel of 10 MB, none for musl, so an extra); without
it Pollard's rho takes 20 ms for a product of two primes of 32 bits, 45 at the worst.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import count
from math import gcd, isqrt
from typing import Final

import numpy as np

from primesvc.numbers import NumberFacts
from primesvc.sieve.engine import Engine
from primesvc.sieve.narrow import is_prime, primes_by_testing, small_primes
from primesvc.sieve.range import MAX_NUMBER

MAX_GAP: Final = 1550
"""The largest gap between primes below 2^64, after 18361375334787046697.

T. Oliveira e Silva and others, https://oeis.org/A005250 and https://oeis.org/A002386.
"""

INDEX_LIMIT: Final = 10**7
"""Up to here the primes are counted for the index: that takes libprimesieve a millisecond."""

# Steps of rho between two greatest common divisors, of which each costs as much as ten steps.
_BATCH: Final = 128


def examine(engine: Engine, number: int) -> NumberFacts:
    """All there is to say of a number from 0 to 2^64 - 1, in milliseconds."""
    return NumberFacts(
        number=number,
        is_prime=is_prime(number),
        factors=factors(number),
        previous=previous_prime(number),
        next=next_prime(number),
        index=index_of(engine, number),
    )


def previous_prime(number: int) -> int | None:
    """The largest prime below the number, None if there is none."""
    below = primes_by_testing(max(number - MAX_GAP, 0), number - 1)
    return int(below[-1]) if below.size else None


def next_prime(number: int) -> int | None:
    """The smallest prime above the number, None if there is none below 2^64."""
    above = primes_by_testing(number + 1, min(number + MAX_GAP, MAX_NUMBER))
    return int(above[0]) if above.size else None


def index_of(engine: Engine, number: int) -> int | None:
    """How many primes there are up to the number, None where it takes long to count them."""
    return engine.count(0, number) if number <= INDEX_LIMIT else None


def factors(number: int) -> tuple[tuple[int, int], ...]:
    """The prime factors of a number below 2^64, `(prime, exponent)`, ascending; none of 0 and 1."""
    if number < 2:
        return ()
    found: Counter[int] = Counter()
    small = small_primes().view(np.uint64)
    for prime in small[np.uint64(number) % small == 0].tolist():
        while number % prime == 0:
            found[prime] += 1
            number //= prime
    found.update(large_splitter()(number))
    return tuple(sorted(found.items()))


def split(number: int) -> list[int]:
    """The prime factors of a number below 2^64 that has no small ones, by Pollard's rho."""
    if number == 1:
        return []
    if is_prime(number):
        return [number]
    divisor = isqrt(number)  # of a square rho may find nothing
    if divisor**2 != number:
        divisor = next(d for c in count(1) if (d := _rho(number, c)) != number)
    return split(divisor) + split(number // divisor)


def _rho(number: int, c: int) -> int:
    """A divisor above 1, which may be the number itself (R. P. Brent, BIT 20, 1980)."""
    y, product, divisor, length = 2, 1, 1, 1
    while divisor == 1:
        x = y
        for _ in range(length):
            y = (y * y + c) % number
        for done in range(0, length, _BATCH):
            begin = y
            for _ in range(min(_BATCH, length - done)):
                y = (y * y + c) % number
                product = product * (x - y) % number
            divisor = gcd(product, number)
            if divisor != 1:
                break
        length *= 2
    if divisor == number:  # both factors came up in one batch: look again, step by step
        divisor = 1
        while divisor == 1:
            begin = (begin * begin + c) % number
            divisor = gcd(x - begin, number)
    return divisor


@cache
def large_splitter() -> Callable[[int], list[int]]:
    """What does as `split` does: FLINT, where it is installed."""
    try:
        from flint import fmpz
    except ImportError:
        return split
    return lambda number: [int(p) for p, power in fmpz(number).factor() for _ in range(power)]
