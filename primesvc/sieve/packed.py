"""The packed form of a run of primes: the first prime and the gaps.

Nearly always one byte a prime, several times less than text and eight times
less than an array, and fast both ways (`numpy.diff`, `numpy.cumsum`).

Layout, little-endian, one piece of bytes that can be stored anywhere:

| bytes          | content                                                       |
|----------------|---------------------------------------------------------------|
| 4              | magic `PSG2`                                                  |
| 1              | width of a gap in bytes: 1, 2, 4 or 8                         |
| 1              | scale: a gap counts units of 1 or of 2                        |
| 2              | zero                                                          |
| 4              | count: how many primes                                        |
| 4              | check sum: CRC-32 of the range (two 8-byte numbers), of what  |
|                | stands before, and of all that follows                        |
| 8 a mark       | marks: the primes at the positions 0, 2^16, 2 * 2^16, ...     |
| width a gap    | the count - 1 gaps between neighbours, divided by the scale   |

Primes above 2 are odd and their gaps even: halved, a gap fits one byte up to
510 instead of 255, which holds below 3 * 10^11 throughout (the first larger
gap follows 304599508537). The marks give any position without decoding what
stands before it. The check sum tells what a cache elsewhere has damaged, also if it
is whole but of another range; it costs 0.25 ns a prime.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from primesvc.sieve.range import Range

_HEADER: Final = struct.Struct("<4sBBHII")
_CHECKED: Final = 12
"""Bytes of the header in front of the check sum."""

_RANGE: Final = struct.Struct("<QQ")
_MAGIC: Final = b"PSG2"
_GAP_TYPES: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}

MARK_EVERY: Final = 2**16
"""Primes from one mark to the next: 65 µs of decoding, 8 bytes in 65,536."""

POWERS_OF_TEN: Final = tuple(10**k for k in range(1, 20))
"""The numbers at which one more digit is needed, up to 2^64."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How many primes a range holds, and how many decimal digits they have together."""

    count: int
    digits: int

    @classmethod
    def of(cls, range_: Range, count: Callable[[Range], int]) -> Self:
        """The summary of the closed range; `count` counts the primes of a part of it."""
        found = [(count(part), len(str(part.start))) for part in digit_cuts(range_)]
        return cls(sum(n for n, _ in found), sum(n * digits for n, digits in found))


class Positions(NamedTuple):
    """The positions [first, stop) of primes that have `digits` decimal digits each."""

    first: int
    stop: int
    digits: int


def digit_cuts(range_: Range) -> list[Range]:
    """The range cut at the powers of ten: all numbers of a part have equally many digits."""
    starts = [range_.start, *(p for p in POWERS_OF_TEN if range_.start < p <= range_.end)]
    ends = [*(start - 1 for start in starts[1:]), range_.end]
    return [Range(start, end) for start, end in zip(starts, ends, strict=True)]


def pack(primes: NDArray[np.uint64], range_: Range) -> bytes:
    """Pack the primes of the closed range, ascending, shape (n,), n < 2^32."""
    marks = primes[::MARK_EVERY].astype("<u8")
    scale = 1 if len(primes) < 2 or primes[0] == 2 else 2
    width, gaps = next(
        (width, gaps)
        for width in _GAP_TYPES
        if (gaps := _narrow_gaps(primes, scale, width)) is not None
    )
    head = _HEADER.pack(_MAGIC, width, scale, 0, len(primes), 0)[:_CHECKED]
    rest = marks.tobytes(), gaps.tobytes()
    return b"".join((head, _check_sum(range_, head, *rest).to_bytes(4, "little"), *rest))


def _narrow_gaps(primes: NDArray[np.uint64], scale: int, width: int) -> NDArray[Any] | None:
    """The gaps in units of `scale` as `width` bytes each; None if one of them does not fit."""
    narrow = np.empty(max(len(primes) - 1, 0), f"<u{width}")
    # In parts that stay in the second-level cache: at once, 8.8 million primes take twice
    # the time, and 140 MB more.
    for at in range(0, len(narrow), MARK_EVERY):
        gaps = np.diff(primes[at : at + MARK_EVERY + 1])
        if scale == 2:
            gaps >>= np.uint64(1)
        if width < 8 and int(gaps.max()) >= 256**width:
            return None
        narrow[at : at + MARK_EVERY] = gaps
    return narrow


def _check_sum(range_: Range, *parts: bytes | memoryview) -> int:
    crc = zlib.crc32(_RANGE.pack(range_.start, range_.end))
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


class Packed:
    """A view of packed primes; decodes what is asked for, copies nothing until then.

    `data` is what `pack` made. Raises `ValueError` if it cannot be: the bytes
    may come from a store that others write to. Whether they are the primes of
    a range, and all of them, `check` tells.
    """

    __slots__ = ("_check_sum", "_gaps", "_marks", "_scale", "count", "data")

    def __init__(self, data: bytes | memoryview) -> None:
        if len(data) < _HEADER.size:
            raise ValueError(f"{len(data)} bytes are too few for packed primes")
        magic, width, scale, zero, count, self._check_sum = _HEADER.unpack_from(data)
        marks = -(-count // MARK_EVERY)
        if (
            magic != _MAGIC
            or width not in _GAP_TYPES
            or scale not in (1, 2)
            or zero != 0
            or len(data) != _HEADER.size + 8 * marks + width * max(count - 1, 0)
        ):
            raise ValueError("these bytes are not packed primes")
        self.data = data
        self.count: int = count
        """How many primes."""
        self._scale: int = scale
        self._marks = np.frombuffer(data, "<u8", marks, _HEADER.size)
        self._gaps = np.frombuffer(
            data, f"<u{width}", max(count - 1, 0), _HEADER.size + self._marks.nbytes
        )

    @classmethod
    def of(cls, primes: NDArray[np.uint64], range_: Range) -> Self:
        """Pack the primes of the closed range, ascending, and view the result."""
        return cls(pack(primes, range_))

    def check(self, range_: Range) -> None:
        """Return if this is what `pack` made for the closed range. Raises `ValueError` if not.

        Reads it all: 0.25 ms a megabyte.
        """
        view = memoryview(self.data)
        if _check_sum(range_, view[:_CHECKED], view[_HEADER.size :]) != self._check_sum:
            raise ValueError(f"these packed primes are damaged, or not those of {range_}")

    def primes(self, first: int = 0, stop: int | None = None) -> NDArray[np.uint64]:
        """The primes at the positions [first, stop), uint64, 1 to 2 ns a prime.

        Decodes from the mark before `first` on, so up to 2^16 primes more.
        """
        stop = self.count if stop is None else min(stop, self.count)
        if first >= stop:
            return np.empty(0, np.uint64)
        block = first // MARK_EVERY
        base = block * MARK_EVERY
        primes = np.empty(stop - base, np.uint64)
        primes[0] = 0
        np.cumsum(self._gaps[base : stop - 1], dtype=np.uint64, out=primes[1:])
        if self._scale == 2:
            primes <<= np.uint64(1)
        primes += self._marks[block]
        return primes[first - base :]

    def index(self, number: int) -> int:
        """How many of the primes are below `number`; at most 2^16 are decoded."""
        if self.count == 0 or number <= int(self._marks[0]):
            return 0
        if number > 2**64 - 1:
            return self.count
        wanted = np.uint64(number)
        block = int(np.searchsorted(self._marks, wanted)) - 1
        base = block * MARK_EVERY
        return base + int(np.searchsorted(self.primes(base, base + MARK_EVERY), wanted))

    def positions(self, range_: Range) -> list[Positions]:
        """Where the primes of the closed range stand, a run for each number of digits."""
        return [
            Positions(self.index(part.start), self.index(part.end + 1), len(str(part.start)))
            for part in digit_cuts(range_)
        ]

    def summary(self, range_: Range) -> Summary:
        """The summary of those of the primes that lie in the closed range."""
        return Summary.of(range_, lambda part: self.index(part.end + 1) - self.index(part.start))

    def window(self, first: int, stop: int) -> bytes:
        """The primes at [first, stop) as packed bytes of their own; nothing is decoded.

        `first` is a multiple of `MARK_EVERY`. They have no check sum, and are not to be stored.
        """
        if first % MARK_EVERY:
            raise ValueError(f"a window starts at a multiple of {MARK_EVERY}, not at {first}")
        stop = min(stop, self.count)
        marks = self._marks[first // MARK_EVERY : -(-stop // MARK_EVERY)]
        gaps = self._gaps[first : max(stop - 1, first)]
        header = _HEADER.pack(_MAGIC, gaps.itemsize, self._scale, 0, max(stop - first, 0), 0)
        return b"".join((header, marks.tobytes(), gaps.tobytes()))

    def __repr__(self) -> str:
        return f"<Packed {self.count} primes in {len(self.data)} bytes>"
