"""What a format is: from a summary alone it says how long its file is and how it begins.

A file is `head`, then for every segment that holds a prime its `piece_head`
and its values, then `tail`. Behind the very last value `spare` bytes are left
out: a separator stands between values only.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from primesvc.sieve.packed import Summary


class Format(Protocol):
    """How primes are written. Plain data, small enough to travel to a worker with every call."""

    @property
    def name(self) -> str:
        """How a query parameter calls it."""

    @property
    def media_type(self) -> str:
        """The value of `Content-Type`."""

    @property
    def extension(self) -> str:
        """The ending of a file name."""

    @property
    def spare(self) -> int:
        """Bytes written behind every value but the last of the file."""

    def value_bytes(self, digits: int) -> int:
        """The length of one value of so many digits, `spare` behind it."""

    def head(self, total: Summary) -> bytes:
        """How a file of these primes begins."""

    def tail(self) -> bytes:
        """How a file ends."""

    def piece_head(self, count: int) -> bytes:
        """What stands before the values of a segment with `count` primes; always equally long."""

    def piece_bytes(
        self, counts: NDArray[np.int64], digits: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The length of the values of each piece, `spare` behind each."""

    def values_bytes(self, count: int, digits: int) -> int:
        """The length of a run of values, `spare` behind each."""

    def encode(self, primes: NDArray[np.uint64], out: NDArray[np.uint8]) -> int:
        """Write the values, `spare` behind each, to `out`; return how many bytes that took."""


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
