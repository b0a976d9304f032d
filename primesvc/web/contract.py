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
from primesvc.web.context import context_of, find_job_by_id
from primesvc.web.downloads import send_layout
from primesvc.web.parameters import read_range

_RESULT_HEADERS: Final = CIMultiDict({"Content-Type": CONTRACT.media_type})

_PRIVATE: Final = CIMultiDict({"Cache-Control": "private"})
"""With a token: not every cache minds that the request had one."""

_PRIVATE_RESULT_HEADERS: Final = CIMultiDict([*_RESULT_HEADERS.items(), *_PRIVATE.items()])


# What a busy service is asked for most is what it was asked for before: what
# can be made once is.
@lru_cache(maxsize=1024)
def _asked(query: str) -> tuple[Primes, bytes, "CIMultiDict[str]"]:
    """The question of a query string, and the answer that tells the id of its job.

    Raises `InvalidParameter` and `RangeNotAllowed`.
    """
    question = Primes(read_range(query))
    headers = {"Content-Type": "application/json", "Location": f"result/{question.job_id}"}
    return question, f'"{question.job_id}"\n'.encode(), CIMultiDict(headers)


async def submit_range(request: web.Request) -> web.Response:
    """POST /primes?start_num=&end_num=: the id of the job for the closed range, as JSON."""
    service = context_of(request).service
    question, body, headers = _asked(request.rel_url.raw_query_string)
    if service.settings.journal_sync or service.find(question) is None:
        await service.submit(question)
    return web.Response(body=body, headers=headers)


async def get_result(request: web.Request) -> web.StreamResponse:
    """GET /result/{id}: 204 while it is worked on, then the primes as `CONTRACT` writes them."""
    service = context_of(request).service
    jobs = service.jobs
    try:
        job = find_job_by_id(jobs, request.match_info["id"])
    except JobGone:
        # The contract knows one answer for ids without a job.
        raise UnknownJob(request.match_info["id"]) from None
    if job.finished_s is None:
        return web.Response(status=204, headers={"Retry-After": "1", "Cache-Control": "no-store"})
    if "Range" not in request.headers:
        body = jobs.kept(job, CONTRACT.name) or await service.small_body(job, CONTRACT)
        if body is not None:
            headers = _PRIVATE_RESULT_HEADERS if service.settings.token else _RESULT_HEADERS
            return web.Response(body=body, headers=headers)
    job.check()
    layout = Layout(Result.of(job.collected), CONTRACT)
    tag = f"{job.id}-v1-{CONTRACT.name}"
    headers = CIMultiDict(_PRIVATE) if service.settings.token else CIMultiDict()
    return await send_layout(request, layout, headers, tag, codings=False)
