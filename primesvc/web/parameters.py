"""Reads what clients send: numbers, ranges, ids."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web

from primesvc.errors import InvalidParameter, UnknownJob
from primesvc.numbers import FORMS, STRICT_FORM, read_whole_number
from primesvc.sieve.range import Range

_COUNT: Final = re.compile(r"[0-9]{1,20}", re.ASCII)

MAX_COUNT: Final = 2**64
"""The largest position or number of things that is read."""

_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)

_ID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
"""A UUID as it is usually written; `uuid.UUID` reads many other ways too."""

_SHOWN: Final = 60
"""Characters of a wrong value that the error repeats."""


def read_number(name: str, value: object, *, strict: bool = False) -> int:
    """The whole number, zero or more, that a parameter or a JSON member says.

    In any form, or with `strict` in digits alone. Numbers in JSON come as their text, as
    `bodies.read_json_object` leaves them. Raises `InvalidParameter`.
    """
    if value is None:
        forms = STRICT_FORM if strict else FORMS
        raise InvalidParameter(name, f"it is missing; give a whole number such as {forms}")
    if not isinstance(value, str):
        raise InvalidParameter(name, f"it must be a number or a string, not {_kind_of(value)}")
    try:
        number = read_whole_number(value, strict=strict)
    except ValueError as error:
        raise InvalidParameter(name, f"{_shown(value)}: {error}") from None
    if number < 0:
        raise InvalidParameter(name, "it is negative; give a whole number from 0 to 2^64 - 1")
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
    start, end = (
        read_number(name, values.get(name, [None])[0], strict=True)
        for name in ("start_num", "end_num")
    )
    if end <= start:
        raise InvalidParameter(
            "end_num", f"it must be greater than start_num; {end} is not greater than {start}"
        )
    return Range(start, end)


def read_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """One of the choices; JSON's true and false are read as words. Raises `InvalidParameter`."""
    text = str(value).lower() if isinstance(value, bool) else value
    if not isinstance(text, str):  # it may be nested too deep to be shown
        raise InvalidParameter(name, f"{_kind_of(value)} is none of {', '.join(choices)}")
    if text not in choices:
        raise InvalidParameter(name, f"{_shown(str(value))} is none of {', '.join(choices)}")
    return text


def read_count(request: web.Request, name: str) -> int | None:
    """A whole number from 0 to 2^64, None if it is not given. Raises `InvalidParameter`."""
    text = request.query.get(name)
    if text is None:
        return None
    if not _COUNT.fullmatch(text) or int(text) > MAX_COUNT:
        raise InvalidParameter(name, f"{_shown(text)} is not a whole number from 0 to 2^64")
    return int(text)


def read_seconds(name: str, text: str) -> float:
    """A number of seconds, zero or more. Raises `InvalidParameter`."""
    if not _SECONDS.fullmatch(text):
        raise InvalidParameter(name, f"{_shown(text)} is not a number of seconds")
    return float(text)


def _kind_of(value: object) -> str:
    kinds = {bool: "a boolean", list: "an array", type(None): "null"}
    return kinds.get(type(value), "an object")


def _shown(text: str) -> str:
    """A wrong value as errors repeat it: quoted, and cut if it is long."""
    return repr(_cut(text))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def canonical_id(job_id: str) -> str:
    """The id as jobs have it, in lower case. Raises `UnknownJob` for what is no UUID."""
    if not _ID.fullmatch(job_id):
        raise UnknownJob(_cut(job_id))
    return job_id.lower()
