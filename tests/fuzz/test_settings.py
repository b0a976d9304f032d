"""Settings in any text: a value inside its bounds, or an error that names the flag."""

import ipaddress
import re
from dataclasses import Field, fields
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from primesvc import Settings
from primesvc.errors import InvalidSetting
from tests.fuzz.search import cases, misspelt
from tests.fuzz.test_numbers import ALPHABET, texts

RIGHT = [
    "127.0.0.1", "::1", "[::1]", "localhost", "8080", "0", "256M", "1.5GiB", "10**13", "1e12",
    "2^64", "auto", "numpy", "3600", "0.5", "inf", "nan", "1e308", "1e309", "yes", "off", "json",
    "a.example,b.example", "*", "https://app.example:8443", "http://[::1]:80", "s3cret", "-1",
    "9" * 100 + "^64", "9" * 4300, "9" * 4301, "1e400g", "infg", "nang", "fe80::1%eth0",
]  # fmt: skip

names = st.sampled_from([item.name for item in fields(Settings)])
values = st.one_of(
    texts,
    st.text(),
    st.sampled_from(RIGHT),
    misspelt(st.sampled_from(RIGHT), ALPHABET + ":%[]@#?kmgtib"),
)


def assert_inside(item: "Field[Any]", value: object) -> None:
    """Assert that a value keeps the bounds that its setting names."""
    least, most, choices = (item.metadata[name] for name in ("least", "most", "choices"))
    if least is not None or most is not None:
        assert isinstance(value, int | float)
        assert (0 if least is None else least) <= value <= (2**64 if most is None else most)
    assert choices is None or value in choices
    if item.name == "allow_host":
        for host in value:  # type: ignore[attr-defined]
            assert re.fullmatch(r"[a-z0-9_.-]+|[*]", host) or ipaddress.IPv6Address(host)
    if item.name == "token":
        assert isinstance(value, str)
        assert value.isascii()
        assert value.isprintable()
        assert not set(value) & set(" \t\r\n")


@cases(600)
@given(names, values, st.booleans())
@example("max_span", "9" * 100 + "^64", True)
@example("max_span", "9" * 4300 + "^2", False)
@example("cache_bytes", "1e400g", True)
def test_any_text_is_inside_the_bounds_or_refused(name: str, text: str, flag: bool) -> None:
    """Whatever the text, from a flag or a variable: a value that may be, or its name is told."""
    item = next(item for item in fields(Settings) if item.name == name)
    variable = f"PRIMESVC_{name.upper()}"
    try:
        settings = Settings.read(*([{name: text}, {}] if flag else [{}, {variable: text}]))
    except InvalidSetting as error:
        source = f"--{name.replace('_', '-')}" if flag else variable
        assert str(error).startswith(f"{source}: ")  # noqa: PT017 - either is right
        assert not item.metadata["secret"] or len(text) < 8 or text not in str(error)  # noqa: PT017
    else:
        assert_inside(item, getattr(settings, name))


NUMBERS = {item.name: item for item in fields(Settings) if type(item.default) in (int, float)}


@cases(200)
@given(st.sampled_from(list(NUMBERS)), st.floats(), st.integers())
def test_any_number_is_inside_the_bounds_or_refused(name: str, real: float, whole: int) -> None:
    """The same for numbers that an embedder passes, where a number belongs."""
    item = NUMBERS[name]
    value = real if type(item.default) is float else whole
    try:
        settings = Settings(**{name: value})  # type: ignore[arg-type]
    except InvalidSetting as error:
        assert name in str(error)  # noqa: PT017 - either is right
    else:
        assert_inside(item, getattr(settings, name))
