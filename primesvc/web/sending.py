"""Sends a result to a client at constant memory, however large it is and however slow the client.

A fast client is served by several workers ahead. One that takes nothing for
a while costs no workers and no shared memory: the reader is closed, and begun
anew where the client stands once it takes again, in small steps as long as
it is slow. One that takes nothing for longer is cut.
"""

import asyncio
import logging
from contextlib import aclosing
from typing import Final

from aiohttp import web

from primesvc.errors import PrimesvcError
from primesvc.formats.text import TextFormat
from primesvc.jobs.job import Job
from primesvc.results.layout import Layout
from primesvc.service import PrimeService

log = logging.getLogger(__name__)

WRITE_BYTES: Final = 2**18
"""Bytes handed to the transport at once, and copied for it: the transport keeps
what the client has not taken, so this much is what a stalled client holds."""

PATIENCE_S: Final = 0.5
"""Seconds a client may take for `WRITE_BYTES` before it counts as slow."""


async def send_file(
    request: web.Request, service: PrimeService, job: Job, text: TextFormat
) -> web.StreamResponse:
    """Answer with the result of the job in a text format. Raises as `Job.check` does."""
    layout = service.layout(job, text)
    response = web.StreamResponse(headers={"Content-Type": text.media_type})
    response.content_length = layout.length
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        await _send(request, response, service, job, layout)
    except ConnectionError:
        log.debug("a client left the result of %s", job.range)
    except TimeoutError:
        log.info("a client took nothing of the result of %s for too long: cut", job.range)
        _cut(request)
    except PrimesvcError as error:
        # The status is sent: a body that ends early is all that can tell of it now.
        log.error("the result of %s broke off: %s", job.range, error)
        _cut(request)
    return response


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    service: PrimeService,
    job: Job,
    layout: Layout,
) -> None:
    sent = 0
    gentle = False
    while sent < layout.length:
        stalled = False
        async with aclosing(service.read(job, layout, sent, layout.length, gentle=gentle)) as views:
            async for view in views:
                for at in range(0, len(view), WRITE_BYTES):
                    chunk = bytes(view[at : at + WRITE_BYTES])
                    sent += len(chunk)
                    stalled = not await _write(response, chunk)
                    if stalled:
                        break
                if stalled or gentle:
                    break
        # A client that took a step in time is served at full speed again.
        gentle = stalled
        if stalled:
            async with asyncio.timeout(service.settings.stall_timeout_s):
                await request.writer.drain()


async def _write(response: web.StreamResponse, chunk: bytes) -> bool:
    """Hand the chunk to the transport; whether the client took its bytes in time."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await response.write(chunk)
    except TimeoutError:
        return False
    return True
