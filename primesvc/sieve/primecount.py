"""libprimecount through ctypes: how many primes there are up to a number, without sieving them.

https://github.com/kimwalisch/primecount, C API in `primecount.h`; see `libraries` for where
it is found. A call cannot be interrupted: to end it, its process has to be ended.
"""

import ctypes
import math
from bisect import bisect_right
from functools import cache
from typing import Final

from primesvc.errors import EngineFailed, EngineUnavailable
from primesvc.sieve.libraries import load_library
from primesvc.sieve.range import MAX_NUMBER

PRIMES_BELOW_2_64: Final = 425_656_284_035_217_743
"""π(2^64 - 1) (OEIS A007053)."""

MAX_INT64: Final = 2**63 - 1

_ONE_THREAD_BELOW: Final = 10**12
"""Up to there π takes 15 ms, less than several threads may cost to start."""

_PI_S: Final = (
    (1e6, 8e-6),
    (1e8, 75e-6),
    (1e9, 0.3e-3),
    (1e10, 1.2e-3),
    (1e11, 5e-3),
    (1e12, 15e-3),
    (1e13, 55e-3),
    (1e14, 0.23),
    (1e15, 0.91),
    (1e16, 3.8),
    (1e17, 15.5),
    (1e18, 64.0),
    (1.8e19, 420.0),
)
"""The number, and the seconds that π of it takes one core; two take half as long. libprimecount
7.19, measured up to 10^17; beyond, continued by the factor of 4.1 for each power of ten."""


def pi_s(number: int) -> float:
    """About how many seconds one core needs for π of a number from 0 to 2^64 - 1."""
    right = min(max(bisect_right(_PI_S, (float(number),)), 1), len(_PI_S) - 1)
    (x0, seconds0), (x1, seconds1) = _PI_S[right - 1], _PI_S[right]
    share = math.log(max(number, x0) / x0) / math.log(x1 / x0)
    return math.exp(math.log(seconds0) * (1 - share) + math.log(seconds1) * share)


class Primecount:
    """Counts with libprimecount; ctypes releases the GIL meanwhile.

    Raises `EngineUnavailable` where the library cannot be loaded.
    """

    name: Final = "primecount"

    def __init__(self) -> None:
        library = load_library(self.name)
        library.primecount_pi.restype = ctypes.c_int64
        library.primecount_pi.argtypes = [ctypes.c_int64]
        library.primecount_pi_str.restype = ctypes.c_int
        library.primecount_pi_str.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
        library.primecount_set_num_threads.restype = None
        library.primecount_set_num_threads.argtypes = [ctypes.c_int]
        library.primecount_version.restype = ctypes.c_char_p
        library.primecount_version.argtypes = []
        self._library = library
        self.version: str = library.primecount_version().decode()

    def pi(self, number: int, *, threads: int = 1) -> int:
        """How many primes there are up to the number, on so many threads; fewer where it is small.

        Raises `TypeError` and `ValueError` for what is no whole number from 0 to 2^64 - 1, and
        `EngineFailed`.
        """
        if type(number) is not int or type(threads) is not int:
            raise TypeError("pi takes whole numbers")
        if not 0 <= number <= MAX_NUMBER or threads < 1:
            raise ValueError(f"no π of {number} on {threads} threads")
        # The setting is process-wide: a process makes one call at a time.
        threads = 1 if number < _ONE_THREAD_BELOW else threads
        self._library.primecount_set_num_threads(threads)
        found = self._pi_int64(number) if number <= MAX_INT64 else self._pi_text(number)
        if found < 0:
            raise EngineFailed(f"libprimecount could not count the primes up to {number}")
        return found

    def _pi_int64(self, number: int) -> int:
        found: int = self._library.primecount_pi(number)
        return found

    def _pi_text(self, number: int) -> int:
        answer = ctypes.create_string_buffer(32)
        if self._library.primecount_pi_str(b"%d" % number, answer, len(answer)) < 0:
            return -1
        return int(answer.value)

    def __repr__(self) -> str:
        return f"<Primecount {self.version}>"


@cache
def find_primecount() -> Primecount | None:
    """The one of this process, None where the library cannot be loaded."""
    try:
        return Primecount()
    except EngineUnavailable:
        return None
