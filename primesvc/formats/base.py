"""What a format is: from a summary alone it says how long its file is and how it begins.

A file is `head`, then for every segment that holds a prime its `piece_head`
and its values, then `tail`. Behind the very last value `spare` bytes are left
out: a separator stands between values only.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from primesvc.sieve.packed import Summary

Amount = TypeVar("Amount", int, NDArray[np.int64])


@dataclass(frozen=True, slots=True)
class Format(ABC):
    """How primes are written. Plain data, small enough to travel to a worker with every call."""

    name: str
    """How a query parameter calls it."""
    media_type: str
    """The value of `Content-Type`."""
    extension: str
    """The ending of a file name."""
    separator: bytes = b""
    """What is written behind every value but the last of the file."""

    @property
    def spare(self) -> int:
        """The length of the separator: none follows the last value."""
        return len(self.separator)

    @abstractmethod
    def head(self, total: Summary) -> bytes:
        """How a file of these primes begins."""

    def tail(self) -> bytes:
        """How a file ends."""
        return b""

    def piece_head(self, count: int) -> bytes:
        """What stands before the values of a segment with `count` primes; always equally long."""
        return b""

    @abstractmethod
    def values_bytes(self, count: Amount, digits: Amount) -> Amount:
        """The length of so many values of so many digits together, `spare` behind each.

        Of one run of values, or of many at once in arrays of shape (n,).
        """

    @abstractmethod
    def encode(self, primes: NDArray[np.uint64], out: NDArray[np.uint8]) -> int:
        """Write the values, `spare` behind each, to `out`; return how many bytes that took.

        Raises `ValueError` if `out` is too small, and then writes nothing.
        """


def total_bytes(format_: Format, total: Summary) -> int:
    """The length of a file whose primes all lie in one segment."""
    body = format_.values_bytes(total.count, total.digits)
    if total.count:
        body += len(format_.piece_head(total.count)) - format_.spare
    return len(format_.head(total)) + body + len(format_.tail())


def whole_body(format_: Format, total: Summary, primes: NDArray[np.uint64]) -> bytes:
    """The file of a few primes that all lie in one segment; `total` is their summary."""
    if not total.count:
        return format_.head(total) + format_.tail()
    buffer = np.empty(format_.values_bytes(total.count, total.digits), np.uint8)
    format_.encode(primes, buffer)
    values = buffer.tobytes()[: len(buffer) - format_.spare]
    return b"".join((format_.head(total), format_.piece_head(total.count), values, format_.tail()))
