"""Who may ask for what: hosts, origins, the token. Closed unless the settings open it.

- A request for a foreign `Host` is refused. Any page can give its own name the
  address of this machine (DNS rebinding), and is then let through by the
  browser; but the name that it had to use stands in `Host`.
- A POST or DELETE that a page of another site sent is refused: browsers let
  pages send some without asking. They say so in `Sec-Fetch-Site`, older ones
  let tell from `Origin`; whoever sends neither is no browser. So is a GET that
  may start work, `GET /primes`.
- Pages of the sites that `allow_origin` lists may do what our own may (CORS);
  others cannot even read.
- With a token, nothing but the health endpoints answers without it.

All that can be is worked out once, when the application is made.
"""

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import CIMultiDictProxy, istr

from primesvc.settings import Settings
from primesvc.web.errors import HostNotAllowed, OriginNotAllowed, Unauthorized
from primesvc.web.forwarded import forwarded_host

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Headers = list[tuple[str, str]]

SEC_FETCH_SITE: Final = istr("Sec-Fetch-Site")
"""How near the page that sent a request is: `same-origin`, `same-site`, `cross-site`, `none`.

https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
"""

SEC_FETCH_MODE: Final = istr("Sec-Fetch-Mode")

SEC_FETCH_DEST: Final = istr("Sec-Fetch-Dest")

FROM_HERE: Final = ("same-origin", "none")
"""Requests that our own page sent, and those that the user did: by the address, a bookmark."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing: their answers are what has to be kept from other sites."""

KNOWN_HOSTS: Final = 64
"""`Host` headers that are remembered as allowed, so that they are not looked at again."""

_HOST: Final = re.compile(r"(\[(?P<address>[^\]]+)\]|(?P<name>[^:\[\]]+))(:[0-9]*)?", re.ASCII)

_LOCAL: Final = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+localhost", re.ASCII)
"""Names that browsers take for this machine (RFC 6761, 6.3), in lower case."""

_EXPOSED: Final = (
    "Accept-Ranges, Content-Disposition, Content-Encoding, Content-Range, ETag, Link, Location, "
    "Preference-Applied, Retry-After, X-Request-ID"
)
"""What pages of allowed sites may read of our headers, besides those that all may."""

_ACCEPTED: Final = (
    "Authorization, Cache-Control, Content-Type, If-Match, If-None-Match, If-Range, Last-Event-ID, "
    "Prefer, Range, X-Request-ID"
)
"""What pages of allowed sites may send, besides what all may."""

_MAX_AGE_S: Final = 600
"""Seconds for which a browser need not ask again what is allowed."""


class Access:
    """What one application lets through.

    `listens_on` are the addresses it is itself served on: with it cross-site
    requests are refused, and if they all are of the loopback foreign hosts.
    None in somebody else's application, who sees to that; then only what the
    settings name is checked.
    """

    def __init__(self, settings: Settings, listens_on: Sequence[str] | None) -> None:
        self._only_here = bool(listens_on) and all(map(_is_loopback, listens_on or ()))
        self._hosts = {"localhost", settings.host.lower(), *map(str.lower, settings.allow_host)}
        self._origins = frozenset(map(str.lower, settings.allow_origin))
        self._any_origin = "*" in self._origins
        self._token = settings.token.encode()
        self._trusts = settings.trust_forwarded
        restricted = self._only_here or bool(settings.allow_host)
        self._checks_host = restricted and "*" not in self._hosts
        self._checks_origin = listens_on is not None or bool(settings.allow_origin)
        self.checks_token = bool(settings.token)
        self.shares = bool(settings.allow_origin)
        """Whether pages of other sites may use the service."""
        # A request without one is no browser's; but a proxy may say more in another header.
        self.known_hosts: set[str | None] = set() if self._trusts else {None}
        """`Host` headers that need no second look."""

    def check_source(self, method: str, headers: "CIMultiDictProxy[str]") -> None:
        """Return if the request is for a host that is served here, from a page that may send it.

        Raises `HostNotAllowed` and `OriginNotAllowed`.
        """
        if self._checks_host and headers.get(hdrs.HOST) not in self.known_hosts:
            self._check_host(headers)
        if method not in SAFE_METHODS and self.is_foreign(headers):
            raise OriginNotAllowed(headers.get(hdrs.ORIGIN))

    def is_foreign(self, headers: "CIMultiDictProxy[str]") -> bool:
        """Whether a page of another site, and of none that may, sent the request."""
        return (
            self._checks_origin
            and (hdrs.ORIGIN in headers or SEC_FETCH_SITE in headers)
            and self._comes_from_elsewhere(headers)
        )

    def _check_host(self, headers: "CIMultiDictProxy[str]") -> None:
        host = self._host(headers)
        if host is None:
            return
        name = _name(host)
        if name not in self._hosts and not _LOCAL.fullmatch(name):
            try:
                address = ipaddress.ip_address(name)
            except ValueError:
                raise HostNotAllowed(host) from None
            # Rebinding needs a name: an address can only be somebody else's on the loopback.
            if self._only_here and not address.is_loopback and str(address) not in self._hosts:
                raise HostNotAllowed(host)
        if len(self.known_hosts) < KNOWN_HOSTS and not self._trusts:
            self.known_hosts.add(host)

    def _host(self, headers: "CIMultiDictProxy[str]") -> str | None:
        """The host that the client asked for; behind a proxy that says so, of the proxy."""
        return (self._trusts and forwarded_host(headers)) or headers.get(hdrs.HOST)

    def _comes_from_elsewhere(self, headers: "CIMultiDictProxy[str]") -> bool:
        # The rules of Go's `http.CrossOriginProtection`, which needs no tokens in pages.
        origin, site = headers.get(hdrs.ORIGIN), headers.get(SEC_FETCH_SITE)
        if origin is not None and self._listed(origin):
            return False
        if site is None:
            host = self._host(headers) or ""
            return origin is not None and _authority(origin) != host.lower()
        return site not in FROM_HERE

    def _listed(self, origin: str) -> bool:
        # Browsers send nothing else, and it is sent back as it is.
        if self._any_origin and origin.isascii() and origin.isprintable():
            return True
        return origin.lower() in self._origins

    def check_token(self, headers: "CIMultiDictProxy[str]") -> None:
        """Return if the request has the token. Raises `Unauthorized`. In constant time."""
        scheme, _, given = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(wrong=False)
        if not hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token):
            raise Unauthorized(wrong=True)

    def sharing_headers(self, headers: "CIMultiDictProxy[str]") -> Headers:
        """What lets the page that sent a request read the answer, if it may.

        https://fetch.spec.whatwg.org/#http-responses
        """
        origin = headers.get(hdrs.ORIGIN)
        more = [("Vary", "Origin")]
        if origin is not None and self._listed(origin):
            more.append(("Access-Control-Allow-Origin", origin))
            more.append(("Access-Control-Expose-Headers", _EXPOSED))
        return more

    def is_preflight(self, request: web.Request) -> bool:
        """Whether a browser asks what a page of another site may send."""
        return (
            request.method == "OPTIONS"
            and hdrs.ORIGIN in request.headers
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        )

    async def answer_preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """204 with what may be sent to this path. Raises `OriginNotAllowed`, and for no path 404.

        Browsers send no token with it.
        """
        origin = request.headers[hdrs.ORIGIN]
        if not self._listed(origin):
            raise OriginNotAllowed(origin)
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            headers = {
                "Access-Control-Allow-Methods": ", ".join(sorted(error.allowed_methods)),
                "Access-Control-Allow-Headers": _ACCEPTED,
                "Access-Control-Max-Age": str(_MAX_AGE_S),
            }
            return web.Response(status=204, headers=headers)


def is_link(headers: "CIMultiDictProxy[str]") -> bool:
    """Whether a browser follows a link, to show what is there in place of the page it is on."""
    where = headers.get(SEC_FETCH_MODE), headers.get(SEC_FETCH_DEST)
    return where == ("navigate", "document")


_ACCESS: Final = web.AppKey("primesvc.access", Access)


def set_access(app: web.Application, access: Access) -> None:
    """Make `access` what the handlers of `app` ask about requests that may start work."""
    app[_ACCESS] = access


def access_of(request: web.Request) -> Access:
    """What the application lets through whose handler got the request, mounted or not."""
    return request.app[_ACCESS]


def _name(host: str) -> str:
    """The name or address in a `Host` header, without the port; nothing if there is none."""
    match = _HOST.fullmatch(host)
    if match is None:
        return ""
    return (match["address"] or match["name"]).lower().removesuffix(".")


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
