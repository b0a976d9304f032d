"""Files that are handed out while they grow: in the end they are the files of the whole."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.collect.collected import Collected
from primesvc.collect.plan import Plan
from primesvc.formats.base import Format
from primesvc.formats.binary import ARROW, NPY
from primesvc.formats.text import JSON
from primesvc.results.growing import GrowingFile, grows
from primesvc.sieve.grid import CELLS, SEGMENTS
from primesvc.sieve.range import Range
from tests.formats.files import ASCENDING, CUTS, EVERY_FORMAT, assembled, summary_of
from tests.results.parts import contributions, read

GROWING = {name: EVERY_FORMAT[name] for name in ("json", "csv", "arrow")}
"""One with something between its values, one with something before, one with batches."""


def collected_of(pieces: int) -> Collected:
    """Nothing yet of so many segments."""
    range_ = Range(0, SEGMENTS.piece(pieces - 1).end)
    return Collected(Plan(range_, SEGMENTS, SEGMENTS.cover(range_), keep=True))


@pytest.mark.parametrize("format_", GROWING.values(), ids=GROWING)
@given(values=ASCENDING, cuts=CUTS, data=st.data())
def test_the_parts_are_the_file(
    format_: Format, values: list[int], cuts: list[int], data: st.DataObject
) -> None:
    """In whatever order the pieces are found, however many are empty, and whenever one looks."""
    pieces = [values[a:b] for a, b in pairwise(cuts)]
    added = contributions(format_, SEGMENTS, 0, pieces)
    collected = collected_of(len(pieces))
    file = GrowingFile(collected, format_)
    got = b""

    def look(*, finished: bool) -> None:
        nonlocal got
        part = file.next(finished=finished)
        if part is not None:
            got += read(part, added[part.result.plan.indices.start :], 0, part.length)
            assert part.length >= 0

    for index in data.draw(st.permutations(range(len(pieces)))):
        collected.record(index, summary_of(pieces[index]))
        if data.draw(st.booleans()):
            look(finished=False)
            assert assembled(format_, pieces).startswith(got)
            assert not got or collected.front > 0
    whole = assembled(format_, pieces)
    # What is behind the last prime only a job that succeeded can tell.
    look(finished=False)
    if format_.tail():
        assert got != whole
    look(finished=True)
    assert got == whole
    assert file.next(finished=True) is None


def test_what_is_known_is_handed_out_once() -> None:
    """A part has the pieces that are new, and nothing else; without any there is none."""
    collected = collected_of(4)
    file = GrowingFile(collected, JSON)
    assert file.next(finished=False) is None
    for index in (1, 0, 3):
        collected.record(index, summary_of([7]))
    part = file.next(finished=False)
    assert part is not None
    assert part.result.plan.indices == range(2)
    assert file.next(finished=False) is None
    collected.record(2, summary_of([7]))
    part = file.next(finished=False)
    assert part is not None
    assert part.result.plan.indices == range(2, 3)
    assert file.next(finished=False) is None


def test_not_every_file_grows() -> None:
    """One that begins with its count does not; nor, batch by batch, one that is found in cells."""
    segments, cells = (
        Plan(Range(0, 2**16), grid, grid.cover(Range(0, 2**16)), keep=True)
        for grid in (SEGMENTS, CELLS)
    )
    for format_ in EVERY_FORMAT.values():
        assert grows(segments, format_) == (format_ is not NPY)
    assert not grows(cells, ARROW)
