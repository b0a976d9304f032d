"""Text formats: what stands before, between and after the primes.

A format is plain data, small enough to travel to a worker with every call.
From a `Summary` alone follows the exact length of any run of primes in it.
"""

from dataclasses import dataclass
from typing import Final

from primesvc.sieve.packed import Summary


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How a list of primes is written: `prefix`, the primes with `separator` between, `suffix`."""

    name: str
    media_type: str
    prefix: bytes
    separator: bytes
    suffix: bytes

    def run_bytes(self, summary: Summary) -> int:
        """The length of a run of primes, each with its separator behind it."""
        return summary.digits + summary.count * len(self.separator)

    def total_bytes(self, summary: Summary) -> int:
        """The length of the whole text of these primes."""
        spare = len(self.separator) if summary.count else 0
        return len(self.prefix) + self.run_bytes(summary) - spare + len(self.suffix)


CONTRACT: Final = TextFormat(
    "contract", "application/json", prefix=b'"[', separator=b", ", suffix=b']"\n'
)
"""A JSON string that holds the list as Python's `str(list)` writes it, and a newline."""
