"""The original two calls: POST /primes and GET /result/{id}."""

from functools import lru_cache
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from primesvc.errors import JobGone, UnknownJob
from primesvc.formats.text import CONTRACT
from primesvc.kinds.primes import Primes
from primesvc.results.layout import Layout
from primesvc.results.result import Result
from primesvc.web.context import context_of, find_job
from primesvc.web.downloads import send_layout
from primesvc.web.parameters import read_range

_RESULT_HEADERS: Final = CIMultiDict({"Content-Type": CONTRACT.media_type})

_PRIVATE: Final = CIMultiDict({"Cache-Control": "private"})
"""With a token: not every cache minds that the request had one."""

_PRIVATE_RESULT_HEADERS: Final = CIMultiDict([*_RESULT_HEADERS.items(), *_PRIVATE.items()])


# The answers to repeated requests are what a busy service is asked for most:
# what can be made once is.
@lru_cache(maxsize=1024)
def _id_answer(job_id: str) -> tuple[bytes, "CIMultiDict[str]"]:
    return (
        f'"{job_id}"\n'.encode(),
        CIMultiDict({"Content-Type": "application/json", "Location": f"result/{job_id}"}),
    )


# Reading a request takes longer than answering it.
@lru_cache(maxsize=1024)
def _question(query: str) -> Primes:
    """The question of a query string. Raises `InvalidParameter` and `RangeNotAllowed`."""
    return Primes(read_range(query))


async def submit_range(request: web.Request) -> web.Response:
    """POST /primes?start_num=&end_num=: the id of the job for the closed range, as JSON."""
    service = context_of(request).service
    question = _question(request.rel_url.raw_query_string)
    job = None if service.settings.journal_sync else service.find(question)
    if job is None:
        job = await service.submit(question)
    body, headers = _id_answer(job.id)
    return web.Response(body=body, headers=headers)


async def get_result(request: web.Request) -> web.StreamResponse:
    """GET /result/{id}: 204 while it is worked on, then the primes as `CONTRACT` writes them."""
    service = context_of(request).service
    try:
        job = find_job(request)
    except JobGone:
        # The contract knows one answer for ids without a job.
        raise UnknownJob(request.match_info["id"]) from None
    if job.finished_s is None:
        return web.Response(status=204, headers={"Retry-After": "1", "Cache-Control": "no-store"})
    if "Range" not in request.headers:
        body = service.jobs.kept(job, CONTRACT.name) or await service.small_body(job, CONTRACT)
        if body is not None:
            headers = _PRIVATE_RESULT_HEADERS if service.settings.token else _RESULT_HEADERS
            return web.Response(body=body, headers=headers)
    job.check()
    layout = Layout(Result.of(job.collected), CONTRACT)
    tag = f"{job.id}-v1-{CONTRACT.name}"
    headers = CIMultiDict(_PRIVATE) if service.settings.token else CIMultiDict()
    return await send_layout(request, layout, headers, tag, codings=False)
