"""Whole numbers in all the forms that people and JSON write them in."""

import json
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.numbers import read_whole_number

NUMBERS = st.integers(0, 10**40 - 1)


@given(NUMBERS, st.sampled_from(["", "+", "-"]), st.text(" \t\n", max_size=3))
def test_digits_are_the_number(number: int, sign: str, space: str) -> None:
    """Plain digits are read exactly, with a sign, spaces around, zeros before or underscores."""
    expected = -number if sign == "-" else number
    for digits in (str(number), f"{number:_}", f"{number:043}"):
        assert read_whole_number(space + sign + digits + space) == expected


@given(st.integers(0, 10**10 - 1), st.integers(0, 30))
def test_powers_of_ten_move_the_point(number: int, tens: int) -> None:
    """`1.5e3` is 1500, wherever the point stands, as long as the value is whole."""
    digits = str(number)
    for at in range(1, len(digits) + 1):
        part = digits[at:]
        text = digits[:at] + (f".{part}" if part else "")
        for e in ("e", "E", "e+"):
            assert read_whole_number(f"{text}{e}{tens + len(part)}") == number * 10**tens


@given(st.integers(0, 2**20), st.integers(0, 6), st.integers(-(10**6), 10**6))
def test_powers_are_computed(base: int, power: int, more: int) -> None:
    """`10**6`, `10^6` and `2^64-1` are what they say, with spaces or without."""
    expected = base**power + more
    for mark in ("**", "^", " ** ", " ^ "):
        assert read_whole_number(f"{base}{mark}{power}{more:+}") == expected
    assert read_whole_number(f"{base}^{power}") == base**power


@given(st.one_of(st.integers(0, 2**64), st.floats(0, 1e22).map(lambda x: float(round(x)))))
def test_what_json_writes_is_read(number: float) -> None:
    """A whole number is read as any writer of JSON writes it, also as a float."""
    text = json.dumps(number)
    assert read_whole_number(text) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "1x", "1.5", "1.5e0", "1.55e1", "1e-3", ".5", "5.", "1.0_0", "1__0", "_1", "1_",
     "e5", "1e", "0x10", "1,000", "1 000", "--1", "+-1", "1e1e1", "2^", "^2", "2^-1", "2^2^2",
     "2*3", "1+1", "inf", "nan", "१", "²", "1\x00"],
)  # fmt: skip
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    """Anything else is a `ValueError` that says what is wrong."""
    with pytest.raises(ValueError, match=r"^it is "):
        read_whole_number(text)


@pytest.mark.parametrize(
    "text",
    ["1" + "0" * 40, "9" * 10**6, "1e41", "1e999", "10^41", "10^999", "2^999",
     "99999999999999999999^999", "1." + "0" * 10**6, "1e" + "9" * 10**6, "0" * 10**6],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_what_is_too_long_is_refused_at_once(text: str) -> None:
    """Huge numbers and huge texts are refused before anything is computed."""
    begun = time.process_time()
    with pytest.raises(ValueError, match=r"digits|long|not a whole number"):
        read_whole_number(text)
    assert time.process_time() - begun < 0.5
