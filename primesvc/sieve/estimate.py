"""How many primes a range holds and how long they are as text, estimated without any work.

By the logarithmic integral, which is off by less than the root of the end of
the range: 0.01 % at 10^10 (Schoenfeld 1976 proves it under the Riemann
hypothesis).
"""

import gmpy2

from primesvc.sieve.packed import Summary
from primesvc.sieve.range import Range
from primesvc.sieve.selection import ALL, Selection


def estimate(range_: Range, selection: Selection = ALL) -> Summary:
    """About how many such primes the range holds, and how many digits they have together."""

    def count(part: Range) -> int:
        # By the middle of the range: most of a wide one has nearly the same logarithms.
        share = selection.share((part.start + part.end) // 2) if selection else 1.0
        return round(max(_li(part.end) - _li(part.start - 1), 0.0) * share)

    return Summary.of(range_, count)


def _li(number: int) -> float:
    """The logarithmic integral from 2 to the number, 0 below 2."""
    if number < 2:
        return 0.0
    with gmpy2.context(precision=100):
        offset = gmpy2.eint(gmpy2.log(gmpy2.mpfr(2)))
        return float(gmpy2.eint(gmpy2.log(gmpy2.mpfr(number))) - offset)
