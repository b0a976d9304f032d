"""The text formats: decimal digits with something before, between and after them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.formats.base import Amount, Format
from primesvc.formats.decimal import encode_decimals
from primesvc.sieve.packed import Summary


@dataclass(frozen=True, slots=True)
class TextFormat(Format):
    """`prefix`, the primes as `before` digits `after` with `separator` between, `suffix`."""

    prefix: bytes = b""
    before: bytes = b""
    after: bytes = b""
    suffix: bytes = b""

    def head(self, total: Summary) -> bytes:
        """The prefix."""
        return self.prefix

    def tail(self) -> bytes:
        """The suffix."""
        return self.suffix

    def values_bytes(self, count: Amount, digits: Amount) -> Amount:
        """The digits and what stands around them."""
        return digits + count * (len(self.before) + len(self.after) + len(self.separator))

    def encode(self, primes: NDArray[np.uint64], out: NDArray[np.uint8]) -> int:
        """Write the primes, about 3 ns each."""
        return encode_decimals(primes, self.before, self.after + self.separator, out)


CONTRACT: Final = TextFormat(
    "contract", "application/json", "json", prefix=b'"[', separator=b", ", suffix=b']"\n'
)
"""A JSON string that holds the list as Python's `str(list)` writes it, and a newline."""

JSON: Final = TextFormat(
    "json", "application/json", "json", prefix=b"[", separator=b",", suffix=b"]\n"
)
"""A JSON array of numbers. Many readers alter numbers above 2^53: see `JSON_STRINGS`."""

JSON_STRINGS: Final = TextFormat(
    "json-strings", "application/json", "json",
    prefix=b"[", before=b'"', after=b'"', separator=b",", suffix=b"]\n",
)  # fmt: skip
"""A JSON array of strings, each a number in decimal."""

NDJSON: Final = TextFormat("ndjson", "application/x-ndjson", "ndjson", after=b"\n")
"""A JSON number a line."""

NDJSON_STRINGS: Final = TextFormat(
    "ndjson-strings", "application/x-ndjson", "ndjson", before=b'"', after=b'"\n'
)
"""A JSON string a line."""

TEXT: Final = TextFormat("text", "text/plain; charset=utf-8", "txt", after=b"\n")
"""A number a line, as `primesieve --print` writes them."""

CSV: Final = TextFormat(
    "csv", "text/csv; charset=utf-8; header=present", "csv", prefix=b"prime\n", after=b"\n"
)
"""One column, with the header `prime`. Lines end with LF alone, as every reader takes them."""
