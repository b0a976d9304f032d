"""Closed ranges of whole numbers: what they accept, and how they lie to one another."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.errors import RangeNotAllowed
from primesvc.sieve.range import MAX_NUMBER, Range

numbers = st.integers(0, MAX_NUMBER) | st.integers(0, 100)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """Any range."""
    return Range(*sorted((draw(numbers), draw(numbers))))


@pytest.mark.parametrize(
    ("start", "end", "span"),
    [(0, 0, 1), (7, 7, 1), (4, 11, 8), (MAX_NUMBER, MAX_NUMBER, 1), (0, MAX_NUMBER, 2**64)],
)
def test_both_ends_belong_to_a_range(start: int, end: int, span: int) -> None:
    """The span counts both ends, from a single number up to the whole line."""
    assert Range(start, end).span == span


@pytest.mark.parametrize(
    ("start", "end", "limit"),
    [
        (-1, 5, 0),
        (-(10**30), -5, 0),
        (0, MAX_NUMBER + 1, MAX_NUMBER),
        (2**64, 2**64, MAX_NUMBER),
        (5, 4, 5),
        (MAX_NUMBER, 0, MAX_NUMBER),
    ],
)
def test_a_range_outside_of_the_line_is_refused(start: int, end: int, limit: int) -> None:
    """Ends that are negative, too large or the wrong way round are refused with the limit."""
    with pytest.raises(RangeNotAllowed) as caught:
        Range(start, end)
    assert caught.value.limit == limit
    assert str(limit) in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("wrong", [1.0, "1", True, None, np.int64(1), np.uint64(1)])
def test_an_end_that_is_no_int_is_refused(wrong: int) -> None:
    """Only `int` itself is taken: a bool is a slip, and a NumPy integer would overflow later."""
    with pytest.raises(TypeError, match=type(wrong).__name__):
        Range(wrong, 5)
    with pytest.raises(TypeError, match=type(wrong).__name__):
        Range(0, wrong)


def test_a_range_is_a_value() -> None:
    """Equal ranges are equal keys, a range cannot be changed, and it prints as it is spoken."""
    assert {Range(2, 3): "found"}[Range(2, 3)] == "found"
    assert str(Range(4, 11)) == "4..11"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Range(2, 3).start = 1  # type: ignore[misc]


def test_ranges_sort_by_their_place_on_the_line() -> None:
    """The earlier start comes first, then the earlier end."""
    disordered = [Range(5, 5), Range(1, 3), Range(0, 9), Range(1, 2)]
    assert sorted(disordered) == [Range(0, 9), Range(1, 2), Range(1, 3), Range(5, 5)]


@given(ranges(), ranges(), numbers)
def test_covers_and_clip_agree_with_the_numbers(one: Range, other: Range, number: int) -> None:
    """A number lies in a clip if it lies in both ranges; one covers what its clip leaves whole."""

    def holds(range_: Range, number: int) -> bool:
        return range_.covers(Range(number, number))

    assert holds(one, number) == (one.start <= number <= one.end)
    if one.start > other.end or other.start > one.end:
        assert not one.covers(other)
        return
    both = one.clip(other)
    assert both == other.clip(one)
    assert holds(both, number) == (holds(one, number) and holds(other, number))
    assert one.covers(other) == (both == other)
