"""What is known of the primes up to powers of ten: a fast wrong answer is no answer."""

from itertools import pairwise
from typing import Final

PI: Final = (
    0, 4, 25, 168, 1229, 9592, 78498, 664579, 5761455, 50847534, 455052511, 4118054813,
    37607912018, 346065536839, 3204941750802, 29844570422669,
)  # fmt: skip
"""How many primes there are up to 10^0, 10^1, ... 10^15 (https://oeis.org/A006880)."""


def contract_bytes(exponent: int) -> int:
    """The length of the primes up to 10^exponent in the contract's form, its newline included."""
    counts = PI[: exponent + 1]
    digits = sum(k * (high - low) for k, (low, high) in enumerate(pairwise(counts), start=1))
    return digits + 2 * (counts[-1] - 1) + len('"[]"\n')
