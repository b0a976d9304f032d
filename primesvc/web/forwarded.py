"""What a proxy in front says about the request it passes on: believed only with `trust_forwarded`.

Of each header the last value counts, which the nearest proxy set: whatever
stands before it, the client may have made up.

- `X-Forwarded-For`: the client, for the log, and whether it is on this machine.
- `X-Forwarded-Host`: the host that was asked for, when hosts and origins are checked.
- `X-Forwarded-Prefix`: what the proxy has cut off the path, for links.

`X-Forwarded-Proto` is not read: no link here names a scheme.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDictProxy, istr

from primesvc.web.context import context_of

UNIX: Final = "unix"
"""The address of clients behind a Unix socket."""

_PREFIX: Final = istr("X-Forwarded-Prefix")

# One slash at its beginning: two would be another host.
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+", re.ASCII)

# Clients take such a segment out, and the one before it: the link would lead elsewhere.
_DOTS: Final = re.compile(r"/(\.|%2e){1,2}/", re.IGNORECASE)


def forwarded_host(headers: "CIMultiDictProxy[str]") -> str | None:
    """The host that the client asked the proxy for, None if it does not say."""
    return _last(headers, hdrs.X_FORWARDED_HOST) or None


def client_address(request: web.Request, *, trust_forwarded: bool) -> str:
    """The address of the client; `UNIX` behind a Unix socket."""
    if trust_forwarded and (found := _address(_last(request.headers, hdrs.X_FORWARDED_FOR))):
        return found
    peer = request.protocol.peername  # `request.remote` is the same, and takes 0.2 µs longer
    return str(peer[0]) if isinstance(peer, tuple) else UNIX


def path_prefix(request: web.Request) -> str:
    """What stands before the paths of our links, but for where we are mounted: `` or `/some/path`.

    Ends without a slash.
    """
    if not context_of(request).service.settings.trust_forwarded:
        return ""
    prefix = _last(request.headers, _PREFIX).rstrip("/")
    if not _PATH.fullmatch(prefix) or _DOTS.search(prefix + "/"):
        return ""
    return prefix


def _last(headers: "CIMultiDictProxy[str]", name: str) -> str:
    return ",".join(headers.getall(name, ())).rpartition(",")[2].strip()


@lru_cache(maxsize=1024)
def _address(text: str) -> str | None:
    """The address, without port and zone; None for what is none, such as `unknown`."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        # A zone may be any text, which is to reach no log.
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return None
