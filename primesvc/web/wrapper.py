"""What happens to every request before and after its handler.

Around each handler instead of in a middleware: what can be known of a route is
known beforehand. For a request that asks for nothing special each step is a
lookup or less.
"""

import asyncio
import logging
import re
import time
from collections.abc import Iterable
from functools import wraps
from itertools import count
from secrets import token_hex
from typing import Final

from aiohttp import HttpVersion11, hdrs, web
from multidict import istr

from primesvc.errors import PrimesvcError
from primesvc.web.access import Access, Handler, Headers
from primesvc.web.access_log import AccessLog
from primesvc.web.counters import Counters, Counts
from primesvc.web.operations import OPEN_TO_ALL
from primesvc.web.problems import from_error, from_http
from primesvc.web.streams import CLIENT_LEFT, NOSNIFF, Stream, set_more_headers, stream_of

log = logging.getLogger(__name__)

REQUEST_ID: Final = istr("X-Request-ID")

_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}", re.ASCII)
"""What is taken over as the id of a request: what fits every log and every header."""


class HandlerWrapper:
    """What one application has around each of its handlers.

    - `access` decides what is let through.
    - Every error becomes a problem document (RFC 9457); a bug becomes a 500 that is mute.
    - `counters` counts what was answered, `access_log` notes it.
    - A request's id is the `X-Request-ID` it came with. One that came without
      gets one where there is something to find by it: a line in the log, an error.
    """

    def __init__(self, access: Access, counters: Counters, access_log: AccessLog | None) -> None:
        self._access = access
        self._counters = counters
        self._access_log = access_log
        self._first_part, self._numbers = token_hex(4), count(1)

    def add_routes(self, app: web.Application, routes: Iterable[web.RouteDef]) -> None:
        """Add the routes to the application, and answers for all paths that are none of theirs."""
        nowhere = [web.route("*", path, _refuse) for path in ("", r"/{path:[\s\S]*}")]
        for route in (*routes, *nowhere):
            counts = Counts(int)
            handler = self._around(route.handler, counts)
            kwargs = route.kwargs | {"expect_handler": _meet_expectation}
            added = app.add_routes([web.RouteDef(route.method, route.path, handler, kwargs)])
            self._counters.watch(counts, added[-1] if route not in nowhere else None)

    def _around(self, handler: Handler, counts: Counts) -> Handler:
        access = self._access
        checks_token = access.checks_token and handler not in OPEN_TO_ALL
        preflights = access.shares and handler is _refuse
        logs = self._access_log is not None
        always_prepares = logs or access.shares
        prepare, note = self._prepare, self._note

        @wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            began_s = time.perf_counter() if logs else 0.0
            headers = request.headers
            more: Headers | None = None
            if always_prepares or REQUEST_ID in headers:
                more = prepare(request)
            response: web.StreamResponse
            try:
                access.check_source(request.method, headers)
                if preflights and access.is_preflight(request):
                    response = await access.answer_preflight(request, handler)
                else:
                    if checks_token:
                        access.check_token(headers)
                    response = await handler(request)
            except asyncio.CancelledError:
                stream = stream_of(request)
                status = CLIENT_LEFT if stream is None else stream.status
                note(request, stream, status, more, counts, began_s)
                raise
            except Exception as error:
                if isinstance(error, web.HTTPException) and error.status < 400:
                    raise
                more = more or prepare(request)
                response = _answer_to(error, request, more[0][1])
            # Of a stream the head is sent already, and then this changes nothing.
            response.headers[NOSNIFF] = "nosniff"
            if more is not None:
                response.headers.extend(more)
            note(request, response, response.status, more, counts, began_s)
            return response

        return answer

    def _prepare(self, request: web.Request) -> Headers:
        """What every answer to the request has in its head, first of all the request's id."""
        id_ = request.headers.get(REQUEST_ID, "")
        if not _ID.fullmatch(id_):
            id_ = f"{self._first_part}-{next(self._numbers)}"
        more: Headers = [(REQUEST_ID, id_)]
        if self._access.shares:
            more += self._access.sharing_headers(request.headers)
        set_more_headers(request, more)
        return more

    def _note(
        self,
        request: web.Request,
        response: web.StreamResponse | None,
        status: int,
        more: Headers | None,
        counts: Counts,
        began_s: float,
    ) -> None:
        """Count an answer, and write its line of the log."""
        counts[status] += 1
        sent_bytes = 0
        if type(response) is web.Response:
            body = response.body
            if type(body) is bytes and request.method != "HEAD":
                sent_bytes = len(body)
                self._counters.sent_bytes += sent_bytes
        elif type(response) is Stream:
            sent_bytes = response.sent_bytes
        if self._access_log is not None and more is not None:
            self._access_log.note(request, request.method, status, sent_bytes, began_s, more[0][1])


def _answer_to(error: Exception, request: web.Request, request_id: str) -> web.Response:
    if isinstance(error, PrimesvcError):
        return from_error(error)
    if isinstance(error, web.HTTPException):
        return from_http(error)
    log.error("%s %s failed, request %s", request.method, request.path, request_id, exc_info=error)
    return from_error(PrimesvcError("the service made a mistake; its log says which"))


async def _meet_expectation(request: web.Request) -> web.StreamResponse | None:
    """Say that the body may come; an answer instead if the client expects something else.

    `Expect` is dealt with before the handler, and what is answered to it passes none.
    """
    if request.version < HttpVersion11:
        return None
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        return from_http(web.HTTPExpectationFailed())
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # it counts the bytes of the answer proper
    return None


async def _refuse(request: web.Request) -> web.StreamResponse:
    """There is nothing at this path, or not for this method.

    A route of its own, since what aiohttp answers by itself passes no handler.
    """
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        _, methods = await resource.resolve(request)
        allowed |= methods
    allowed.discard("*")  # this very route
    if allowed:
        raise web.HTTPMethodNotAllowed(request.method, allowed)
    raise web.HTTPNotFound
