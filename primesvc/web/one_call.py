"""GET /primes: the primes of a range as a file, in one call, without a job to ask for first."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from primesvc.jobs.job import Job
from primesvc.kinds.primes import Primes
from primesvc.results.growing import GrowingFile, grows
from primesvc.results.layout import Layout
from primesvc.results.result import Result
from primesvc.sieve.grid import SEGMENTS
from primesvc.web.access import access_of, is_link
from primesvc.web.context import context_of
from primesvc.web.downloads import Wanted, by_conditions, etag_of, send_result
from primesvc.web.errors import OriginNotAllowed
from primesvc.web.negotiation import choose_coding, prefers_page
from primesvc.web.pages import get_page_of_range
from primesvc.web.sending import Sending
from primesvc.web.streams import CLIENT_LEFT, Stream

QUICK_S: Final = 2.0
"""Seconds that an answer is held back for a job that takes no longer by its estimate: then its
file has a length, and can be resumed."""

FIRST_LOOK_S: Final = 0.02
"""Seconds from the first look at a job that runs to the second; each wait is twice the last."""

SENDING_LOOK_S: Final = 0.2
"""Seconds from one look to the next at the most, while what becomes known is sent."""

WAITING_LOOK_S: Final = 1.0
"""The same while the answer is held back: there may be many of these."""


async def get_range(request: web.Request) -> web.StreamResponse:
    """GET /primes?start=&end=: as `GET /jobs/{id}/primes`, of a job that is started if need be.

    A job that takes long is not waited for: its file is sent while it is found, without a
    length, and cut if the job fails. Browsers that prefer it are shown the page.
    """
    is_foreign = access_of(request).is_foreign(request.headers)
    if prefers_page(request) or (is_foreign and is_link(request.headers)):
        return await get_page_of_range(request)
    if is_foreign:
        raise OriginNotAllowed(request.headers.get("Origin"))
    service = context_of(request).service
    wanted, question = Wanted.read(request), Primes.read(request.query)
    job = service.find(question)
    if request.method == "HEAD" and job is None and service.estimate(question)[1] > QUICK_S:
        return await _send_growing(request, None, question, wanted, CIMultiDict())
    job = await service.submit(question)
    # Relative, as nobody knows here what a proxy has cut off.
    headers = CIMultiDict({"Link": f'<jobs/{job.id}>; rel="describedby"'})
    if not job.state.final and service.left_s(job) <= QUICK_S:
        await context_of(request).turns.after(job.ended, QUICK_S)
    if job.state.final:
        job.check()
        return await send_result(request, job, Result.of(job.collected), wanted, headers)
    # To clients of HTTP/1.0 only a length tells the end of a body from its middle.
    chunked = request.version >= HttpVersion11
    can_grow = not wanted.is_page and chunked and grows(job.collected.plan, wanted.format)
    if can_grow or request.method == "HEAD":
        return await _send_growing(request, job, question, wanted, headers)
    try:
        result = await _wait_for(request, job, wanted)
    except ConnectionError:
        return web.Response(status=CLIENT_LEFT)
    return await send_result(request, job, result, wanted, headers)


async def _send_growing(
    request: web.Request,
    job: Job | None,
    question: Primes,
    wanted: Wanted,
    headers: "CIMultiDict[str]",
) -> web.StreamResponse:
    """The file of a job that still runs; to a HEAD all but its length, also before there is one."""
    coding = choose_coding(request)
    headers["ETag"] = etag_of(wanted.tag(question.job_id), coding)
    headers["Vary"] = "Accept, Accept-Encoding"
    headers["Cache-Control"] = "no-store"  # not every cache minds that the end is missing
    headers["Content-Disposition"] = wanted.disposition(question)
    if (answer := by_conditions(request, headers["ETag"], headers)) is not None:
        return answer
    headers["Content-Type"] = wanted.format.media_type
    if coding:
        headers["Content-Encoding"] = coding
    if job is None or request.method == "HEAD":
        return Stream(request, headers=headers)
    parts = _parts(request, job, wanted)
    sending = Sending(request, context_of(request).service)
    return await sending.growing(headers, parts, job.collected.plan, coding)


async def _parts(request: web.Request, job: Job, wanted: Wanted) -> AsyncGenerator[Layout, None]:
    """The parts of the file, each when it is known. Raises as `_looks` does."""
    file = GrowingFile(job.collected, wanted.format)
    async with aclosing(_looks(request, job, SENDING_LOOK_S)) as looks:
        async for finished in looks:
            layout = file.next(finished=finished)
            if layout is not None:
                yield layout


async def _wait_for(request: web.Request, job: Job, wanted: Wanted) -> Result:
    """The result, or a front of it that holds the page wanted. Raises as `_looks` does."""
    stop = wanted.first + wanted.count
    async with aclosing(_looks(request, job, WAITING_LOOK_S)) as looks:
        async for finished in looks:
            # Of cells, which batches of Arrow need all of, there are few.
            if not finished and wanted.is_page and job.collected.plan.grid.base is SEGMENTS:
                front = Result.front_of(job.collected)
                if front is not None and front.total.count >= stop:
                    return front
    return Result.of(job.collected)


async def _looks(request: web.Request, job: Job, longest_s: float) -> AsyncGenerator[bool, None]:
    """Whether the job is done, looked at again and again until it is.

    Raises `JobFailed` and `JobCancelled`, and `ConnectionError` once the client has gone.
    """
    turns, pause_s = context_of(request).turns, FIRST_LOOK_S
    while not job.state.final:
        yield False
        if request.transport is None:
            raise ConnectionResetError
        await turns.after(job.ended, pause_s)
        pause_s = min(2 * pause_s, longest_s)
    job.check()
    yield True
