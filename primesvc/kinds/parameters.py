"""Reads the values of parameters: text, or what else stands in JSON."""

from collections.abc import Mapping, Sequence
from typing import Final

from primesvc.errors import InvalidParameter
from primesvc.numbers import FORMS, STRICT_FORM, read_whole_number
from primesvc.sieve.range import Range
from primesvc.sieve.selection import ALL, Selection

_SHOWN: Final = 60
"""Characters of a wrong value that the error repeats."""


def read_number(name: str, value: object, *, strict: bool = False) -> int:
    """The whole number, zero or more, that a parameter or a JSON member says.

    In any form, or with `strict` in digits alone. Numbers in JSON come as their text, as
    `bodies.read_json_object` leaves them. Raises `InvalidParameter`.
    """
    number = read_signed_number(name, value, strict=strict)
    if number < 0:
        raise InvalidParameter(name, "it is negative; give a whole number from 0 to 2^64 - 1")
    return number


def read_signed_number(name: str, value: object, *, strict: bool = False) -> int:
    """As `read_number`, and also a negative one."""
    if value is None:
        forms = STRICT_FORM if strict else FORMS
        raise InvalidParameter(name, f"it is missing; give a whole number such as {forms}")
    if not isinstance(value, str):
        raise InvalidParameter(name, f"it must be a number or a string, not {_type_of(value)}")
    try:
        return read_whole_number(value, strict=strict)
    except ValueError as error:
        raise InvalidParameter(name, f"{shown(value)}: {error}") from None


def read_selection(values: Mapping[str, object]) -> Selection:
    """What `pattern`, `modulus` and `residue` select; all primes without them.

    Raises `InvalidParameter`.
    """
    pattern, modulus, residue = (values.get(name) for name in ("pattern", "modulus", "residue"))
    if pattern is modulus is residue is None:
        return ALL
    if pattern is not None and (not isinstance(pattern, str) or not pattern):
        what = _type_of(pattern) if pattern else "empty"
        raise InvalidParameter("pattern", f"it must be a name or offsets such as 0,2,6, not {what}")
    if modulus is None:
        if residue is not None:
            raise InvalidParameter("residue", "it goes with a modulus; give both")
        return Selection(pattern or "")
    return Selection(
        pattern or "", read_number("modulus", modulus), read_number("residue", residue)
    )


def read_range(values: Mapping[str, object]) -> Range:
    """The closed range from `start` to `end`. Raises `InvalidParameter` and `RangeNotAllowed`."""
    start, end = (read_number(name, values.get(name)) for name in ("start", "end"))
    if end < start:
        raise InvalidParameter("end", f"it must not be below start; {end} is below {start}")
    return Range(start, end)


def read_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """One of the choices; JSON's true and false are read as words. Raises `InvalidParameter`."""
    text = str(value).lower() if isinstance(value, bool) else value
    if not isinstance(text, str):  # it may be nested too deep to be shown
        raise InvalidParameter(name, f"{_type_of(value)} is none of {', '.join(choices)}")
    if text not in choices:
        raise InvalidParameter(name, f"{shown(str(value))} is none of {', '.join(choices)}")
    return text


def shown(text: str) -> str:
    """A wrong value as errors repeat it: quoted, and cut if it is long."""
    return repr(cut(text))


def cut(text: str) -> str:
    """The text, or its beginning if it is too long for an error."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _type_of(value: object) -> str:
    types = {bool: "a boolean", list: "an array", type(None): "null"}
    return types.get(type(value), "an object")
