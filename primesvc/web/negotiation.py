"""Content negotiation: format, coding (RFC 9110, 12), and how JSON writes numbers."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from werkzeug.datastructures import Accept, MIMEAccept
from werkzeug.http import parse_accept_header

from primesvc.formats.base import Format
from primesvc.formats.catalog import AS_STRINGS, FORMATS
from primesvc.formats.coding import CODINGS
from primesvc.kinds.parameters import read_choice
from primesvc.web.context import context_of
from primesvc.web.errors import NotAcceptable
from primesvc.web.forwarded import client_address

NUMBERS: Final = ("number", "string")
"""How numbers are written in JSON: many readers alter numbers above 2^53 silently."""

_BARE_FRACTION: Final = re.compile(r"(?<=q=)(?=\.)")


def wants_strings(request: web.Request) -> bool:
    """Whether JSON is to write numbers as strings: `?numbers=`. Raises `InvalidParameter`."""
    return read_choice("numbers", request.query.get("numbers", "number"), NUMBERS) == "string"


def as_written(value: Any, *, strings: bool) -> Any:
    """The value as it is, or with its whole numbers as strings, however deep they stand."""
    if not strings:
        return value
    if isinstance(value, Mapping):
        return {name: as_written(member, strings=True) for name, member in value.items()}
    if isinstance(value, list | tuple):
        # A call for each of thousands would take most of the time.
        return [
            str(member) if type(member) is int else as_written(member, strings=True)
            for member in value
        ]
    return str(value) if type(value) is int else value


def choose_format(request: web.Request) -> Format:
    """The format that `?format=` names, else the one the `Accept` header likes best.

    Raises `NotAcceptable` and `InvalidParameter`.
    """
    name = request.query.get("format")
    if name is None:
        name = _by_accept(_accept_of(request))
    if name not in FORMATS:
        raise NotAcceptable(f"the format {name[:60]!r} is not known", list(FORMATS))
    if wants_strings(request):
        # Formats without numbers in JSON lose no digits: for them it changes nothing.
        return AS_STRINGS.get(name, FORMATS[name])
    return FORMATS[name]


def prefers_page(request: web.Request) -> bool:
    """Whether a page is liked better than the primes in any format: by browsers, in general."""
    header = _accept_of(request)
    return "format" not in request.query and _best(header, [*_BY_TYPE, _PAGE]) == _PAGE


_BY_TYPE: Final = {format_.media_type.partition(";")[0]: name for name, format_ in FORMATS.items()}

_PAGE: Final = "text/html"


def _accept_of(request: web.Request) -> str:
    return ", ".join(request.headers.getall("Accept", []))


def _by_accept(header: str) -> str:
    best = _best(header, list(_BY_TYPE))
    if best is None:
        raise NotAcceptable(f"none of the formats is among {header[:200]!r}", list(FORMATS))
    return _BY_TYPE[best]


def _best(header: str, media_types: list[str]) -> str | None:
    """The media type that an `Accept` header likes best: of several the first, None for none."""
    if not header.strip():
        return media_types[0]
    # Java's URLConnection sends `*/*; q=.2`, which the grammar does not know.
    ranges = parse_accept_header(_BARE_FRACTION.sub("0", header), MIMEAccept)
    # Parameters choose none of our formats: `application/json; charset=utf-8` means JSON.
    accept = MIMEAccept((range_.partition(";")[0].strip(), quality) for range_, quality in ranges)
    return accept.best_match(media_types)


def choose_coding(request: web.Request) -> str | None:
    """The content coding to apply, None for none.

    Where the client accepts one and it pays: on the machine itself it never
    does, for the network is faster than any compressor.
    """
    header = ", ".join(request.headers.getall("Accept-Encoding", []))
    if not header or _is_local(request):
        return None
    accept = parse_accept_header(header, Accept)
    best = max(CODINGS, key=accept.quality)
    # An identity that is not mentioned is acceptable, but not preferred (RFC 9110, 12.5.3).
    least = accept.quality("identity") if "identity" in header.lower() else 0.0
    quality = accept.quality(best)
    return best if quality > 0 and quality >= least else None


def _is_local(request: web.Request) -> bool:
    trust_forwarded = context_of(request).service.settings.trust_forwarded
    try:
        client = client_address(request, trust_forwarded=trust_forwarded)
        return ipaddress.ip_address(client).is_loopback
    except ValueError:
        return True  # a Unix socket
