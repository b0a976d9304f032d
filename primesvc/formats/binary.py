"""The binary formats: eight little-endian bytes a prime, framed for NumPy or Arrow."""

import io
import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.formats.base import Amount, Format
from primesvc.sieve.packed import Summary

_ITEM: Final = 8
"""Bytes a prime: uint64."""


class _BinaryFormat(Format):
    """Eight little-endian bytes a prime."""

    def values_bytes(self, count: Amount, digits: Amount) -> Amount:
        """Eight bytes a prime."""
        return count * _ITEM

    def encode(self, primes: NDArray[np.uint64], out: NDArray[np.uint8]) -> int:
        """Write the primes."""
        size = len(primes) * _ITEM
        if size > len(out):
            raise ValueError(f"the primes take {size} bytes, the buffer has {len(out)}")
        out[:size] = np.ascontiguousarray(primes, "<u8").view(np.uint8)
        return size


class NpyFormat(_BinaryFormat):
    """NumPy's `.npy`, version 1.0: a one-dimensional `<u8` array, for `numpy.load`.

    https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """

    def head(self, total: Summary) -> bytes:
        """Magic, version, and the header padded so that the data begins at byte 128."""
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<u8", "fortran_order": False, "shape": (total.count,)}
        )
        return file.getvalue()


_SCHEMA: Final = bytes.fromhex(
    "ffffffff780000001000000000000a000c000600050008000a00000000010400"
    "0c00000008000800000004000800000004000000010000001400000010001400"
    "0800000007000c00000010001000000000000002100000001c00000004000000"
    "00000000050000007072696d6500060008000400060000004000000000000000"
)
"""The message for a schema with one field, `prime: uint64 not null`."""

_BATCH: Final = bytes.fromhex(
    "ffffffff8800000014000000000000000c0016000600050008000c000c000000"
    "0003040018000000000000000000000000000a0018000c00040008000a000000"
    "3c00000010000000000000000000000000000000020000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000001000000"
    "00000000000000000000000000000000"
)
"""The message for a record batch of that schema, its four lengths zero."""

_BODY_LENGTHS: Final = (40, 112)
"""Where in `_BATCH` the length of the body, and of its only buffer, stands (int64)."""

_ROW_COUNTS: Final = (72, 128)
"""Where the rows of the batch, and of its only column, stand (int64)."""

_END: Final = bytes.fromhex("ffffffff00000000")
"""The end of a stream."""


class ArrowFormat(_BinaryFormat):
    """Arrow's IPC streaming format, one record batch a segment, for `pyarrow.ipc.open_stream`.

    The messages differ in four numbers only, so they need no Arrow library:
    https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
    """

    def head(self, total: Summary) -> bytes:
        """The schema."""
        return _SCHEMA

    def tail(self) -> bytes:
        """The end of the stream."""
        return _END

    def piece_head(self, count: int) -> bytes:
        """The message before the values of a record batch."""
        message = bytearray(_BATCH)
        for at in _BODY_LENGTHS:
            struct.pack_into("<q", message, at, count * _ITEM)
        for at in _ROW_COUNTS:
            struct.pack_into("<q", message, at, count)
        return bytes(message)


NPY: Final = NpyFormat("npy", "application/x-npy", "npy")
ARROW: Final = ArrowFormat("arrow", "application/vnd.apache.arrow.stream", "arrows")
