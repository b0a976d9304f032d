"""Primes of a narrow range anywhere below 2^64: strike small multiples, then test what is left.

A sieve up to x needs the primes up to sqrt(x), 2 * 10^8 of them at the top of the line, however
narrow the range. Here only primes up to a fixed bound strike, and a primality test decides about
the few numbers that survive, so the cost follows the width of the range alone.

The test is Baillie-PSW: a strong probable prime test to base 2, then a strong Lucas test with
Selfridge's parameters. It is exact below 2^64: of the 118,968,378 base-2 pseudoprimes there,
computed by J. Feitsma and edited by W. Galway
(https://www.cecm.sfu.ca/Pseudoprimes/index-2-to-64.html), none passes the Lucas test (R. Baillie,
A. Fiori, S. S. Wagstaff Jr., "Strengthening the Baillie-PSW primality test", Math. Comp. 90,
2021). `gmpy2.is_prime(n, reps)` is GMP's `mpz_probab_prime_p`, which from GMP 6.2 on does trial
division, Baillie-PSW, then reps - 24 Miller-Rabin rounds (GMP manual, "Number Theoretic
Functions"; source in mpz/millerrabin.c and mpz/stronglucas.c). gmpy2's wheels carry GMP 6.3.
"""

from collections.abc import Iterator
from functools import cache
from itertools import repeat
from math import isqrt, prod
from typing import Final

import gmpy2
import numpy as np
from numpy.typing import NDArray

SMALL_LIMIT: Final = 1 << 20
"""Largest number decided by a table, and the largest that strikes. Numbers.

Windows of 2^16 and 2^20 below 2^64 cost the same with 2^18 to 2^22: what deeper
striking saves in tests it spends on striking. The table is built in 2 ms, on
first use.
"""

# Numbers, half as many slots: at 2^19 bytes a block stays in a 1 MiB level 2 cache.
_BLOCK: Final = 1 << 20

# Striking primes reach this many times the width of the window. At widths of 2^10 to 2^16 below
# 2^64, 1 to 4 cost the same and 16 up to a fifth more.
_DEPTH_PER_NUMBER: Final = 4

# GMP's reps: 24 is Baillie-PSW alone. The default, 25, adds a Miller-Rabin round above 2 * 10^15
# that can find nothing, 0.7 of 5.2 us a prime.
_BPSW_ALONE: Final = 24

_PATTERN_PRIMES: Final = (3, 5, 7, 11, 13)
_PATTERN_PERIOD: Final = prod(_PATTERN_PRIMES)

# Multiples in a row from which one strided assignment a prime beats indexing: 0.2 us a prime and
# 0.8 ns a multiple against 3.5 ns. 48 to 96 cost the same.
_SLICE_MULTIPLES: Final = 64

# Indices built at a time, 8 bytes each. 2^14 to 2^16 cost the same; the arrays of 2^17 fall out of
# the level 2 cache and cost up to twice as much.
_INDICES: Final = 1 << 15


def primes_by_testing(start: int, end: int) -> NDArray[np.uint64]:
    """Return the primes of the closed range [start, end], ascending, shape (n,).

    Exact for 0 <= start, end <= 2^64 - 1; empty if end < start. Above 2^20 it
    costs 90 ns a number at 10^9, 103 ns at 10^16 and 116 ns below 2^64, most of
    it tests, and 0.05 ms a call: 2.0 ms for 2^14 numbers below 2^64, 7.7 ms for
    2^16, on one core. Besides the result, held
    twice while it is joined, memory is a few MB whatever the width.
    """
    return np.concatenate([np.empty(0, np.uint64), *_parts(start, end)])


def count_by_testing(start: int, end: int) -> int:
    """Count the primes of the closed range [start, end], at the cost of `primes_by_testing`."""
    return sum(part.size for part in _parts(start, end))


def are_prime(numbers: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each of the numbers, shape (n,), is a prime. Up to 5 µs a number."""
    verdicts = map(gmpy2.is_prime, numbers.tolist(), repeat(_BPSW_ALONE))
    return np.fromiter(verdicts, np.bool_, numbers.size)


def is_prime(number: int) -> bool:
    """Whether a number from 0 to 2^64 - 1 is a prime."""
    return bool(gmpy2.is_prime(number, _BPSW_ALONE))


@cache
def small_primes() -> NDArray[np.int64]:
    """Return the primes up to `SMALL_LIMIT`, ascending, shape (82025,), read-only."""
    odd = np.ones(SMALL_LIMIT // 2, np.bool_)
    odd[0] = False
    for i in range(1, isqrt(SMALL_LIMIT) // 2 + 1):
        if odd[i]:
            odd[2 * i * (i + 1) :: 2 * i + 1] = False
    primes = np.concatenate([np.array([2]), np.flatnonzero(odd) * 2 + 1])
    primes.flags.writeable = False
    return primes


def strike(slots: NDArray[np.bool_], primes: NDArray[np.int64], first: NDArray[np.int64]) -> None:
    """Clear every slot `first[r, i] + k * primes[i]` of row r, for all k >= 0.

    `slots` is contiguous, shape (rows, n + 1): the last of a row is a spare
    that may be cleared too, where indices beyond the row land. `primes`, shape
    (m,), ascend; `first`, shape (rows, m), holds slots, 0 <= first < primes.
    """
    rows, n = slots.shape[0], slots.shape[1] - 1
    flat = slots.reshape(-1)
    row_starts = np.arange(rows) * (n + 1)

    done = int(primes.searchsorted(n // _SLICE_MULTIPLES))
    sliced = primes[:done].tolist()
    for row, indices in zip(slots, first[:, :done].tolist(), strict=True):
        for p, i in zip(sliced, indices, strict=True):
            row[i:n:p] = False

    once = int(primes.searchsorted(n))
    while done < once:
        # The smallest prime sets how many multiples all of a batch get, so none may be twice it.
        p = int(primes[done])
        multiples = (n - 1) // p + 1
        most = max(1, _INDICES // (multiples * rows))
        batch = slice(done, min(once, done + most, int(primes.searchsorted(2 * p))))
        index = first[:, None, batch] + np.arange(multiples)[:, None] * primes[batch]
        np.minimum(index, n, out=index)
        index += row_starts[:, None, None]
        flat[index.reshape(-1)] = False
        done = batch.stop

    # Primes of n and more hit a row once or, most of them, never.
    rest = first[:, once:].reshape(-1)
    hit = np.flatnonzero(rest < n)
    flat[rest[hit] + hit // max(1, primes.size - once) * (n + 1)] = False


@cache
def _pattern() -> NDArray[np.bool_]:
    """Mark the odd numbers from 1 on that no pattern prime divides, a block from any phase."""
    period = np.ones(_PATTERN_PERIOD, np.bool_)
    for p in _PATTERN_PRIMES:
        period[p // 2 :: p] = False
    pattern = np.resize(period, _PATTERN_PERIOD + _BLOCK // 2 + 1)
    pattern.flags.writeable = False
    return pattern


def _parts(start: int, end: int) -> Iterator[NDArray[np.uint64]]:
    if start <= min(end, SMALL_LIMIT):
        small = small_primes()
        low, high = small.searchsorted([start, min(end, SMALL_LIMIT) + 1])
        yield small[low:high].astype(np.uint64)
    # Above the table no number is itself a striking prime.
    for low in range(max(start, SMALL_LIMIT + 1), end + 1, _BLOCK):
        yield _tested(low | 1, min(end, low + _BLOCK - 1))


def _tested(first: int, last: int) -> NDArray[np.uint64]:
    """Return the primes of [first, last]: first odd and above the table, at most a block."""
    n = (last - first) // 2 + 1
    phase = first // 2 % _PATTERN_PERIOD
    slots = _pattern()[None, phase : phase + n + 1].copy()

    depth = min(SMALL_LIMIT, isqrt(last), _DEPTH_PER_NUMBER * 2 * n)
    primes = small_primes()
    primes = primes[len(_PATTERN_PRIMES) + 1 : primes.searchsorted(depth, side="right")]
    # Counted from first - 2, the next odd multiple of p is never at distance 0.
    ahead = primes - (np.uint64(first - 2) % primes.view(np.uint64)).view(np.int64)
    ahead += primes * (ahead & 1)
    strike(slots, primes, ((ahead >> 1) - 1)[None, :])

    left = np.flatnonzero(slots[0, :n]).astype(np.uint64) * np.uint64(2) + np.uint64(first)
    return left[are_prime(left)]
