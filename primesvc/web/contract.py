"""The original two calls: POST /primes and GET /result/{id}."""

from aiohttp import web
from multidict import CIMultiDict

from primesvc.formats.text import CONTRACT
from primesvc.jobs.job import State
from primesvc.results.layout import Layout
from primesvc.results.result import Result
from primesvc.web.downloads import send_layout
from primesvc.web.keys import service_of
from primesvc.web.parameters import canonical_id, read_range


async def submit_range(request: web.Request) -> web.Response:
    """POST /primes?start_num=&end_num=: the id of the job for the closed range, as JSON."""
    service = service_of(request.app)
    range_ = read_range(request.rel_url.raw_query_string)
    job = service.find(range_) or await service.submit(range_)
    return web.Response(
        body=f'"{job.id}"\n'.encode(),
        headers={"Content-Type": "application/json", "Location": f"result/{job.id}"},
    )


async def get_result(request: web.Request) -> web.StreamResponse:
    """GET /result/{id}: 204 while it is worked on, then the primes as `CONTRACT` writes them."""
    service = service_of(request.app)
    job = service.job(canonical_id(request.match_info["id"]))
    if not job.state.final:
        return web.Response(status=204, headers={"Retry-After": "1", "Cache-Control": "no-store"})
    if job.state is State.SUCCEEDED and "Range" not in request.headers:
        body = job.rendered.get(CONTRACT.name) or await service.small_body(job, CONTRACT)
        if body is not None:
            return web.Response(body=body, headers={"Content-Type": CONTRACT.media_type})
    layout = Layout(Result.of(job), CONTRACT)
    tag = f"{job.id}-v1-{CONTRACT.name}"
    return await send_layout(request, layout, CIMultiDict(), tag, codings=False)
