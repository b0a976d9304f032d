"""Content codings that can be made in parts by many workers: gzip and zstd.

A zstd body is a sequence of frames, one a part (RFC 8878, section 3). A gzip
body is one member (RFC 1952) whose parts each end at a byte boundary: raw
deflate up to a sync flush, as pigz does it. Only the check sum of the whole
must be put together from those of the parts.
"""

import struct
import sys
import zlib
from dataclasses import dataclass
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CODINGS: Final = ("zstd", "gzip")
"""The codings there are, the better first."""

_GZIP_LEVEL: Final = 1
"""Digits hold about 3.4 bits each: level 6 takes 4 times as long for 4 % less."""

_ZSTD_LEVEL: Final = 1
"""Fastest of the normal levels; its window of 512 KiB is far below the 8 MB
that RFC 9659 allows in HTTP."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A part of a body in a coding, with what is needed to put the body together."""

    data: bytes
    raw_bytes: int
    crc: int
    """CRC-32 of the part before it was coded; 0 where the coding does not need it."""


def encode_part(coding: str, raw: bytes | memoryview) -> Coded:
    """Code one part by itself."""
    if coding == "zstd":
        return Coded(zstd.compress(raw, _ZSTD_LEVEL), len(raw), 0)
    deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = deflate.compress(raw) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return Coded(data, len(raw), zlib.crc32(raw))


class Assembly:
    """Puts the parts of a body together: `head`, then every part noted with `add`, then `tail`."""

    def __init__(self, coding: str) -> None:
        self._gzip = coding == "gzip"
        self._crc = 0
        self._size = 0

    def head(self) -> bytes:
        """What stands before the first part."""
        # ID, deflate, no flags, no time, fastest, unknown system.
        return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff" if self._gzip else b""

    def add(self, raw_bytes: int, crc: int) -> None:
        """Note the next part."""
        self._size += raw_bytes
        if self._gzip:
            self._crc = crc_of_both(self._crc, crc, raw_bytes)

    def tail(self) -> bytes:
        """What stands behind the last part."""
        if not self._gzip:
            # An empty body has a frame too: none at all is no zstd.
            return b"" if self._size else zstd.compress(b"", _ZSTD_LEVEL)
        # An empty final block of fixed codes, then the check sum and the size modulo 2^32.
        return b"\x03\x00" + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)


_POLYNOMIAL: Final = 0xEDB88320
"""CRC-32's, reflected: bit 31 is x^0."""


def _times(a: int, b: int) -> int:
    """The product of two polynomials modulo CRC-32's."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product


def crc_of_both(first: int, second: int, second_bytes: int) -> int:
    """CRC-32 of two parts one after the other, from those of the parts: about 0.2 ms.

    The check sum of the first is multiplied by x^(8 * second_bytes); the
    method of zlib's `crc32_combine`.
    """
    shift, square = 1 << 31, 1 << 23  # x^0 and x^8
    while second_bytes:
        if second_bytes & 1:
            shift = _times(shift, square)
        square = _times(square, square)
        second_bytes >>= 1
    return _times(shift, first) ^ second
