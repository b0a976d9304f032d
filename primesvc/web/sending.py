"""Sends virtual files to clients at constant memory, however large and however slow.

A fast client is served by several workers ahead. One that takes nothing for
a while costs no workers and no shared memory: the reader is closed, and begun
anew where the client stands once it takes again, in small steps as long as
it is slow. Answers that the transport takes without a wait are made in such a
step, and need no memory besides. One that takes nothing for longer is cut.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from primesvc.collect.plan import Plan
from primesvc.errors import JobCancelled, PrimesvcError
from primesvc.formats.coding import Assembly
from primesvc.results.buffers import Lease
from primesvc.results.layout import Layout
from primesvc.results.reader import Part
from primesvc.service import PrimeService
from primesvc.web.context import context_of
from primesvc.web.ranges import ByteRange, Multipart
from primesvc.web.streams import PLAIN_BODY_BYTES, Stream

log = logging.getLogger(__name__)

WRITE_BYTES: Final = 2**18
"""Bytes handed to the transport at once, and copied for it: the transport keeps
what the client has not taken, so this much is what a stalled client holds."""

PATIENCE_S: Final = 0.5
"""Seconds a client may take for `WRITE_BYTES` before it counts as slow."""


def _mark_seen(writing: "asyncio.Task[None]") -> None:
    """Keep asyncio from logging an error that nobody waits for any more."""
    if not writing.cancelled():
        writing.exception()


class Sending:
    """The answer to one request for a virtual file; call one of its methods once."""

    def __init__(self, request: web.Request, service: PrimeService) -> None:
        self._request = request
        self._service = service
        self._response: Stream
        self._lease: Lease
        """The memory that a large answer may take."""
        self._small = False
        """Whether the transport takes the answer without a wait: it holds no memory then."""
        self._writing: asyncio.Task[None]
        """The last write: done when the client has taken its bytes, or is about to."""

    async def whole(self, headers: "CIMultiDict[str]", layout: Layout) -> web.StreamResponse:
        """200 with the whole file; HEAD gets its length alone."""
        headers["Content-Type"] = layout.format.media_type
        everything = ByteRange(0, layout.length)
        return await self._answer(
            200, headers, layout, layout.length, lambda: self._send_range(layout, everything)
        )

    async def one_range(
        self, headers: "CIMultiDict[str]", layout: Layout, range_: ByteRange
    ) -> web.StreamResponse:
        """206 with one byte range."""
        headers["Content-Type"] = layout.format.media_type
        headers["Content-Range"] = f"bytes {range_.first}-{range_.stop - 1}/{layout.length}"
        length = range_.stop - range_.first
        return await self._answer(
            206, headers, layout, length, lambda: self._send_range(layout, range_)
        )

    async def many_ranges(
        self,
        headers: "CIMultiDict[str]",
        layout: Layout,
        ranges: list[ByteRange],
        multipart: Multipart,
    ) -> web.StreamResponse:
        """206 with several byte ranges, in the order they were asked for."""
        headers["Content-Type"] = multipart.content_type

        async def send() -> None:
            for head, range_ in zip(multipart.heads, ranges, strict=True):
                await self._write_patiently(head)
                await self._send_range(layout, range_)
            await self._write_patiently(multipart.tail)

        return await self._answer(206, headers, layout, multipart.length, send)

    async def coded(
        self, headers: "CIMultiDict[str]", layout: Layout, coding: str
    ) -> web.StreamResponse:
        """200 with the whole file in a content coding, whose length is not known before."""
        headers["Content-Type"] = layout.format.media_type

        async def parts() -> AsyncGenerator[Layout, None]:
            yield layout

        return await self._answer(
            200, headers, layout, None, self._sender(headers, parts(), coding)
        )

    async def growing(
        self,
        headers: "CIMultiDict[str]",
        parts: AsyncGenerator[Layout, None],
        plan: Plan,
        coding: str | None,
    ) -> web.StreamResponse:
        """200 with a file of which one part after another becomes known, in all those of a plan.

        Its length is not known before. It is cut where `parts` raises.
        """
        send = self._sender(headers, parts, coding)
        with self._service.lease(plan) as self._lease:
            return await self._send(200, headers, None, send)

    def _sender(
        self, headers: "CIMultiDict[str]", parts: AsyncGenerator[Layout, None], coding: str | None
    ) -> Callable[[], Awaitable[None]]:
        """What sends the parts of a file one after another, in a content coding or none."""
        assembly = None
        if coding is not None:
            headers["Content-Encoding"] = coding
            assembly = Assembly(coding)

        async def send() -> None:
            if assembly is not None:
                await self._write_patiently(assembly.head())
            async with aclosing(parts):
                async for layout in parts:
                    everything = ByteRange(0, layout.length)
                    await self._send_range(layout, everything, coding, assembly)
                    if not self._small:
                        self._lease.reduce()  # the next part may be long in coming
            if assembly is not None:
                await self._write_patiently(assembly.tail())

        return send

    async def _answer(
        self,
        status: int,
        headers: "CIMultiDict[str]",
        layout: Layout,
        length: int | None,
        send: Callable[[], Awaitable[None]],
    ) -> web.StreamResponse:
        size = layout.length if length is None else length
        self._small = size <= PLAIN_BODY_BYTES
        if self._small or self._request.method == "HEAD":
            return await self._send(status, headers, length, send)
        with self._service.lease(layout.result.plan) as self._lease:
            return await self._send(status, headers, length, send)

    async def _send(
        self,
        status: int,
        headers: "CIMultiDict[str]",
        length: int | None,
        send: Callable[[], Awaitable[None]],
    ) -> web.StreamResponse:
        response = self._response = Stream(self._request, status=status, headers=headers)
        response.content_length = length
        if length is None and self._request.version < HttpVersion11:
            response.force_close()  # without chunks, only the connection's end is that of the body
        try:
            await response.prepare(self._request)
            if self._request.method != "HEAD":
                with context_of(self._request).counters.download():
                    await send()
        except ConnectionError:
            log.debug("a client left %s", self._request.path)
            response.cut()  # it may also have been an executor that lost its workers
        except TimeoutError:
            log.info("a client took nothing of %s for too long: cut", self._request.path)
            response.cut()
        except JobCancelled as error:
            log.info("%s broke off: %s", self._request.path, error)
            response.cut()
        except PrimesvcError as error:
            # The status is sent: a body that ends early is all that can tell of it now.
            log.error("%s broke off: %s", self._request.path, error)
            response.cut()
        except Exception:
            # As above: a 500 from the middleware would land in the midst of the body.
            log.exception("%s broke off", self._request.path)
            response.cut()
        return response

    async def _send_range(
        self,
        layout: Layout,
        range_: ByteRange,
        coding: str | None = None,
        assembly: Assembly | None = None,
    ) -> None:
        at = range_.first
        slow = False
        while at < range_.stop:
            gentle = self._small or slow or not self._lease.extend()
            parts = self._service.read(layout, at, range_.stop, coding=coding, gentle=gentle)
            if gentle:
                taken, data = await self._take(parts, assembly)
                at += taken
                # A client that takes a small step in time is served at full speed again.
                slow = not await self._write_all(data)
                continue
            async with aclosing(parts):
                sent, rest, slow = await self._send_until_slow(parts, assembly)
            at += sent
            if slow:
                self._lease.reduce(to=len(rest))
                await self._drain()
                await self._write_patiently(rest)
                self._lease.reduce()

    async def _take(
        self, parts: AsyncGenerator[Part, None], assembly: Assembly | None
    ) -> tuple[int, bytes]:
        """A small step: how many bytes of the file it is, and what to send for them.

        The reader is closed then, and holds nothing while the client takes it.
        """
        done, data = 0, bytearray()
        async with aclosing(parts):
            async for part in parts:
                done += part.raw_bytes
                if assembly is not None:
                    assembly.add(part.raw_bytes, part.crc)
                data += part.view
                if len(data) > PLAIN_BODY_BYTES:
                    break
        return done, bytes(data)

    async def _send_until_slow(
        self, parts: AsyncIterator[Part], assembly: Assembly | None
    ) -> tuple[int, bytes, bool]:
        """Send parts until the client is slow to take one.

        Returns how many bytes of the file are done with, what is still to be
        sent of a coded part, and whether the client is slow. Nothing of a part
        is held any more then: it may be large, and the client slow for long.
        """
        done = 0
        async for part in parts:
            done += part.raw_bytes
            if assembly is not None:
                assembly.add(part.raw_bytes, part.crc)
            for start in range(0, len(part.view), WRITE_BYTES):
                stop = start + WRITE_BYTES
                if not await self._write(bytes(part.view[start:stop])):
                    rest = part.view[stop:]
                    if assembly is not None:
                        return done, bytes(rest), True
                    return done - len(rest), b"", True
        return done, b"", False

    async def _write_all(self, data: bytes) -> bool:
        """Write a small step; whether the client took it in time. Raises `TimeoutError`."""
        in_time = True
        for start in range(0, len(data), WRITE_BYTES):
            if not await self._write(data[start : start + WRITE_BYTES]):
                in_time = False
                await self._drain()
        return in_time

    async def _write(self, chunk: bytes) -> bool:
        """Hand the chunk to the transport; whether the client took its bytes in time."""
        # In a task that goes on when the time is over: aiohttp (3.14) waits for the client
        # with one future, and once that was cancelled, every later wait raises at once.
        self._writing = asyncio.create_task(self._response.write(chunk))
        self._writing.add_done_callback(_mark_seen)
        done, _ = await asyncio.wait([self._writing], timeout=PATIENCE_S)
        if done:
            self._writing.result()
        return bool(done)

    async def _drain(self) -> None:
        """Wait until the client has taken what the transport holds. Raises `TimeoutError`."""
        async with asyncio.timeout(self._service.settings.stall_timeout_s):
            await asyncio.shield(self._writing)

    async def _write_patiently(self, data: bytes) -> None:
        """Write bytes that are already in memory. Raises `TimeoutError` if the client stalls."""
        for start in range(0, len(data), WRITE_BYTES):
            await self._response.write_in_time(data[start : start + WRITE_BYTES])
