"""Decimal text of ascending integers: exact against `str`, and never outside its bytes."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from primesvc.formats.decimal import decimal_digits, encode_decimals, encoded_size

LARGEST = 2**64 - 1
POWERS = [10**exponent for exponent in range(20)]
AFFIXES = [(b"", b", "), (b"", b"\n"), (b'"', b'",'), (b"", b""), (b"<prime>", b"</prime>\n")]
FILLER = 0xAA
MARGIN = 11  # odd, so that the text starts unaligned

affixes = pytest.mark.parametrize(("before", "after"), AFFIXES)


def expected_text(values: NDArray[np.uint64], before: bytes, after: bytes) -> bytes:
    """Render `values` one by one, with `str`."""
    return b"".join(before + str(value).encode() + after for value in values.tolist())


def assert_exact(values: NDArray[np.uint64], before: bytes, after: bytes) -> None:
    """Encode into the midst of a buffer: the text is exact, the bytes around it untouched."""
    expected = expected_text(values, before, after)
    buffer = np.full(len(expected) + 2 * MARGIN, FILLER, np.uint8)
    assert encode_decimals(values, before, after, buffer[MARGIN:]) == len(expected)
    assert buffer[MARGIN:-MARGIN].tobytes() == expected
    assert (buffer[:MARGIN] == FILLER).all()
    assert (buffer[-MARGIN:] == FILLER).all()


def dense_values(start: int, count: int, gap: int, seed: int = 1) -> NDArray[np.uint64]:
    """Return up to `count` ascending values from `start` on, `gap` apart on average."""
    steps = np.random.default_rng(seed).integers(0, 2 * gap + 1, count).tolist()
    values = [value for value in accumulate(steps, initial=start) if value <= LARGEST]
    return np.array(values[:count], np.uint64)


@affixes
def test_digit_length_boundaries(before: bytes, after: bytes) -> None:
    """The last value of each number of digits and the first of the next come out whole."""
    near = {power + step for power in POWERS for step in (-1, 0, 1)} | {LARGEST - 1, LARGEST}
    values = np.array(sorted(near), np.uint64)
    assert_exact(values, before, after)
    for index in range(len(values)):
        assert_exact(values[index : index + 1], before, after)


@affixes
@pytest.mark.parametrize("power", POWERS)
def test_dense_values_across_a_boundary(power: int, before: bytes, after: bytes) -> None:
    """Thousands of neighbours around a power of ten are exact on both sides of it."""
    assert_exact(dense_values(max(0, power - 60_000), 6_000, 20), before, after)


@affixes
@pytest.mark.parametrize("gap", [0, 1, 40, 3_000])
@pytest.mark.parametrize("start", [0, 99_990, 1_999_000, 4_294_000_000, 10**12, LARGEST - 10**5])
def test_any_density(start: int, gap: int, before: bytes, after: bytes) -> None:
    """Repeated, consecutive, prime-like and sparse values are exact, up to the largest of all."""
    assert_exact(dense_values(start, 3_000, gap), before, after)


@affixes
def test_blocks_without_values(before: bytes, after: bytes) -> None:
    """Dense values with wide holes between them are exact."""
    starts = [10**6 + hole * 10**6 for hole in range(4)]
    values = np.concatenate([dense_values(start, 5_000, 10) for start in starts])
    assert_exact(values, before, after)


def test_largest_value() -> None:
    """The largest 64-bit value has its twenty digits, alone and as the end of a dense array."""
    assert_exact(np.array([LARGEST], np.uint64), b"", b"\n")
    values = np.arange(LARGEST - 5_000, LARGEST, dtype=np.uint64) + np.uint64(1)
    assert values[-1] == LARGEST
    assert_exact(values, b"", b"\n")


def test_leading_digits_that_change() -> None:
    """A dense array whose leading digit rises on its way is exact."""
    assert_exact(dense_values(1_900_000, 30_000, 20), b"", b", ")
    assert_exact(dense_values(9_899_000_000, 20_000, 20), b"", b"")


@settings(deadline=None)
@given(values=st.lists(st.integers(0, LARGEST)), before=st.binary(max_size=9), after=st.binary())
def test_random_values(values: list[int], before: bytes, after: bytes) -> None:
    """Any sorted values with any bytes around them are exact, and their size is foretold."""
    array = np.array(sorted(values), np.uint64)
    assert_exact(array, before, after)
    assert decimal_digits(array) == sum(len(str(value)) for value in values)
    size = len(expected_text(array, before, after))
    assert encoded_size(array, len(before) + len(after)) == size


@settings(deadline=None, max_examples=60)
@given(
    start=st.one_of(st.integers(0, LARGEST), st.integers(0, 10**8)),
    gap=st.integers(0, 100),
    before=st.binary(max_size=4),
    after=st.binary(max_size=4),
    seed=st.integers(0, 99),
)
def test_random_dense_values(start: int, gap: int, before: bytes, after: bytes, seed: int) -> None:
    """Dense values from anywhere with any bytes around them are exact."""
    assert_exact(dense_values(start, 2_000, gap, seed), before, after)


def test_no_values() -> None:
    """An empty array is no text, and an empty buffer holds it."""
    nothing = np.empty(0, np.uint64)
    assert encode_decimals(nothing, b"<", b">", np.empty(0, np.uint8)) == 0
    assert decimal_digits(nothing) == 0


@pytest.mark.parametrize("count", [1, 7, 5_000])
def test_exact_and_short_buffers(count: int) -> None:
    """A buffer of the exact size is enough; one byte less is an error that writes nothing."""
    values = dense_values(10**9, count, 20)
    expected = expected_text(values, b"", b", ")
    exact = np.empty(len(expected), np.uint8)
    assert encode_decimals(values, b"", b", ", exact) == len(expected)
    assert exact.tobytes() == expected
    short = np.full(len(expected) - 1, FILLER, np.uint8)
    with pytest.raises(ValueError, match=f"takes {len(expected)} bytes"):
        encode_decimals(values, b"", b", ", short)
    assert (short == FILLER).all()


def test_read_only_values_with_a_stride() -> None:
    """Values need be neither writable nor contiguous."""
    values = dense_values(10**9, 8_000, 10)[::2]
    values.flags.writeable = False
    assert_exact(values, b"", b", ")
