"""Whole numbers as people and JSON write them: `1_000_000`, `1e6`, `1.0`, `10**6`, `2^64-1`."""

import json
import operator
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn, SupportsIndex

from primesvc.errors import InvalidParameter, RangeNotAllowed

_FORM: Final = re.compile(
    r"""\s*(?P<sign>[+-]?)(?:
        (?P<plain>[0-9]+(?:_[0-9]+)*)
      | (?P<whole>[0-9]+(?:_[0-9]+)*)(?:\.(?P<part>[0-9]+))?(?:[eE]\+?(?P<tens>[0-9]{1,3}))?
      | (?P<base>[0-9]{1,20})\s*(?:\*\*|\^)\s*(?P<power>[0-9]{1,3})
        (?:\s*(?P<then>[+-])\s*(?P<more>[0-9]{1,20}))?
    )\s*""",
    re.ASCII | re.VERBOSE,
)

_MAX_DIGITS: Final = 40
"""Digits of a number at the most; the largest number of a range has 20."""

FORMS: Final = "1000000, 1_000_000, 1e6, 10**6 or 2^64-1"
"""Examples of what is read, for error messages."""


STRICT_FORM: Final = "1000000"
"""An example of what is read where only digits are."""

EXACT_FLOAT: Final = 2**53
"""Up to here every whole number is a float of its own."""

MAX_NUMBERS: Final = 100_000
"""Numbers of one list at the most: to test them takes half a second of one core."""


@dataclass(frozen=True, slots=True)
class NumberFacts:
    """What is to be said of one whole number from 0 to 2^64 - 1."""

    number: int
    is_prime: bool
    factors: tuple[tuple[int, int], ...]
    """Its prime factors `(prime, exponent)`, ascending; none of 0 and 1."""
    previous: int | None
    """The largest prime below it, None if there is none."""
    next: int | None
    """The smallest prime above it, None if there is none below 2^64."""
    index: int | None
    """How many primes there are up to it, None where that takes long to count."""


def read_whole_number(text: str, *, strict: bool = False) -> int:
    """The whole number that the text says, also negative.

    `strict` reads what Python's `int` does: digits alone, with a sign, underscores, spaces
    around, and any number of zeros in front; other forms are of 160 characters at the most.

    Raises `ValueError`, whose message says what is wrong, for anything else
    and for numbers of more than 40 digits.
    """
    if not strict and len(text) > 4 * _MAX_DIGITS:
        raise ValueError("it is too long for a number")
    match = _FORM.fullmatch(text)
    if match is None or (strict and match["plain"] is None):
        raise ValueError(f"it is not a whole number such as {STRICT_FORM if strict else FORMS}")
    number = _value(match)
    if match["sign"] == "-":
        number = -number
    # As everywhere, the sign is that of the power: -2^3-1 is -9.
    more = int(match["more"] or 0)
    number += -more if match["then"] == "-" else more
    if abs(number) >= 10**_MAX_DIGITS:
        raise ValueError(f"it has more than {_MAX_DIGITS} digits")
    return number


def whole(name: str, value: SupportsIndex | float) -> int:
    """The `int` of a number of any type that has one: NumPy's too, and 1e6.

    Raises `InvalidParameter`, with the name, for a float that is not whole or above 2^53, where
    not every whole number is one, and `TypeError` for what is no number.
    """
    if not isinstance(value, float):
        return operator.index(value)
    if not value.is_integer():
        raise InvalidParameter(name, f"{value!r} is not whole")
    if abs(value) > EXACT_FLOAT:
        raise InvalidParameter(
            name, f"{value!r} is a float above 2^53, which may be rounded; give an int: 10**18"
        )
    return int(value)


def _value(match: re.Match[str]) -> int:
    """The number behind the sign, up to what is added to a power."""
    if match["plain"]:
        digits = match["plain"].replace("_", "").lstrip("0")
        # Python refuses to read thousands of digits, and says so in words of its own.
        return int(digits[: _MAX_DIGITS + 1] or "0")
    if match["whole"]:
        part = match["part"] or ""
        tens = int(match["tens"] or 0)
        if tens > _MAX_DIGITS:
            raise ValueError(f"it has more than {_MAX_DIGITS} digits")
        if len(part.rstrip("0")) > tens:
            raise ValueError("it is not whole")
        return int(match["whole"] + part.ljust(tens, "0")[:tens])
    base, power = int(match["base"]), int(match["power"])
    if base > 1 and power * (base.bit_length() - 1) > 4 * _MAX_DIGITS:
        raise ValueError(f"it has more than {_MAX_DIGITS} digits")
    return int(base**power)


def read_json_object(text: bytes, example: str) -> dict[str, Any]:
    """The JSON object that a text holds, its numbers left as text.

    So 1e6 is whole, no digit above 2^53 is lost, and 1e999999999 costs nothing.
    Raises `InvalidParameter`, which shows the example.
    """
    try:
        document = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidParameter("body", "it is not JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise InvalidParameter("body", f"it must be a JSON object such as {example}")
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")


def check_how_many(count: int) -> None:
    """Raise `RangeNotAllowed` for a list of more than `MAX_NUMBERS`."""
    if count > MAX_NUMBERS:
        raise RangeNotAllowed(
            f"there are {count} numbers, the limit is {MAX_NUMBERS}; ask in several requests",
            limit=MAX_NUMBERS,
        )


def read_number_list(text: bytes) -> list[int]:
    """The numbers, zero or more, of the JSON object `{"numbers": [...]}`, in any form each.

    Raises `InvalidParameter`, which names the first that cannot be read, and `RangeNotAllowed`.
    """
    example = '{"numbers": [7, "2^61-1"]}'
    numbers = read_json_object(text, example).get("numbers")
    if not isinstance(numbers, list):
        what = "it is missing" if numbers is None else "it must be an array"
        raise InvalidParameter("numbers", f"{what}; give a list such as in {example}")
    check_how_many(len(numbers))
    return [_element(at, value) for at, value in enumerate(numbers)]


def _element(at: int, value: object) -> int:
    if not isinstance(value, str):
        raise InvalidParameter(f"numbers[{at}]", "it must be a number or a string")
    try:
        number = read_whole_number(value)
    except ValueError as error:
        shown = value if len(value) <= _MAX_DIGITS else value[:_MAX_DIGITS] + "..."
        raise InvalidParameter(f"numbers[{at}]", f"{shown!r}: {error}") from None
    if number < 0:
        raise InvalidParameter(
            f"numbers[{at}]", "it is negative; give a whole number from 0 to 2^64 - 1"
        )
    return number
