"""What happens to every request before and after its handler.

Around each handler instead of in a middleware: what can be known of a route is
known beforehand, and all of it together takes 0.9 µs of the 30 that a repeated
request takes, an empty middleware 1.4 µs (CPython 3.11, aiohttp 3.14, 2-core
AMD EPYC). Each step is a lookup or less for a request that asks for nothing
special.
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
from primesvc.web.access import SAFE_METHODS, SEC_FETCH_SITE, Access, Handler, Headers
from primesvc.web.access_log import AccessLog
from primesvc.web.counters import Counters, Counts
from primesvc.web.operations import OPEN_TO_ALL
from primesvc.web.problems import from_error, from_http
from primesvc.web.streams import NOSNIFF, Stream, set_more_headers, stream_of

log = logging.getLogger(__name__)

REQUEST_ID: Final = istr("X-Request-ID")

CLIENT_LEFT: Final = 499
"""The status that requests are counted under whose client did not wait for the answer."""

_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}", re.ASCII)
"""What is taken over as the id of a request: what fits every log and every header."""


class Front:
    """What one application has around its handlers.

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

    def _prepare(self, request: web.Request, given_id: str | None) -> Headers:
        """What every answer to the request has in its head, first of all the request's id."""
        if given_id is None or not _ID.fullmatch(given_id):
            given_id = f"{self._first_part}-{next(self._numbers)}"
        more: Headers = [(REQUEST_ID, given_id)]
        if self._access.shares:
            more += self._access.sharing_headers(request.headers)
        set_more_headers(request, more)
        return more

    def _around(self, handler: Handler, counts: Counts) -> Handler:
        access, counters, access_log = self._access, self._counters, self._access_log
        checks_host, known_hosts = access.checks_host, access.known_hosts
        checks_origin = access.checks_origin
        checks_token = access.checks_token and handler not in OPEN_TO_ALL
        preflights = access.shares and handler is _refuse
        prepare = self._prepare
        logs, special = access_log is not None, access_log is not None or access.shares
        plain_response = web.Response

        @wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            began_s = time.perf_counter() if logs else 0.0
            headers, method = request.headers, request.method
            given_id = headers.get(REQUEST_ID)
            more = prepare(request, given_id) if special or given_id is not None else None
            response: web.StreamResponse
            try:
                if checks_host and headers.get(hdrs.HOST) not in known_hosts:
                    access.check_host(headers)
                if (
                    checks_origin
                    and method not in SAFE_METHODS
                    and (hdrs.ORIGIN in headers or SEC_FETCH_SITE in headers)
                ):
                    access.check_origin(headers)
                if preflights and access.is_preflight(request):
                    response = await access.answer_preflight(request, handler)
                else:
                    if checks_token:
                        access.check_token(headers)
                    response = await handler(request)
            except PrimesvcError as error:
                more = more or prepare(request, None)
                response = from_error(error)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                more = more or prepare(request, None)
                response = from_http(error)
            except asyncio.CancelledError:
                stream = stream_of(request)
                status, sent_bytes = (
                    (CLIENT_LEFT, 0) if stream is None else (stream.status, stream.sent_bytes)
                )
                counts[status] += 1
                if access_log is not None and more is not None:
                    access_log.note(request, method, status, sent_bytes, began_s, more[0][1])
                raise
            except Exception:
                more = more or prepare(request, None)
                log.exception("%s %s failed, request %s", method, request.path, more[0][1])
                response = from_error(
                    PrimesvcError("the service made a mistake; its log says which")
                )
            # Of a stream the head is sent already, and then this changes nothing.
            answer_headers = response.headers
            answer_headers[NOSNIFF] = "nosniff"
            if more is not None:
                for name, value in more:
                    answer_headers.add(name, value)
            status = response.status
            counts[status] += 1
            sent_bytes = 0
            if type(response) is plain_response:
                body = response.body
                if type(body) is bytes and method != "HEAD":
                    sent_bytes = len(body)
                    counters.sent_bytes += sent_bytes
            elif type(response) is Stream:
                sent_bytes = response.sent_bytes
            if access_log is not None and more is not None:
                access_log.note(request, method, status, sent_bytes, began_s, more[0][1])
            return response

        return answer


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
