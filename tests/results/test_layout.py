"""Where every byte of a virtual file stands: against the file itself, put together in memory."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.collect.plan import Plan
from primesvc.formats.base import Format
from primesvc.formats.text import CONTRACT, JSON, TEXT
from primesvc.results.layout import Layout
from primesvc.results.result import Result
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.range import Range
from tests.formats.files import EVERY_FORMAT, assembled, by_segment, summary_of
from tests.helpers import naive_primes
from tests.oracles import PI_OF_POWERS
from tests.results.parts import contributions, read

CELL = 2**16
CELLS_A_SEGMENT = 64

every_format = pytest.mark.parametrize("format_", EVERY_FORMAT.values(), ids=EVERY_FORMAT)


def result_of(grid: Grid, first: int, pieces: Sequence[Sequence[int]]) -> Result:
    """A result on neighbouring pieces of a grid, from the index `first` on, with these values."""
    indices = range(first, first + len(pieces))
    range_ = Range(grid.piece(indices[0]).start, grid.piece(indices[-1]).end)
    summaries = [summary_of(piece) for piece in pieces]
    return Result(
        Plan(range_, grid, indices, keep=True),
        np.array([summary.count for summary in summaries], np.int64),
        np.array([summary.digits for summary in summaries], np.int64),
    )


def windows_of(length: int) -> Iterator[tuple[int, int]]:
    """All windows [first, stop) of a short file; of a longer one those from, to and of any byte."""
    if length <= 120:
        yield from ((u, v) for u in range(length + 1) for v in range(u, length + 1))
        return
    for at in range(length + 1):
        yield from ((0, at), (at, length), (at, min(at + 1, length)), (at, min(at + 37, length)))


@every_format
@pytest.mark.parametrize(
    "pieces",
    [
        [[2, 3, 5, 7, 11, 13]],
        [[], [2, 3], [], [], [7, 11, 101], []],
        [[2], [3], [5]],
        [[], []],
        [[]],
    ],
    ids=str,
)
def test_every_window_of_a_file(format_: Format, pieces: list[list[int]]) -> None:
    """Any window, cut piece by piece, is that of the file; pieces without primes add nothing."""
    layout = Layout(result_of(SEGMENTS, 3, pieces), format_)
    file = assembled(format_, pieces)
    added = contributions(format_, SEGMENTS, 3, pieces)
    assert layout.length == len(file)
    for first, stop in windows_of(len(file)):
        assert read(layout, added, first, stop) == file[first:stop]


@every_format
@given(
    values=st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=40).map(sorted),
    cuts=st.lists(st.integers(0, 40), max_size=6).map(lambda at: [0, *sorted(at), 40]),
    ends=st.tuples(st.integers(0, 2000), st.integers(0, 2000)),
)
def test_any_window_of_any_file(
    format_: Format, values: list[int], cuts: list[int], ends: tuple[int, int]
) -> None:
    """Also with values of all lengths, and many pieces that are empty."""
    pieces = [values[a:b] for a, b in pairwise(cuts)]
    layout = Layout(result_of(SEGMENTS, 0, pieces), format_)
    file = assembled(format_, pieces)
    first, stop = sorted(min(end, len(file)) for end in ends)
    assert layout.length == len(file)
    got = read(layout, contributions(format_, SEGMENTS, 0, pieces), first, stop)
    assert got == file[first:stop]


@every_format
def test_the_grid_of_a_plan_does_not_show(format_: Format) -> None:
    """The file of a range is the same on cells and on segments: which it is depends on the cache.

    The cells lie on both sides of a border between segments, the first of each side is empty.
    """
    first = CELLS_A_SEGMENT - 3
    values = [n for n in range(first * CELL, (first + 6) * CELL, 9_973) if n // CELL % 3 != 1]
    cells = [[n for n in values if n // CELL == first + number] for number in range(6)]
    assert [len(cell) > 0 for cell in cells] == [False, True, True] * 2
    segments = by_segment(values)
    assert len(segments) == 2
    on_cells = Layout(result_of(CELLS, first, cells), format_)
    on_segments = Layout(result_of(SEGMENTS, 0, segments), format_)
    file = assembled(format_, segments)
    assert on_cells.length == on_segments.length == len(file)
    added = contributions(format_, CELLS, first, cells)
    for start, stop in windows_of(len(file)):
        assert read(on_cells, added, start, stop) == file[start:stop]


def test_a_window_looks_at_its_own_pieces_only() -> None:
    """In a file of a million pieces, a window of a few bytes is of one piece or two."""
    pieces = 10**6
    counts = np.full(pieces, 10, np.int64)
    range_ = Range(0, SEGMENTS.piece(pieces - 1).end)
    result = Result(Plan(range_, SEGMENTS, range(pieces), keep=False), counts, counts * 9)
    layout = Layout(result, TEXT)
    assert layout.length == pieces * 100
    for first in (0, 1, 99, 100, 49_999_950, layout.length - 60):
        windows = layout.pieces(first, first + 60)
        assert 1 <= len(windows) <= 2
        assert windows[0].index == first // 100
    assert len(layout.pieces(0, layout.length)) == pieces
    assert layout.pieces(0, layout.length)[pieces - 1].index == pieces - 1


def test_a_window_of_head_or_tail_is_of_no_piece() -> None:
    """Bytes before the first and behind the last prime ask for no work."""
    layout = Layout(result_of(SEGMENTS, 0, [[2, 3]]), CONTRACT)
    assert assembled(CONTRACT, [[2, 3]]) == b'"[2, 3]"\n'
    for first, stop in ((0, 2), (1, 2), (6, 9), (8, 9), (4, 4), (9, 9)):
        assert len(layout.pieces(first, stop)) == 0
    assert len(layout.pieces(1, 3)) == len(layout.pieces(5, 9)) == 1


def test_the_length_of_all_primes_to_a_power_of_ten_is_known() -> None:
    """From published counts alone follows the length of a file of exabytes."""
    assert Layout(decades(3), JSON).length == len(assembled(JSON, [naive_primes(0, 1000)]))
    # 4 * 1 + 21 * 2 + 143 * 3 + ... digits; between primes a comma, and a blank in the contract.
    digits, primes = 451_112_256, 50_847_534
    assert Layout(decades(9), JSON).length == 1 + digits + (primes - 1) + 2
    assert Layout(decades(9), CONTRACT).length == 2 + digits + 2 * (primes - 1) + 3
    assert Layout(decades(19), TEXT).length > 4 * 10**18


def decades(power: int) -> Result:
    """The result for all numbers up to a power of ten, with the decades as its pieces."""
    below = np.array(PI_OF_POWERS[: power + 1], np.int64)
    counts = below[1:] - below[:-1]
    digits = counts * np.arange(1, power + 1)
    plan = Plan(Range(0, 10**power), SEGMENTS, range(power), keep=False)
    return Result(plan, counts, digits)
