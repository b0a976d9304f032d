"""Reads what clients send: numbers, ranges, ids."""

import re
import uuid
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qs

from primesvc.errors import InvalidParameter, UnknownJob
from primesvc.sieve.range import Range

_WHOLE_NUMBER: Final = re.compile(r"\s*([+-]?)0*([0-9]+(?:_[0-9]+)*)\s*", re.ASCII)

_MAX_DIGITS: Final = 40
"""Digits read of a number; the largest number of a range has 20."""

_ID_LENGTH: Final = 36
"""Characters of a UUID as it is usually written; `uuid.UUID` reads other ways too."""

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
    sign, digits = match.groups()
    if len(digits) > _MAX_DIGITS:
        raise InvalidParameter(name, f"{shown!r} has {len(digits)} digits; {wanted}")
    number = int(digits)
    if sign == "-" and number:
        raise InvalidParameter(name, f"{shown!r} is negative; {wanted}")
    return number


# Repeated requests are the common case, and reading one takes longer than answering it.
@lru_cache(maxsize=1024)
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


def canonical_id(job_id: str) -> str:
    """The id as jobs have it, in lower case. Raises `UnknownJob` for what is no UUID."""
    shown = job_id if len(job_id) <= _SHOWN else job_id[:_SHOWN] + "..."
    if len(job_id) != _ID_LENGTH:
        raise UnknownJob(shown)
    try:
        return str(uuid.UUID(job_id))
    except ValueError:
        raise UnknownJob(shown) from None
