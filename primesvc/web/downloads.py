"""GET /jobs/{id}/primes: the result of a job as a virtual file."""

from dataclasses import dataclass
from typing import Final, Self

from aiohttp import web
from multidict import CIMultiDict
from werkzeug.datastructures import ETags
from werkzeug.http import parse_etags

from primesvc.formats.base import Format
from primesvc.jobs.job import Job
from primesvc.kinds.base import Question
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants of a list of primes: in which format, and all of it or a page."""

    format: Format
    offset: int | None
    limit: int | None

    @classmethod
    def read(cls, request: web.Request) -> Self:
        """What the query and `Accept` say. Raises `NotAcceptable` and `InvalidParameter`."""
        format_ = choose_format(request)
        return cls(format_, read_count(request, "offset"), read_count(request, "limit"))

    @property
    def is_page(self) -> bool:
        """Whether a page is wanted."""
        return self.offset is not None or self.limit is not None

    @property
    def first(self) -> int:
        """The position of the first prime that is wanted."""
        return self.offset or 0

    @property
    def count(self) -> int:
        """How many primes are wanted, at the most."""
        return MAX_COUNT if self.limit is None else self.limit

    def tag(self, job_id: str) -> str:
        """What tells the file from every other: its ETag, but for the content coding."""
        tag = f"{job_id}-v{_VERSION}-{self.format.name}"
        if self.is_page:
            tag += f"-{self.first}-{'' if self.limit is None else self.limit}"
        return tag

    def disposition(self, question: Question) -> str:
        """The `Content-Disposition` of the file, with its name."""
        name = "-".join(["primes", *map(str, question.parameters.values())])
        if self.is_page:
            name += f"-from-{self.first}" + ("" if self.limit is None else f"-limit-{self.limit}")
        return f'inline; filename="{name}.{self.format.extension}"'


async def get_primes(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{id}/primes: in the format asked for, whole, in byte ranges, or a page of it."""
    job = find_job(request)
    wanted = Wanted.read(request)
    if not job.state.final and wanted.is_page:
        return await _send_front(request, job, wanted)
    job.check()
    return await send_result(request, job, Result.of(job.collected), wanted, CIMultiDict())


async def send_result(
    request: web.Request,
    job: Job,
    result: Result,
    wanted: Wanted,
    headers: "CIMultiDict[str]",
) -> web.StreamResponse:
    """Answer with a file of a result, with its length and its tag: all of it, or a page.

    Of a job that still runs the result is a front, which holds the page wanted.
    """
    service = context_of(request).service
    headers["Vary"] = "Accept, Accept-Encoding"
    headers["Cache-Control"] = f"private, {_FOREVER}" if service.settings.token else _FOREVER
    headers["Content-Disposition"] = wanted.disposition(job.question)
    tag = wanted.tag(job.id)
    page: Result | None = result
    if wanted.is_page:
        if wanted.limit:
            # Behind a front there may be more.
            count = result.total.count + (not job.state.final)
            add_page_links(request, headers, count, wanted.first, wanted.limit)
        page = await service.page(result, wanted.first, wanted.count)
    if page is None:
        return _empty(request, wanted.format, headers, tag)
    return await send_layout(request, Layout(page, wanted.format), headers, tag, codings=True)


async def _send_front(request: web.Request, job: Job, wanted: Wanted) -> web.StreamResponse:
    """A page of a job that still runs, as far as it has come: it may be shorter than asked for."""
    service = context_of(request).service
    front = Result.front_of(job.collected)
    page, format_ = None, wanted.format
    headers = CIMultiDict({"Cache-Control": "no-store", "Vary": "Accept", "Retry-After": "1"})
    if front is not None:
        if wanted.limit:
            add_page_links(request, headers, front.total.count, wanted.first, wanted.limit)
        page = await service.page(front, wanted.first, wanted.count)
    if page is None:
        headers["Content-Type"] = format_.media_type
        return web.Response(body=format_.head(Summary(0, 0)) + format_.tail(), headers=headers)
    return await Sending(request, service).whole(headers, Layout(page, format_))


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
    sending = Sending(request, context_of(request).service)
    range_header = request.headers.get("Range") if request.method == "GET" else None
    # Ranges are of the identity form only: where one is asked for, that is served.
    coding = choose_coding(request) if codings and range_header is None else None
    etag = headers["ETag"] = etag_of(tag, coding)
    headers["Accept-Ranges"] = "bytes"
    if (answer := by_conditions(request, etag, headers)) is not None:
        return answer
    if range_header is not None and request.headers.get("If-Range", etag) == etag:
        ranges = read_ranges(range_header, layout.length)
        if ranges is not None:
            if not ranges:
                raise RangeNotSatisfiable(layout.length)
            if len(ranges) == 1:
                return await sending.one_range(headers, layout, ranges[0])
            boundary = f"primesvc-{abs(hash((tag, *ranges))):016x}"
            multipart = Multipart(boundary, layout.format.media_type, ranges, layout.length)
            return await sending.many_ranges(headers, layout, ranges, multipart)
    if coding:
        return await sending.coded(headers, layout, coding)
    return await sending.whole(headers, layout)


def etag_of(tag: str, coding: str | None) -> str:
    """The ETag of a file in a content coding or none."""
    return f'"{tag}-{coding}"' if coding else f'"{tag}"'


def by_conditions(
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


def _empty(
    request: web.Request, format_: Format, headers: "CIMultiDict[str]", tag: str
) -> web.StreamResponse:
    """A page behind the last prime: a whole file without primes, which needs no reader."""
    etag = headers["ETag"] = etag_of(tag, None)
    headers["Content-Type"] = format_.media_type
    if (answer := by_conditions(request, etag, headers)) is not None:
        return answer
    return web.Response(body=format_.head(Summary(0, 0)) + format_.tail(), headers=headers)
