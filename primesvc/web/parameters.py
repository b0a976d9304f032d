"""Reads what clients send: numbers, ranges, ids."""

import re
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web

from primesvc.errors import InvalidParameter, UnknownJob
from primesvc.kinds.parameters import cut, read_number, shown
from primesvc.sieve.range import Range

_COUNT: Final = re.compile(r"[0-9]{1,20}", re.ASCII)

MAX_COUNT: Final = 2**64
"""The largest position or number of things that is read."""

_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)

_ID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
"""A UUID as it is usually written; `uuid.UUID` reads many other ways too."""


def read_range(query: str) -> Range:
    """The range that a query string asks for.

    Raises `InvalidParameter` if it cannot be read, `RangeNotAllowed` beyond 2^64 - 1.
    """
    try:
        values = parse_qs(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise InvalidParameter("query", "it has more than 100 fields") from None
    start, end = (
        read_number(name, values.get(name, [None])[0], strict=True)
        for name in ("start_num", "end_num")
    )
    if end <= start:
        raise InvalidParameter(
            "end_num", f"it must be greater than start_num; {end} is not greater than {start}"
        )
    return Range(start, end)


def read_count(request: web.Request, name: str) -> int | None:
    """A whole number from 0 to 2^64, None if it is not given. Raises `InvalidParameter`."""
    text = request.query.get(name)
    if text is None:
        return None
    if not _COUNT.fullmatch(text) or int(text) > MAX_COUNT:
        raise InvalidParameter(name, f"{shown(text)} is not a whole number from 0 to 2^64")
    return int(text)


def read_seconds(name: str, text: str) -> float:
    """A number of seconds, zero or more. Raises `InvalidParameter`."""
    if not _SECONDS.fullmatch(text):
        raise InvalidParameter(name, f"{shown(text)} is not a number of seconds")
    return float(text)


def canonical_id(job_id: str) -> str:
    """The id as jobs have it, in lower case. Raises `UnknownJob` for what is no UUID."""
    if not _ID.fullmatch(job_id):
        raise UnknownJob(cut(job_id))
    return job_id.lower()
