"""Byte ranges: reading the `Range` header and answering with one or several (RFC 9110, 14)."""

import re
from typing import Final, NamedTuple

MAX_RANGES: Final = 64
"""Ranges of one request that are served; a header with more is ignored, as
RFC 9110, 14.2 allows: each costs a boundary and at least one call."""

_SPEC: Final = re.compile(r"[ \t]*(?:([0-9]{1,30})-([0-9]{0,30})|-([0-9]{1,30}))[ \t]*", re.ASCII)


class ByteRange(NamedTuple):
    """The bytes [first, stop) of a file."""

    first: int
    stop: int


def read_ranges(header: str, length: int) -> list[ByteRange] | None:
    """The ranges a `Range` header asks for that exist in a file of `length` bytes.

    None for a header that is to be ignored: another unit, a wrong syntax, too
    many ranges, ranges that overlap so much that they hold more than the
    file, or the last bytes of an empty file, which RFC 9110, 14.1.2 calls
    satisfiable though no `Content-Range` can name them. An empty list if no
    range exists: that is a 416.
    """
    unit, equals, specs = header.partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return None
    parts = [part for part in specs.split(",") if part.strip()]
    if not 0 < len(parts) <= MAX_RANGES:
        return None
    ranges = []
    for part in parts:
        match = _SPEC.fullmatch(part)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            if int(suffix) > 0:
                if length == 0:
                    return None
                ranges.append(ByteRange(max(length - int(suffix), 0), length))
            continue
        if last and int(last) < int(first):
            return None
        if int(first) < length:
            ranges.append(ByteRange(int(first), min(int(last) + 1, length) if last else length))
    if sum(stop - first for first, stop in ranges) > length:
        return None
    return ranges


class Multipart:
    """The frame of a `multipart/byteranges` body: what stands before, between and after."""

    def __init__(
        self, boundary: str, media_type: str, ranges: list[ByteRange], length: int
    ) -> None:
        self.content_type = f"multipart/byteranges; boundary={boundary}"
        self.heads = [
            (
                f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\n"
                f"Content-Range: bytes {first}-{stop - 1}/{length}\r\n\r\n"
            ).encode()
            for first, stop in ranges
        ]
        self.tail = f"\r\n--{boundary}--\r\n".encode()
        self.length = (
            sum(map(len, self.heads)) + sum(stop - first for first, stop in ranges) + len(self.tail)
        )
        """The length of the whole body in bytes."""
