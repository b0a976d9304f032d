"""What is known about primes without primesvc: published counts, and GMP's next prime."""

from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import Any

import gmpy2

PI_OF_POWERS = (
    0, 4, 25, 168, 1229, 9592, 78498, 664579, 5761455, 50847534, 455052511, 4118054813,
    37607912018, 346065536839, 3204941750802, 29844570422669, 279238341033925,
    2623557157654233, 24739954287740860, 234057667276344607,
)  # fmt: skip
"""How many primes there are up to 10^0, 10^1, ... 10^19: https://oeis.org/A006880."""


def primes_between(start: int, end: int) -> list[int]:
    """The primes of the closed range, one by one; about 10 µs each."""
    primes = []
    prime = int(gmpy2.next_prime(start - 1))
    while prime <= end:
        primes.append(prime)
        prime = int(gmpy2.next_prime(prime))
    return primes


def statistics_of(start: int, end: int, modulus: int, bins: int) -> dict[str, Any]:
    """The result of a job of the kind `statistics`, from one prime to the next."""
    return statistics_from(primes_between(start, end), start, end, modulus, bins)


def statistics_from(
    primes: list[int], start: int, end: int, modulus: int, bins: int
) -> dict[str, Any]:
    """The same of the primes that a range has."""
    known = set(primes)
    neighbours = list(pairwise(primes))
    edges = [min(start + i * (end - start + 1) // bins, end) for i in range(bins + 1)]
    # Of the bins that begin at the same number the last one holds it.
    bin_of = {p: bisect_right(edges, p, hi=bins) - 1 for p in primes}
    gaps = Counter(after - before for before, after in neighbours)
    classes = sorted({p % modulus for p in primes})
    pairs = Counter((before % modulus, after % modulus) for before, after in neighbours)
    largest = max(neighbours, key=lambda pair: pair[1] - pair[0], default=None)
    patterns = {
        name: Counter(bin_of[p] for p in primes if p + distance in known)
        for name, distance in (("twins", 2), ("cousins", 4), ("sexy", 6))
    }
    residues = Counter((p % modulus, bin_of[p]) for p in primes)
    counts = Counter(bin_of.values())
    return {
        "count": len(primes),
        "first": primes[0] if primes else None,
        "last": primes[-1] if primes else None,
        "bins": {"edges": edges, "counts": [counts[i] for i in range(bins)]},
        "gaps": [[gap, gaps[gap]] for gap in sorted(gaps)],
        "largest_gap": largest and {"gap": largest[1] - largest[0], "after": largest[0]},
        "residues": {
            "modulus": modulus,
            "classes": classes,
            "counts": [sum(p % modulus == c for p in primes) for c in classes],
            "by_bin": [[residues[c, i] for i in range(bins)] for c in classes],
        },
        "pairs": [[pairs[a, b] for b in classes] for a in classes],
        "patterns": {
            name: {"count": found.total(), "by_bin": [found[i] for i in range(bins)]}
            for name, found in patterns.items()
        },
    }
