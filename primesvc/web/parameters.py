"""Reads what clients send: numbers, ranges, ids."""

import re
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web

from primesvc.errors import InvalidParameter, UnknownJob
from primesvc.kinds.parameters import read_choice, shown
from primesvc.sieve.range import Range

_WHOLE_NUMBER: Final = re.compile(r"\s*([+-]?)([0-9]+(?:_[0-9]+)*)\s*", re.ASCII)

_MAX_DIGITS: Final = 40
"""Digits read of a number; the largest number of a range has 20."""

_COUNT: Final = re.compile(r"[0-9]{1,20}", re.ASCII)

MAX_COUNT: Final = 2**64
"""The largest position or number of things that is read."""

NUMBERS: Final = ("number", "string")
"""How numbers are written in JSON: many readers alter numbers above 2^53 silently."""

_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)

_ID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
"""A UUID as it is usually written; `uuid.UUID` reads many other ways too."""

_SHOWN: Final = 60
"""Characters of a wrong value that the error repeats."""


def read_number(name: str, text: str | None) -> int:
    """The whole number, zero or more, that a parameter says. Raises `InvalidParameter`."""
    wanted = "give a whole number from 0 to 2^64 - 1, such as 1000000"
    if text is None or not text.strip():
        raise InvalidParameter(name, f"it is missing; {wanted}")
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    match = _WHOLE_NUMBER.fullmatch(text)
    if match is None:
        raise InvalidParameter(name, f"{shown!r} is not a whole number; {wanted}")
    sign = match[1]
    digits = match[2].replace("_", "").lstrip("0") or "0"
    if len(digits) > _MAX_DIGITS:
        raise InvalidParameter(name, f"{shown!r} has {len(digits)} digits; {wanted}")
    number = int(digits)
    if sign == "-" and number:
        raise InvalidParameter(name, f"{shown!r} is negative; {wanted}")
    return number


def read_range(query: str) -> Range:
    """The range that a query string asks for.

    Raises `InvalidParameter` if it cannot be read, `RangeNotAllowed` beyond 2^64 - 1.
    """
    try:
        values = parse_qs(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise InvalidParameter("query", "it has more than 100 fields") from None
    start = read_number("start_num", values.get("start_num", [None])[0])
    end = read_number("end_num", values.get("end_num", [None])[0])
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


def wants_strings(request: web.Request) -> bool:
    """Whether numbers are to be written as strings: `?numbers=`. Raises `InvalidParameter`."""
    return read_choice("numbers", request.query.get("numbers", "number"), NUMBERS) == "string"


def read_seconds(name: str, text: str) -> float:
    """A number of seconds, zero or more. Raises `InvalidParameter`."""
    if not _SECONDS.fullmatch(text):
        raise InvalidParameter(name, f"{shown(text)} is not a number of seconds")
    return float(text)


def canonical_id(job_id: str) -> str:
    """The id as jobs have it, in lower case. Raises `UnknownJob` for what is no UUID."""
    if not _ID.fullmatch(job_id):
        raise UnknownJob(job_id if len(job_id) <= _SHOWN else job_id[:_SHOWN] + "...")
    return job_id.lower()
