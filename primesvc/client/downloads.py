"""Downloads that go on after a broken connection, and the arrays in NumPy's file format."""

import ast
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

import aiohttp
import numpy as np
from numpy.typing import NDArray

from primesvc.client.transport import Transport, shown
from primesvc.errors import ApiError, RemoteError, ServerUnreachable, UnexpectedAnswer

_ITEM: Final = 8
"""Bytes of a uint64."""

_MAGIC: Final = b"\x93NUMPY\x01\x00"
"""How a file of version 1.0 begins."""

_HEAD_BYTES: Final = len(_MAGIC) + 2
"""That and the length of the header."""

MAX_HEAD_BYTES: Final = 2**10
"""Bytes of a header at the most; that of an array of primes has 128."""

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)", re.ASCII)

_LOST: Final = (404, 409, 410)
"""What a service says that forgot the job since, or was started anew."""


async def read_file(
    transport: Transport,
    job_id: str,
    params: Mapping[str, str],
    *,
    restore: Callable[[], Awaitable[object]],
) -> AsyncGenerator[bytes, None]:
    """The bytes of a job's result, from the first to the last, each once.

    After a broken connection it goes on where it was, if the file is still
    the same one; `restore` brings the job back to a service that lost it.
    Raises `ApiError`, `ServerUnreachable` and `UnexpectedAnswer`.
    """
    retries = transport.retries()
    place = _Place()
    url = shown(transport.url("jobs", job_id, "primes"))
    while True:
        try:
            async with transport.open(
                "GET", "jobs", job_id, "primes", params=params, headers=place.headers()
            ) as response:
                skip = place.check(response)
                async for chunk in response.content.iter_any():
                    if skip >= len(chunk):
                        skip -= len(chunk)
                        continue
                    new = chunk[skip:] if skip else chunk
                    skip = 0
                    place.at += len(new)
                    retries.progress()
                    yield new
            if place.length is None or place.at == place.length:
                return
            raise ServerUnreachable(url, f"{place.length - place.at} bytes are missing")
        except RemoteError as error:
            if place.at and isinstance(error, ApiError) and error.status in _LOST:
                await retries.pause(ServerUnreachable(url, error.detail))
                await restore()
                continue
            if place.at and not place.resumable:
                raise
            await retries.pause(error)


class _Place:
    """How far a download is, and in which file."""

    def __init__(self) -> None:
        self.at = 0
        self.length: int | None = None
        self._etag = ""

    @property
    def resumable(self) -> bool:
        """Whether the file has a name that says every byte is the same (RFC 9110, 8.8.1)."""
        return self._etag.startswith('"')

    def headers(self) -> dict[str, str]:
        """What to ask for: the rest, of the same file only, and as it is."""
        headers = {"Accept-Encoding": "identity"}
        if self.at:
            headers |= {"Range": f"bytes={self.at}-", "If-Range": self._etag}
        return headers

    def check(self, response: aiohttp.ClientResponse) -> int:
        """How many bytes of the answer are known already. Raises `UnexpectedAnswer`."""
        etag = response.headers.get("ETag", "")
        url = str(response.url)
        if not self.at:
            if response.status != 200:
                raise UnexpectedAnswer(url, f"{response.status} instead of the whole file")
            self._etag = etag
            if "Content-Encoding" not in response.headers:
                self.length = response.content_length
            return 0
        if etag != self._etag:
            raise UnexpectedAnswer(url, f"another file, {etag}, than {self._etag}, of which")
        if response.status == 200:
            return self.at  # something in between takes no ranges
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != 206 or match is None or int(match[1]) != self.at:
            raise UnexpectedAnswer(url, f"{response.status} instead of the bytes from {self.at} on")
        return 0


async def read_npy(
    chunks: AsyncGenerator[bytes, None], url: str
) -> AsyncGenerator[NDArray[np.uint64], None]:
    """The uint64 arrays in the bytes of a `.npy` file, as they come; closes `chunks`.

    Raises `UnexpectedAnswer` for another file, and for one of another length
    than its header says.
    """
    async with aclosing(chunks):
        rest = b""
        left: int | None = None
        async for chunk in chunks:
            rest = rest + chunk if rest else chunk
            if left is None:
                if (end := _header_end(rest, url)) is None:
                    continue
                left = _count(rest[:end], url)
                rest = rest[end:]
            count = len(rest) // _ITEM
            if not count:
                continue
            if count > left:
                raise UnexpectedAnswer(url, "more primes than its header says")
            left -= count
            yield np.frombuffer(rest, "<u8", count).astype(np.uint64, copy=False)
            rest = rest[count * _ITEM :]
        if left != 0 or rest:
            raise UnexpectedAnswer(url, "fewer primes than its header says")


def _header_end(data: bytes, url: str) -> int | None:
    """Where the data of the file begins, None while that is not known."""
    if not _MAGIC.startswith(data[: len(_MAGIC)]):
        raise UnexpectedAnswer(url, "no .npy file of version 1.0")
    if len(data) < _HEAD_BYTES:
        return None
    end = _HEAD_BYTES + int.from_bytes(data[len(_MAGIC) : _HEAD_BYTES], "little")
    if end > MAX_HEAD_BYTES:
        raise UnexpectedAnswer(url, f"a .npy header of {end} bytes")
    return end if len(data) >= end else None


def _count(head: bytes, url: str) -> int:
    """How many numbers the header of the file announces."""
    text = head[_HEAD_BYTES:].decode("latin1")
    try:
        header = ast.literal_eval(text.strip())
        (count,) = header["shape"]
        fits = header["descr"] == "<u8" and type(count) is int
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        fits = False
    if not fits:
        raise UnexpectedAnswer(url, f"an array that is not of primes: {text.strip()!r}")
    return int(count)
