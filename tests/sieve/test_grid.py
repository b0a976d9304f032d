"""The grids: fixed pieces that partition the number line."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.range import MAX_NUMBER, Range

BOUNDARIES = sorted({start for grid in (SEGMENTS, CELLS) for start, _ in grid.zones} | {2**64})

grids = pytest.mark.parametrize("grid", [SEGMENTS, CELLS], ids=lambda grid: grid.name)

# Half of them close to a place where the width of the pieces changes, or to an end of the line.
near_boundaries = st.builds(int.__add__, st.sampled_from(BOUNDARIES), st.integers(-(2**30), 2**30))
numbers = st.integers(0, MAX_NUMBER) | near_boundaries.filter(lambda n: 0 <= n <= MAX_NUMBER)


@grids
def test_zones_start_at_multiples_of_their_width(grid: Grid) -> None:
    """Every zone starts aligned to its own width and to that of the zone before it."""
    assert grid.zones[0][0] == 0
    for start, width_log2 in grid.zones:
        assert start % 2**width_log2 == 0
    for (start, width_log2), (next_start, _) in pairwise(grid.zones):
        assert start < next_start <= MAX_NUMBER
        assert (next_start - start) % 2**width_log2 == 0


@grids
def test_pieces_partition_the_line_around_every_boundary(grid: Grid) -> None:
    """Near each zone boundary and both ends each piece begins where the one before it ended."""
    assert grid.piece(0).start == 0
    assert grid.piece(len(grid) - 1).end == MAX_NUMBER
    for boundary in BOUNDARIES:
        middle = len(grid) if boundary > MAX_NUMBER else grid.index(boundary)
        around = range(max(middle - 5, 0), min(middle + 5, len(grid)))
        for before, after in pairwise(map(grid.piece, around)):
            assert before.end + 1 == after.start
        if middle < len(grid):
            assert grid.piece(middle).start == boundary


@grids
def test_widths_change_at_the_boundaries_only(grid: Grid) -> None:
    """The first and the last piece of a zone both have its width."""
    stops = [start for start, _ in grid.zones[1:]] + [2**64]
    for (start, width_log2), stop in zip(grid.zones, stops, strict=True):
        assert grid.piece(grid.index(start)) == Range(start, start + 2**width_log2 - 1)
        assert grid.piece(grid.index(stop - 1)) == Range(stop - 2**width_log2, stop - 1)


@grids
@given(number=numbers)
def test_a_piece_holds_the_numbers_of_its_index(grid: Grid, number: int) -> None:
    """`piece` undoes `index` everywhere: the piece holds the number, and so do its ends."""
    index = grid.index(number)
    piece = grid.piece(index)
    assert piece.start <= number <= piece.end
    assert grid.index(piece.start) == grid.index(piece.end) == index
    assert piece.span.bit_count() == 1
    assert piece.start % piece.span == 0


@grids
@given(data=st.data())
def test_an_index_is_that_of_its_piece(grid: Grid, data: st.DataObject) -> None:
    """`index` undoes `piece` for every index of the grid."""
    index = data.draw(st.integers(0, len(grid) - 1))
    assert grid.index(grid.piece(index).start) == index


@grids
@given(start=numbers, end=numbers)
def test_a_cover_reaches_just_over_its_range(grid: Grid, start: int, end: int) -> None:
    """A cover's pieces hold the whole range, and both its outer pieces hold some of it."""
    range_ = Range(*sorted((start, end)))
    cover = grid.cover(range_)
    first, last = grid.piece(cover[0]), grid.piece(cover[-1])
    assert Range(first.start, last.end).covers(range_)
    assert first.end >= range_.start
    assert last.start <= range_.end


@grids
@given(st.lists(numbers, min_size=4, max_size=4).map(sorted))
def test_overlapping_ranges_share_the_pieces_of_their_overlap(grid: Grid, ends: list[int]) -> None:
    """What two overlapping covers have in common is the cover of the overlap."""
    one, other = Range(ends[0], ends[2]), Range(ends[1], ends[3])
    shared = common(grid.cover(one), grid.cover(other))
    assert shared == grid.cover(one.clip(other))
    assert shared


def common(one: range, other: range) -> range:
    """The indices that are in both; they are runs."""
    return range(max(one.start, other.start), min(one.stop, other.stop))


@given(numbers)
def test_cells_nest_inside_segments(number: int) -> None:
    """A cell lies in one segment as a whole, so the primes of a segment serve it."""
    cell = CELLS.piece(CELLS.index(number))
    segment = SEGMENTS.piece(SEGMENTS.index(number))
    assert segment.covers(cell)
    assert cell.span < segment.span


@pytest.mark.parametrize(
    ("grid", "number", "piece"),
    [
        (SEGMENTS, 0, Range(0, 2**22 - 1)),
        (SEGMENTS, 10**9, Range(998244352, 1002438655)),
        (SEGMENTS, 2**32 - 1, Range(2**32 - 2**22, 2**32 - 1)),
        (SEGMENTS, 2**32, Range(2**32, 2**32 + 2**24 - 1)),
        (SEGMENTS, 2**36 - 1, Range(2**36 - 2**24, 2**36 - 1)),
        (SEGMENTS, 2**36, Range(2**36, 2**36 + 2**26 - 1)),
        (SEGMENTS, 10**12, Range(999989182464, 1000056291327)),
        (SEGMENTS, 2**44 - 1, Range(2**44 - 2**26, 2**44 - 1)),
        (SEGMENTS, 2**44, Range(2**44, 2**44 + 2**28 - 1)),
        (SEGMENTS, MAX_NUMBER, Range(2**64 - 2**28, MAX_NUMBER)),
        (CELLS, 0, Range(0, 2**16 - 1)),
        (CELLS, 10**12, Range(999999995904, 1000000061439)),
        (CELLS, 2**44 - 1, Range(2**44 - 2**16, 2**44 - 1)),
        (CELLS, 2**44, Range(2**44, 2**44 + 2**14 - 1)),
        (CELLS, MAX_NUMBER, Range(2**64 - 2**14, MAX_NUMBER)),
    ],
)
def test_pieces_stay_where_they_are(grid: Grid, number: int, piece: Range) -> None:
    """Pieces name entries in shared caches, so a release that moves them is made on purpose."""
    assert grid.piece(grid.index(number)) == piece
