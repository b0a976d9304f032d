"""GET /jobs/{id}/primes: the result of a job as a virtual file."""

from typing import Final

from aiohttp import web
from multidict import CIMultiDict
from werkzeug.datastructures import ETags
from werkzeug.http import parse_etags

from primesvc.formats.base import Format
from primesvc.jobs.job import Job
from primesvc.results.layout import Layout
from primesvc.results.result import Result
from primesvc.sieve.packed import Summary
from primesvc.web.context import context_of, find_job
from primesvc.web.errors import PreconditionFailed, RangeNotSatisfiable
from primesvc.web.links import add_page_links
from primesvc.web.negotiation import choose_coding, choose_format
from primesvc.web.parameters import MAX_COUNT, read_count
from primesvc.web.ranges import Multipart, read_ranges
from primesvc.web.sending import Sending

_VERSION: Final = 1
"""Part of every ETag: raise it when the bytes of a format change."""

_FOREVER: Final = "max-age=31536000, immutable"
"""Primes do not change.

Not `public`: that lets shared caches hand on what was answered to a request
with `Authorization` (RFC 9111, 3.5), and without one they need not be told.
"""


async def get_primes(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{id}/primes: in the format asked for, whole, in byte ranges, or a page of it."""
    service = context_of(request).service
    job = find_job(request)
    format_ = choose_format(request)
    offset, limit = read_count(request, "offset"), read_count(request, "limit")
    if not job.state.final and (offset is not None or limit is not None):
        return await _send_front(request, job, format_, offset or 0, limit)
    job.check()
    result = Result.of(job.collected)
    headers = CIMultiDict(
        {
            "Vary": "Accept, Accept-Encoding",
            "Cache-Control": f"private, {_FOREVER}" if service.settings.token else _FOREVER,
            "Content-Disposition": _disposition(job, format_, offset, limit),
        }
    )
    page: Result | None = result
    if offset is not None or limit is not None:
        if limit:
            add_page_links(request, headers, result.total.count, offset or 0, limit)
        page = await service.page(result, offset or 0, MAX_COUNT if limit is None else limit)
    tag = f"{job.id}-v{_VERSION}-{format_.name}"
    if page is not result:
        tag += f"-{offset or 0}-{'' if limit is None else limit}"
    if page is None:
        return _empty(request, format_, headers, tag)
    return await send_layout(request, Layout(page, format_), headers, tag, codings=True)


async def _send_front(
    request: web.Request, job: Job, format_: Format, offset: int, limit: int | None
) -> web.StreamResponse:
    """A page of a job that still runs, as far as it has come: it may be shorter than asked for."""
    service = context_of(request).service
    front = Result.front_of(job.collected)
    page = None
    headers = CIMultiDict({"Cache-Control": "no-store", "Vary": "Accept", "Retry-After": "1"})
    if front is not None:
        if limit:
            add_page_links(request, headers, front.total.count, offset, limit)
        page = await service.page(front, offset, MAX_COUNT if limit is None else limit)
    if page is None:
        headers["Content-Type"] = format_.media_type
        return web.Response(body=format_.head(Summary(0, 0)) + format_.tail(), headers=headers)
    return await Sending(request, service, Layout(page, format_)).whole(headers)


async def send_layout(
    request: web.Request,
    layout: Layout,
    headers: "CIMultiDict[str]",
    tag: str,
    *,
    codings: bool,
) -> web.StreamResponse:
    """Answer with a virtual file, as the conditions and ranges of the request want it.

    `tag` tells it from every other file, `codings` allows content codings.
    Raises `PreconditionFailed` and `RangeNotSatisfiable`.
    """
    sending = Sending(request, context_of(request).service, layout)
    range_header = request.headers.get("Range") if request.method == "GET" else None
    # Ranges are of the identity form only: where one is asked for, that is served.
    coding = choose_coding(request) if codings and range_header is None else None
    etag = f'"{tag}-{coding}"' if coding else f'"{tag}"'
    headers["ETag"] = etag
    headers["Accept-Ranges"] = "bytes"
    if (answer := _by_conditions(request, etag, headers)) is not None:
        return answer
    if range_header is not None and request.headers.get("If-Range", etag) == etag:
        ranges = read_ranges(range_header, layout.length)
        if ranges is not None:
            if not ranges:
                raise RangeNotSatisfiable(layout.length)
            if len(ranges) == 1:
                return await sending.one_range(headers, ranges[0])
            boundary = f"primesvc-{abs(hash((tag, *ranges))):016x}"
            multipart = Multipart(boundary, layout.format.media_type, ranges, layout.length)
            return await sending.many_ranges(headers, ranges, multipart)
    if coding:
        return await sending.coded(headers, coding)
    return await sending.whole(headers)


def _by_conditions(
    request: web.Request, etag: str, headers: "CIMultiDict[str]"
) -> web.Response | None:
    """304 or an error if `If-None-Match` or `If-Match` decides so (RFC 9110, 13.2.2)."""
    plain = etag.strip('"')
    if "If-Match" in request.headers and not _tags(request, "If-Match").contains(plain):
        raise PreconditionFailed(etag)
    if _tags(request, "If-None-Match").contains_weak(plain):
        kept = {
            name: headers[name] for name in ("ETag", "Cache-Control", "Vary") if name in headers
        }
        return web.Response(status=304, headers=kept)
    return None


def _tags(request: web.Request, name: str) -> ETags:
    # Not aiohttp's own: it takes the tag `"*"` for any, and reads the first line of several.
    return parse_etags(", ".join(request.headers.getall(name, [])))


def _disposition(job: Job, format_: Format, offset: int | None, limit: int | None) -> str:
    name = "-".join(["primes", *map(str, job.question.parameters.values())])
    if offset is not None or limit is not None:
        name += f"-from-{offset or 0}" + ("" if limit is None else f"-limit-{limit}")
    return f'inline; filename="{name}.{format_.extension}"'


def _empty(
    request: web.Request, format_: Format, headers: "CIMultiDict[str]", tag: str
) -> web.StreamResponse:
    """A page behind the last prime: a whole file without primes, which needs no reader."""
    headers["ETag"] = f'"{tag}"'
    headers["Content-Type"] = format_.media_type
    if (answer := _by_conditions(request, headers["ETag"], headers)) is not None:
        return answer
    return web.Response(body=format_.head(Summary(0, 0)) + format_.tail(), headers=headers)
