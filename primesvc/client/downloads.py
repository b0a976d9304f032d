"""Downloads that go on after a broken connection, and the arrays in NumPy's file format."""

import io
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

_HEADER_BYTES: Final = 128
"""Bytes of the header of an array of primes, however many: NumPy leaves room for 21 digits."""

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
                if len(rest) < _HEADER_BYTES:
                    continue
                left = _count(rest[:_HEADER_BYTES], url)
                rest = rest[_HEADER_BYTES:]
            count = len(rest) // _ITEM
            if not count:
                continue
            if count > left:
                raise UnexpectedAnswer(url, "more primes than its header says")
            left -= count
            yield np.frombuffer(rest, "<u8", count).astype(np.uint64, copy=False)
            rest = rest[count * _ITEM :]
        if left is None:
            left = _count(rest, url)
        if left or rest:
            raise UnexpectedAnswer(url, "fewer primes than its header says")


def _count(head: bytes, url: str) -> int:
    """How many numbers the header of the file announces."""
    file = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_HEADER_BYTES)
    except Exception as error:  # NumPy reads the header as Python, which fails in many ways
        raise UnexpectedAnswer(url, f"no .npy file of primes: {error}") from None
    if version != (1, 0) or dtype != "<u8" or len(shape) != 1 or shape[0] < 0 or file.read():
        raise UnexpectedAnswer(url, f"no .npy file of primes: {shape} {dtype} {version}")
    return int(shape[0])
