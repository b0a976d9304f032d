"""The text formats: what standard readers make of them, and what standard writers write."""

import csv
import io
import json
from itertools import pairwise

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it ships no stubs
import pytest
from hypothesis import given

from primesvc.formats.base import total_bytes
from primesvc.formats.text import CSV, JSON, JSON_STRINGS, NDJSON, NDJSON_STRINGS, TEXT
from tests.formats.files import (
    ASCENDING,
    CUTS,
    EVERY_FORMAT,
    TEXTS,
    assembled,
    encoded,
    summary_of,
    values_in,
    written_elsewhere,
)
from tests.helpers import naive_primes

LARGEST_PRIME = 18446744073709551557
"""The largest below 2^64: beyond the numbers that a double holds exactly."""

every_text = pytest.mark.parametrize("name", TEXTS)


@every_text
@pytest.mark.parametrize("values", [[], [2], [2, 3, 5, 7, 11], naive_primes(0, 2000)], ids=len)
def test_the_file_is_what_the_standard_library_writes(name: str, values: list[int]) -> None:
    """Without values, with one and several, the bytes are those of `json.dumps` and `csv`."""
    assert assembled(EVERY_FORMAT[name], [values]) == written_elsewhere(name, values)


@every_text
@given(values=ASCENDING, cuts=CUTS)
def test_segments_leave_no_trace(name: str, values: list[int], cuts: list[int]) -> None:
    """However values are spread over segments, some of them empty, the file is the same."""
    segments = [values[a:b] for a, b in pairwise(cuts)]
    assert assembled(EVERY_FORMAT[name], segments) == written_elsewhere(name, values)


@every_text
@given(values=ASCENDING)
def test_what_is_written_is_read(name: str, values: list[int]) -> None:
    """Every value comes back from the reader its users have, also those above 2^53."""
    assert values_in(name, assembled(EVERY_FORMAT[name], [values])) == values


@every_text
@given(values=ASCENDING.filter(bool))
def test_a_value_has_the_length_that_its_digits_say(name: str, values: list[int]) -> None:
    """`values_bytes` is exact for one value and for many."""
    format_ = EVERY_FORMAT[name]
    assert all(
        len(encoded(format_, [value])) == format_.values_bytes(1, len(str(value)))
        for value in values
    )
    total = summary_of(values)
    assert len(encoded(format_, values)) == format_.values_bytes(total.count, total.digits)


def test_json_is_an_array_of_numbers() -> None:
    """JSON is a true array, and its numbers are numbers."""
    assert json.loads(assembled(JSON, [[2, 3, LARGEST_PRIME]])) == [2, 3, LARGEST_PRIME]


def test_numbers_as_strings_survive_readers_that_know_doubles_only() -> None:
    """A reader that makes a double of every number alters the numbers, and not the strings."""
    numbers = assembled(JSON, [[LARGEST_PRIME]])
    strings = assembled(JSON_STRINGS, [[LARGEST_PRIME]])
    assert json.loads(numbers, parse_int=float) != [LARGEST_PRIME]
    assert json.loads(strings, parse_int=float) == [str(LARGEST_PRIME)]


def test_a_line_of_ndjson_is_json() -> None:
    """Every line of NDJSON is a JSON text by itself, and the last one ends too."""
    for format_, expected in ((NDJSON, [7, 11]), (NDJSON_STRINGS, ["7", "11"])):
        data = assembled(format_, [[7, 11]])
        assert data.endswith(b"\n")
        assert [json.loads(line) for line in data.splitlines()] == expected


def test_text_is_a_number_a_line() -> None:
    """Text has nothing but numbers and line ends: `numpy.loadtxt` and `sort -n` read it."""
    data = assembled(TEXT, [[2, 3], [LARGEST_PRIME]])
    assert data == b"2\n3\n18446744073709551557\n"
    np.testing.assert_array_equal(
        np.loadtxt(io.BytesIO(data), np.uint64), np.array([2, 3, LARGEST_PRIME], np.uint64)
    )


def test_csv_has_a_header() -> None:
    """CSV begins with the name of its column, as its media type says, also without primes."""
    assert assembled(CSV, []) == b"prime\n"
    assert CSV.media_type.endswith("header=present")
    data = assembled(CSV, [[2, 3, LARGEST_PRIME]])
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert rows == [{"prime": "2"}, {"prime": "3"}, {"prime": str(LARGEST_PRIME)}]
    frame = pd.read_csv(io.BytesIO(data), dtype=np.uint64)
    assert frame["prime"].tolist() == [2, 3, LARGEST_PRIME]


@every_text
def test_a_separator_stands_between_values_only(name: str) -> None:
    """The bytes behind the last value are `spare` fewer than behind every other."""
    format_ = EVERY_FORMAT[name]
    one, two = (assembled(format_, [[11] * count]) for count in (1, 2))
    assert len(two) - len(one) == format_.values_bytes(1, 2)
    assert total_bytes(format_, summary_of([11])) == len(one)


@every_text
def test_a_buffer_too_small_is_an_error(name: str) -> None:
    """The exact size is enough, one byte less is an error that writes nothing."""
    format_ = EVERY_FORMAT[name]
    primes = np.array([2, 3, 5, 10007], np.uint64)
    total = summary_of(primes)
    size = format_.values_bytes(total.count, total.digits)
    out = np.full(size, 0xAA, np.uint8)
    with pytest.raises(ValueError, match=f"takes {size} bytes"):
        format_.encode(primes, out[:-1])
    assert (out == 0xAA).all()
    assert format_.encode(primes, out) == size
