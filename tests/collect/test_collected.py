"""What is collected of a range: how far it is, how far it can be read, and its sums."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from primesvc.collect.collected import Collected
from primesvc.collect.plan import Plan
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import MAX_NUMBER, Range

numbers = st.integers(0, MAX_NUMBER)


def plan_for(range_: Range, grid: Grid = CELLS) -> Plan:
    """The plan that collects a range on a grid."""
    return Plan(range_, grid, grid.cover(range_), keep=True)


def new_collected(start: int = 100, end: int = 200_000) -> Collected:
    """Nothing yet of, by default, four pieces."""
    return Collected(plan_for(Range(start, end)))


@given(numbers, st.integers(0, 2**20))
def test_a_plan_trims_its_pieces_to_the_range(start: int, width: int) -> None:
    """The trimmed pieces partition the range, and only the outer ones can be trimmed."""
    range_ = Range(start, min(start + width, MAX_NUMBER))
    for grid in (CELLS, SEGMENTS):
        plan = plan_for(range_, grid)
        parts = [plan.piece(index) for index in plan.indices]
        assert (parts[0].start, parts[-1].end) == (range_.start, range_.end)
        assert all(before.end + 1 == after.start for before, after in pairwise(parts))
        for index, part in zip(plan.indices, parts, strict=True):
            assert plan.trims(index) == (part != grid.piece(index))
        assert not any(map(plan.trims, plan.indices[1:-1]))


def test_progress_is_the_share_of_the_numbers() -> None:
    """Progress counts numbers, not pieces: the trimmed ones weigh less; at the end it is 1."""
    collected = new_collected(65_530, 3 * 65_536 - 1)
    first, second, third = collected.plan.indices
    span = collected.plan.range.span
    seen = [collected.progress]
    for index in (first, third, second):
        collected.record(index, Summary(2, 10))
        seen.append(collected.progress)
    assert seen == [0.0, 6 / span, (6 + 65_536) / span, 1.0]
    assert collected.done_numbers == span


def test_the_front_is_how_far_it_can_be_read() -> None:
    """The front passes the pieces that are known from the first on, in whatever order they come."""
    collected = new_collected(0, 6 * 65_536 - 1)
    fronts = []
    for number in (1, 0, 4, 2, 5, 3):
        collected.record(collected.plan.indices[number], Summary(number + 1, 5))
        fronts.append((collected.front, collected.pieces_done))
    assert fronts == [(0, 1), (2, 2), (2, 3), (3, 4), (3, 5), (6, 6)]
    assert collected.summaries[:, 0].tolist() == [1, 2, 3, 4, 5, 6]


@given(st.permutations(range(12)))
def test_the_front_is_the_first_piece_that_is_not_known(order: list[int]) -> None:
    """Whatever is known, the front is where reading from the first piece on has to stop."""
    collected = new_collected(0, 12 * 65_536 - 1)
    for done, number in enumerate(order, 1):
        collected.record(number, Summary(1, 5))
        assert collected.front == min(set(range(13)) - set(order[:done]))


def test_the_count_grows_with_the_pieces() -> None:
    """The count so far is there before the end."""
    collected = new_collected()
    counts = [collected.count]
    for index in collected.plan.indices:
        collected.record(index, Summary(3, 15))
        counts.append(collected.count)
    assert counts == [0, 3, 6, 9, 12]


def test_sums_are_exact_beyond_32_bits() -> None:
    """Counts and digits of all pieces together may exceed what one piece's fit in."""
    collected = new_collected()
    for index in collected.plan.indices:
        collected.record(index, Summary(2**32 - 1, 2**32 - 1))
    assert collected.count == 4 * (2**32 - 1)
    assert collected.summary == Summary(4 * (2**32 - 1), 4 * (2**32 - 1))
