"""What the worker of the Flask + RQ + Redis service runs.

Imports next to nothing: RQ forks a process a job, and each imports this anew.
"""

from math import isqrt


def find_primes(start: int, end: int) -> str:
    """The primes of the closed range as Python writes a list; for narrow ranges below 10^9."""
    sieve = bytearray(b"\1") * (end - start + 1)
    for p in _small_primes(isqrt(end)):
        first = max(p * p, -(-start // p) * p) - start
        sieve[first::p] = bytes(len(range(first, len(sieve), p)))
    return str([n for n in range(max(start, 2), end + 1) if sieve[n - start]])


def _small_primes(limit: int) -> list[int]:
    sieve = bytearray(b"\1") * (limit + 1)
    for p in range(2, isqrt(limit) + 1):
        if sieve[p]:
            sieve[p * p :: p] = bytes(len(range(p * p, limit + 1, p)))
    return [p for p in range(2, limit + 1) if sieve[p]]
