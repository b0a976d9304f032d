"""Whole numbers as people and JSON write them: `1_000_000`, `1e6`, `1.0`, `10**6`, `2^64-1`."""

import re
from typing import Final

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
