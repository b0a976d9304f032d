"""Numbers in any text: read as what they say, or refused, and never at a price."""

import json
import re
import time
from contextlib import suppress
from fractions import Fraction
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from primesvc.errors import InvalidParameter, RangeNotAllowed
from primesvc.kinds.parameters import read_choice, read_number
from primesvc.numbers import read_number_list, read_whole_number
from primesvc.web.parameters import read_range, read_seconds
from tests.fuzz.search import cases, misspelt

ALPHABET = "0123456789+-_.eE*^ \t\n,x/()\0\u0661\u00b2\uff11\u2212\u00a0"

digits = st.text("0123456789", min_size=1, max_size=25)
grouped = st.lists(digits, min_size=1, max_size=3).map("_".join)
spaces = st.sampled_from(["", "", "", " ", "\t", " \n"])


def joined(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[str]:
    """Texts of several parts one behind the other."""
    wanted = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*wanted).map("".join)


signs = st.sampled_from(["", "", "", "+", "-"])
exponents = joined(
    st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.text("0123456789", max_size=4)
)
decimals = joined(grouped, st.just("") | joined(".", digits), st.just("") | exponents)
powers = joined(
    digits, spaces, st.sampled_from(["**", "^"]), spaces, st.text("0123456789", max_size=4),
    st.just("") | joined(spaces, st.sampled_from("+-"), spaces, digits),
)  # fmt: skip
shaped = joined(spaces, signs, decimals | powers, spaces)
texts = st.one_of(st.text(ALPHABET, max_size=30), st.text(), shaped, misspelt(shaped, ALPHABET))


def reading(text: str) -> Fraction | None:
    """What a text of one of the documented forms says; None for any other.

    The parts are taken apart with no more than `partition`, and read by `Fraction`.
    """
    text = text.strip(" \t\n\r\f\v")
    power = "**" if "**" in text else "^"
    if power not in text:
        sign, text = _sign(text)
        mantissa, e, tens = text.replace("E", "e").partition("e")
        whole, point, part = mantissa.partition(".")
        tens = tens.removeprefix("+")
        if (
            not _is_grouped(whole)
            or (point and not _is_digits(part))
            or (e and not _is_digits(tens))
        ):
            return None
        if len(tens) > 3 or int(tens or 0) > 40:
            return None
        return sign * Fraction(mantissa) * Fraction(f"1e{tens or 0}")
    sign, text = _sign(text)
    base, _, rest = text.partition(power)
    mark = "+" if "+" in rest else "-"
    exponent, then, more = rest.partition(mark)
    base = base.rstrip(" \t\n\r\f\v")
    exponent, more = (part.strip(" \t\n\r\f\v") for part in (exponent, more))
    if not _is_digits(base) or not _is_digits(exponent) or (then and not _is_digits(more)):
        return None
    if max(len(base), len(more)) > 20 or len(exponent) > 3:
        return None
    value = sign * int(base) ** int(exponent)
    return Fraction(value + (-int(more) if then == "-" else int(more or 0)))


def _sign(text: str) -> tuple[int, str]:
    return (-1 if text[:1] == "-" else 1), text[1:] if text[:1] in ("+", "-") else text


def _is_digits(text: str) -> bool:
    return bool(text) and set(text) <= set("0123456789")


def _is_grouped(text: str) -> bool:
    return all(map(_is_digits, text.split("_")))


@cases(500)
@given(texts)
@example("-2^3-100")
@example("-2^3-1")
@example("-2**3+100")
@example("0^0")
@example("- 0**0")
@example("0e40")
@example("0e41")
@example("0" * 160)
@example("0" * 161)
@example("1_0.5e1")
def test_any_text_is_read_as_what_it_says(text: str) -> None:
    """Every text that is read says that number, every other one is refused with a reason."""
    expected = reading(text)
    fits = (
        expected is not None
        and len(text) <= 160
        and expected.denominator == 1
        and abs(expected) < 10**40
    )
    if fits:
        assert read_whole_number(text) == expected
    else:
        with pytest.raises(ValueError, match=r"^it (is|has) "):
            read_whole_number(text)


LONG = [
    "9" * 10**5, "1" + "0" * 10**5, "10**10**10", "10^" + "9" * 10**5, "1e999999999",
    "1e" + "9" * 10**5, "1." + "0" * 10**5 + "1e5", "-" * 10**5 + "1", "+-" * 10**5, "1_" * 10**5,
    "_" * 10**5, " " * 10**5 + "1", "1" + " " * 10**5, "1" + " " * 10**5 + "x", "\u0661" * 10**5,
    "2^" * 10**5, "1e" * 10**5, "9" * 20 + "^" + "9" * 3, "1" * 159 + "x", " " * 159 + "x",
    "1_" * 79 + "x", "2" + " " * 70 + "^" + " " * 70 + "x",
]  # fmt: skip


@pytest.mark.parametrize("text", LONG, ids=lambda text: f"{text[:10]!r}")
def test_what_is_long_costs_nothing(text: str) -> None:
    """However long, deep or steep: a number is refused, or read, in a millisecond."""
    query = f"start_num={text}&end_num={text}"
    begun = time.process_time()
    for read, value in (
        (read_whole_number, text),
        (lambda value: read_number("start", value), text),
        (lambda value: read_number("start_num", value, strict=True), text),
        (lambda value: read_seconds("wait", value), text),
        (read_range, query),
    ):
        with suppress(ValueError):
            read(value)
    assert time.process_time() - begun < 0.1


@cases(300)
@given(st.one_of(texts, st.none(), st.text("0123456789_+- ", max_size=50)))
def test_numbers_of_the_contract(text: str | None) -> None:
    """`start_num` and `end_num` are plain digits with a sign, or `InvalidParameter` names them."""
    plain = re.fullmatch(r"[+-]?(\d+(?:_\d+)*)", (text or "").strip(" \t\n\r\f\v"), re.ASCII)
    value = int(plain[0].replace("_", "")) if plain else -1
    if 0 <= value < 10**40:
        assert read_number("end_num", text, strict=True) == value
    else:
        with pytest.raises(InvalidParameter, match=r"^end_num: ") as caught:
            read_number("end_num", text, strict=True)
        assert len(str(caught.value)) < 500


json_values = st.recursive(
    st.none() | st.booleans() | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values),
    max_leaves=5,
)


@cases(300)
@given(json_values)
def test_numbers_in_json(value: Any) -> None:
    """Whatever stands where a number should: it is that number, or `InvalidParameter` names it."""
    expected = reading(value) if isinstance(value, str) and len(value) <= 160 else None
    if expected is not None and expected.denominator == 1 and 0 <= expected < 10**40:
        assert read_number("start", value) == expected
    else:
        with pytest.raises(InvalidParameter, match=r"^start: ") as caught:
            read_number("start", value)
        assert len(str(caught.value)) < 500


@cases(300)
@given(st.lists(st.integers() | json_values, max_size=5))
@example([True])
@example([1.0, 1e20, 1e300])
@example([10**40, "10**40"])
def test_lists_of_numbers(values: list[Any]) -> None:
    """A list is what its elements say, or an error names the first that says no number."""
    body = json.dumps({"numbers": values}).encode()
    said = [
        None if isinstance(value, bool) or not isinstance(value, int | float | str)
        else reading(str(value)) if len(str(value)) <= 160 else None
        for value in values
    ]  # fmt: skip
    good = [n is not None and n.denominator == 1 and 0 <= n < 10**40 for n in said]
    if all(good):
        assert read_number_list(body) == said
    else:
        with pytest.raises(InvalidParameter) as caught:
            read_number_list(body)
        assert caught.value.name == f"numbers[{good.index(False)}]"
        assert len(str(caught.value)) < 500


@cases(300)
@given(st.binary(max_size=50) | json_values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 10**5)
@example(b'{"numbers": [NaN]}')
@example(b'{"numbers": {"0": 7}}')
def test_lists_in_any_bytes(body: bytes) -> None:
    """Whatever the bytes: numbers, or an error that says what is wrong."""
    try:
        numbers = read_number_list(body)
    except InvalidParameter as error:
        assert error.name.startswith(("body", "numbers"))  # noqa: PT017 - either is right
        assert len(str(error)) < 500  # noqa: PT017
    else:
        assert all(type(number) is int and number >= 0 for number in numbers)


@cases(200)
@given(json_values | st.sampled_from(["number", "true", True]))
def test_choices_in_json(value: Any) -> None:
    """Whatever stands where a word should: it is one of them, or `InvalidParameter` names it."""
    choices = ("number", "string", "true", "false")
    try:
        found = read_choice("dry_run", value, choices)
    except InvalidParameter as error:
        assert value not in choices
        assert str(error).startswith("dry_run: ")  # noqa: PT017 - either is right
        assert len(str(error)) < 500  # noqa: PT017
    else:
        assert found in choices
        assert found == (str(value).lower() if isinstance(value, bool) else value)


queries = st.one_of(
    st.text(),
    st.tuples(texts, texts).map(lambda pair: urlencode({"start_num": pair[0], "end_num": pair[1]})),
    st.tuples(digits, digits).map(lambda pair: f"start_num={pair[0]}&end_num={pair[1]}"),
    misspelt(st.just("start_num=4&end_num=11&start_num=5&more=%31%zz;x"), "&=;%+0123456789 "),
    st.just("&" * 200),
)


@cases(300)
@given(queries)
def test_queries_of_the_contract(query: str) -> None:
    """Any query is a range, or an error that says which parameter is wrong."""
    try:
        range_ = read_range(query)
    except (InvalidParameter, RangeNotAllowed) as error:
        assert len(str(error)) < 1000  # noqa: PT017 - either is right
    else:
        assert 0 <= range_.start < range_.end < 2**64


@cases(200)
@given(texts | st.from_regex(r"[0-9]{1,400}([.][0-9]+)?([eE][+-]?[0-9]{1,400})?"))
def test_seconds(text: str) -> None:
    """Any text is some seconds, zero or more, or `InvalidParameter`."""
    try:
        seconds = read_seconds("wait", text)
    except InvalidParameter:
        return
    assert seconds >= 0
