"""Packed primes: exact both ways, and never taken for what they are not."""

import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from primesvc.sieve.packed import (
    MARK_EVERY,
    POWERS_OF_TEN,
    Packed,
    Positions,
    Summary,
    digit_cuts,
    pack,
)
from primesvc.sieve.range import MAX_NUMBER, Range
from tests.oracles import primes_between

HEADER_BYTES = 16
CHECKED_BYTES = 12

LINE = Range(0, MAX_NUMBER)
"""What holds whatever is packed; only the check sum depends on it."""

powers_of_ten = st.builds(lambda k, step: 10**k + step, st.integers(0, 19), st.integers(-1, 1))
numbers = st.integers(0, MAX_NUMBER) | st.integers(0, 1000) | powers_of_ten
# Gaps of one, two, four and eight bytes, and both sides of where a wider type is needed.
half_gaps = (
    st.integers(1, 127)
    | st.sampled_from([127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**32 - 1, 2**32])
    | st.integers(1, 2**61)
)


@st.composite
def odd_numbers(draw: st.DrawFn) -> NDArray[np.uint64]:
    """Ascending odd numbers, as primes are, in front of them 2 or not."""
    found = [2] if draw(st.booleans()) else []
    number = draw(st.integers(1, 50) | st.integers(1, 2**63 - 1)) * 2 + 1
    for half_gap in draw(st.lists(half_gaps, max_size=20)):
        if number > MAX_NUMBER:
            break
        found.append(number)
        number += 2 * half_gap
    return np.array(found, np.uint64)


def many(count: int, *, start: int = 3, half_gap: int = 20, seed: int = 1) -> NDArray[np.uint64]:
    """So many ascending odd numbers, with gaps up to twice `half_gap`; from 2 on if asked."""
    gaps = np.random.default_rng(seed).integers(1, half_gap + 1, count, np.uint64) * np.uint64(2)
    values = np.cumsum(gaps, dtype=np.uint64) + np.uint64(start | 1)
    if start == 2 and count:
        values[0] = 2
    return values


THREE_BLOCKS = many(2 * MARK_EVERY + 5000)
PACKED_BLOCKS = Packed.of(THREE_BLOCKS, LINE)
places = st.integers(0, len(THREE_BLOCKS) + 10) | st.builds(
    lambda block, step: max(block * MARK_EVERY + step, 0), st.integers(0, 2), st.integers(-3, 3)
)


@given(odd_numbers())
def test_packing_loses_nothing(primes: NDArray[np.uint64]) -> None:
    """Whatever the gaps, what was packed comes out again, from bytes and from a view of them."""
    data = pack(primes, LINE)
    for packed in (Packed(data), Packed(memoryview(data)), Packed.of(primes, LINE)):
        assert packed.count == len(primes)
        assert packed.primes().dtype == np.uint64
        np.testing.assert_array_equal(packed.primes(), primes)


@pytest.mark.parametrize(
    "primes",
    [
        [],
        [2],
        [3],
        [2, 3],
        [2, 18446744073709551557],
        [3, 18446744073709551557],
        [18446744073709551557],
        [304599508537, 304599509051],
    ],
    ids=str,
)
def test_the_smallest_and_the_widest_lists(primes: list[int]) -> None:
    """None, one, the only even prime, the widest gap of all, and the first that fits no byte."""
    assert Packed.of(np.array(primes, np.uint64), LINE).primes().tolist() == primes


@pytest.mark.parametrize("start", [2, 3, 2**63])
@pytest.mark.parametrize("count", [MARK_EVERY * k + step for k in (1, 2) for step in (-1, 0, 1)])
def test_counts_around_a_mark(count: int, start: int) -> None:
    """A list that ends just before, at or just after a mark is as exact as any."""
    primes = many(count, start=start)
    packed = Packed.of(primes, LINE)
    assert packed.count == count
    np.testing.assert_array_equal(packed.primes(), primes)
    np.testing.assert_array_equal(packed.primes(count - 1), primes[-1:])


@pytest.mark.parametrize(("half_gap", "width"), [(255, 1), (256, 2), (2**16, 4), (2**32, 8)])
def test_a_gap_takes_the_fewest_bytes_that_hold_the_largest(half_gap: int, width: int) -> None:
    """Gaps up to 510 take one byte a prime, larger ones two, four or eight."""
    primes = np.array([5, 7, 7 + 2 * half_gap], np.uint64)
    assert len(pack(primes, LINE)) == HEADER_BYTES + 8 + 2 * width


@given(places, places)
def test_a_slice_is_that_of_the_list(first: int, stop: int) -> None:
    """The primes at any positions are those that a slice of the whole list holds."""
    np.testing.assert_array_equal(PACKED_BLOCKS.primes(first, stop), THREE_BLOCKS[first:stop])


@given(st.integers(0, 3), places)
def test_a_window_is_a_packed_slice(block: int, stop: int) -> None:
    """A window holds the same primes as the slice, and is packed bytes of its own."""
    first = block * MARK_EVERY
    window = Packed(PACKED_BLOCKS.window(first, stop))
    np.testing.assert_array_equal(window.primes(), THREE_BLOCKS[first:stop])


@given(odd_numbers(), st.integers(0, 25))
def test_a_window_of_a_short_list_is_packed_too(primes: NDArray[np.uint64], stop: int) -> None:
    """Windows keep the width and the unit of the gaps, also where 2 is among the primes."""
    np.testing.assert_array_equal(
        Packed(Packed.of(primes, LINE).window(0, stop)).primes(), primes[:stop]
    )


@pytest.mark.parametrize("first", [1, MARK_EVERY - 1, MARK_EVERY + 1])
def test_a_window_starts_at_a_mark(first: int) -> None:
    """A window from anywhere else is refused: it could not be cut without decoding."""
    with pytest.raises(ValueError, match=str(first)):
        PACKED_BLOCKS.window(first, len(THREE_BLOCKS))


@given(odd_numbers(), numbers)
def test_an_index_counts_the_primes_below(primes: NDArray[np.uint64], number: int) -> None:
    """The index of a number is that of a search in the whole list."""
    packed = Packed.of(primes, LINE)
    for wanted in (number, *primes.tolist()):
        assert packed.index(wanted) == np.searchsorted(primes, np.uint64(wanted))
    assert packed.index(0) == 0
    assert packed.index(2**64) == len(primes)


@given(st.data())
def test_an_index_is_exact_around_marks(data: st.DataObject) -> None:
    """Numbers at, below and above any prime of a long list, marks among them, are placed right."""
    at = data.draw(places.filter(lambda place: place < len(THREE_BLOCKS)))
    prime = int(THREE_BLOCKS[at])
    assert [PACKED_BLOCKS.index(prime + step) for step in (-1, 0, 1)] == [at, at, at + 1]


@given(numbers, numbers)
def test_digit_cuts_partition_a_range(start: int, end: int) -> None:
    """The parts follow one another without a gap, each with one number of digits throughout."""
    range_ = Range(*sorted((start, end)))
    parts = digit_cuts(range_)
    assert (parts[0].start, parts[-1].end) == (range_.start, range_.end)
    for before, after in pairwise(parts):
        assert before.end + 1 == after.start
        assert len(str(before.end)) + 1 == len(str(after.start))
    for part in parts:
        assert len(str(part.start)) == len(str(part.end))


def test_the_powers_of_ten_are_all_there() -> None:
    """Every number at which one more digit is needed is known, up to the end of the line."""
    assert {len(str(power)) - len(str(power - 1)) for power in POWERS_OF_TEN} == {1}
    assert (len(POWERS_OF_TEN), len(str(MAX_NUMBER))) == (19, 20)


@given(odd_numbers(), numbers, numbers)
def test_a_summary_counts_what_str_would_write(
    primes: NDArray[np.uint64], start: int, end: int
) -> None:
    """Count and digits of any part are those of the primes in it, written out one by one."""
    range_ = Range(*sorted((start, end)))
    inside = [prime for prime in primes.tolist() if range_.start <= prime <= range_.end]
    packed = Packed.of(primes, LINE)
    assert packed.summary(range_) == Summary(len(inside), sum(len(str(p)) for p in inside))
    runs = packed.positions(range_)
    found = [prime for run in runs for prime in primes[run.first : run.stop].tolist()]
    assert found == inside
    for first, stop, digits in runs:
        assert {len(str(prime)) for prime in primes[first:stop].tolist()} <= {digits}


def test_positions_of_the_first_primes() -> None:
    """The primes up to 1100 stand in runs of 4, 21, 143 and 16 by their number of digits."""
    packed = Packed.of(np.array(primes_between(0, 1100), np.uint64), LINE)
    assert packed.positions(Range(0, 1100)) == [
        Positions(0, 4, 1),
        Positions(4, 25, 2),
        Positions(25, 168, 3),
        Positions(168, 184, 4),
    ]
    assert packed.summary(Range(0, 1100)) == Summary(184, 4 + 2 * 21 + 3 * 143 + 4 * 16)


@given(odd_numbers())
def test_truncated_or_longer_bytes_are_refused(primes: NDArray[np.uint64]) -> None:
    """Bytes that lack their end, or go on behind it, are not packed primes."""
    data = pack(primes, LINE)
    for length in range(len(data)):
        with pytest.raises(ValueError, match="packed primes"):
            Packed(data[:length])
    with pytest.raises(ValueError, match="packed primes"):
        Packed(data + b"\0")


@given(odd_numbers(), st.integers(0, 8 * CHECKED_BYTES - 1))
def test_a_flipped_bit_in_the_header_is_noticed(primes: NDArray[np.uint64], bit: int) -> None:
    """No single bit of the header, the check sum aside, can change unnoticed."""
    data = bytearray(pack(primes, LINE))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match="packed primes"):
        Packed(bytes(data))


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """Bytes that something else made raise `ValueError` and nothing else."""
    with pytest.raises(ValueError, match="packed primes"):
        Packed(data)


@given(
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 2]),
    st.integers(0, 3) | st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=100),
)
@example(width=1, scale=1, count=0, check_sum=0, rest=bytes(8))
@example(width=1, scale=1, count=1, check_sum=0, rest=b"")
@example(width=8, scale=2, count=2, check_sum=0, rest=bytes(16))
def test_a_header_that_claims_what_is_not_there_is_refused(
    width: int, scale: int, count: int, check_sum: int, rest: bytes
) -> None:
    """A header is believed only if the bytes behind it are as many as it says."""
    data = struct.pack("<4sBBHII", b"PSG2", width, scale, 0, count, check_sum) + rest
    marks = -(-count // MARK_EVERY)
    if len(rest) == 8 * marks + width * max(count - 1, 0):
        assert len(Packed(data).primes()) == count
    else:
        with pytest.raises(ValueError, match="packed primes"):
            Packed(data)


def test_what_an_earlier_version_packed_is_refused() -> None:
    """Packed primes without a check sum are none: they are sieved again."""
    data = struct.pack("<4sBBHII", b"PSG1", 1, 2, 0, 2, 1) + struct.pack("<QB", 5, 1)
    with pytest.raises(ValueError, match="packed primes"):
        Packed(data)
