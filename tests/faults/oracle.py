"""What results must be, found without primesvc: a plain sieve, and files as others read them."""

import io
import json
import math
from functools import lru_cache

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no stubs
from numpy.typing import NDArray

Values = NDArray[np.int64]

FORMATS = ("json", "ndjson", "text", "csv", "npy", "arrow")


@lru_cache(maxsize=1)
def _base() -> Values:
    """The primes up to a million: with them one can sieve up to 10^12."""
    flags = np.ones(10**6 + 1, bool)
    flags[:2] = False
    for n in range(2, 1001):
        if flags[n]:
            flags[n * n :: n] = False
    return np.flatnonzero(flags)


def primes(start: int, end: int) -> Values:
    """The primes of the closed range up to 10^12, by the sieve of Eratosthenes."""
    flags = np.ones(end - start + 1, bool)
    flags[: max(0, 2 - start)] = False
    for prime in _base()[: np.searchsorted(_base(), math.isqrt(end), "right")].tolist():
        flags[max(prime * prime, -(-start // prime) * prime) - start :: prime] = False
    return np.flatnonzero(flags) + start


def text(format_: str, values: Values) -> bytes:
    """The file with these values in a text format."""
    words = [str(value) for value in values.tolist()]
    if format_ == "json":
        return f"[{','.join(words)}]\n".encode()
    head = "prime\n" if format_ == "csv" else ""
    return "".join([head, *(f"{word}\n" for word in words)]).encode()


def holds(format_: str, file: bytes, values: Values) -> bool:
    """Whether a file has these values, and nothing else, in its format."""
    if format_ == "npy":
        return np.array_equal(np.load(io.BytesIO(file)), values)
    if format_ == "arrow":
        column = pa.ipc.open_stream(file).read_all().column(0)
        return np.array_equal(column.to_numpy(), values)
    if format_ == "json":
        assert json.loads(file) == values.tolist()
    return file == text(format_, values)
