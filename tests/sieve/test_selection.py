"""Selections of primes: exact wherever the line is cut, by both engines."""

from itertools import pairwise

import gmpy2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.errors import InvalidParameter
from primesvc.sieve.engine import count_primes, list_primes, load_engine
from primesvc.sieve.estimate import estimate
from primesvc.sieve.grid import CELLS, SEGMENTS, find_grid
from primesvc.sieve.range import MAX_NUMBER, Range
from primesvc.sieve.selection import ALL, MAX_MODULUS, MAX_OFFSET, PATTERNS, Selection
from tests.oracles import primes_between

ENGINES = ["primesieve", "numpy"]

SELECTIONS = [
    *(Selection(name) for name in PATTERNS), Selection("0,1"), Selection("0,2,4"),
    Selection("0,6,12,18"), Selection("0,1000"), Selection("0,2,8,10,12,18,20,26"),
    Selection(modulus=4, residue=3), Selection(modulus=6, residue=2), Selection("twins", 30, 11),
    Selection(modulus=MAX_MODULUS, residue=MAX_MODULUS - 1),
]  # fmt: skip

HEIGHTS = [(0, 300), (3, 3), (10**6, 10**6 + 5000), (10**12, 10**12 + 5000), (MAX_NUMBER - 9000,)]

selections = st.sampled_from(SELECTIONS)


def selected(selection: Selection, start: int, end: int) -> list[int]:
    """The selected primes of the closed range below 2^64, one by one."""
    return [
        prime
        for prime in primes_between(start, end)
        if prime % selection.modulus == selection.residue
        and any(
            prime + form[-1] <= MAX_NUMBER and all(gmpy2.is_prime(prime + o) for o in form)
            for form in selection.forms
        )
    ]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_they_are_found_everywhere(engine: str, selection: Selection) -> None:
    """Listed and counted, from 0 up to 2^64 - 1, as by testing each number."""
    loaded = load_engine(engine)
    for start, *rest in HEIGHTS:
        range_ = Range(start, *(rest or [MAX_NUMBER]))
        expected = selected(selection, range_.start, range_.end)
        assert list_primes(loaded, range_, selection).tolist() == expected
        assert count_primes(loaded, range_, selection) == len(expected)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("twins", 8169), ("cousins", 8144), ("sexy", 16386), ("triplets", 2837),
     ("quadruplets", 166), ("quintuplets", 65), ("sextuplets", 5)],
)  # fmt: skip
@pytest.mark.parametrize("engine", ENGINES)
def test_known_counts(engine: str, pattern: str, count: int) -> None:
    """There are as many constellations below 10^6 as `primesieve` counts, and OEIS has."""
    range_ = Selection(pattern).searched(Range(0, 10**6))
    assert count_primes(load_engine(engine), range_, Selection(pattern)) == count


@given(selections, st.lists(st.integers(0, 60_000), min_size=2, max_size=6, unique=True))
def test_cuts_change_nothing(selection: Selection, cuts: list[int]) -> None:
    """The parts of a range hold together what the range holds: who crosses a cut counts once."""
    engine = load_engine("numpy")
    ends = sorted(cuts)
    parts = [Range(a, b - 1) for a, b in pairwise(ends)]
    whole = count_primes(engine, Range(ends[0], ends[-1] - 1), selection)
    assert sum(count_primes(engine, part, selection) for part in parts) == whole


def test_all_primes_of_a_constellation_lie_in_the_range() -> None:
    """A range ends with the last prime of one, or one number too early."""
    twins = Selection("twins")
    assert twins.searched(Range(11, 13)) == Range(11, 11)
    assert twins.searched(Range(11, 12)) == Range(0, 0)
    assert ALL.searched(Range(11, 12)) == Range(11, 12)


@given(selections | st.just(ALL))
def test_a_selection_is_read_as_it_is_written(selection: Selection) -> None:
    """Its text makes an equal one, and so does the name of a grid of it."""
    assert Selection.parse(str(selection)) == selection
    for grid in (SEGMENTS, CELLS):
        chosen = grid.select(selection)
        found = find_grid(chosen.signature)
        assert found is not None
        assert (found.base, found.selection, found.name) == (grid, selection, chosen.name)


def test_one_pattern_has_one_name() -> None:
    """Offsets of a named pattern are that pattern; spaces and zeros in front do not matter."""
    assert Selection("0, 2") == Selection("00,02") == Selection("twins")
    assert Selection("0,2,6,8").parameters == {"pattern": "quadruplets"}
    # Triplets have two forms, and this is one of them.
    assert Selection("0,2,6") != Selection("triplets")
    assert Selection(modulus=1) == ALL
    assert not ALL.parameters


@pytest.mark.parametrize(
    ("values", "name"),
    [(("triples",), "pattern"), (("0",), "pattern"), (("2,4",), "pattern"), (("0,2,2",), "pattern"),
     (("0,4,2",), "pattern"), (("0,-2",), "pattern"), ((f"0,{MAX_OFFSET + 1}",), "pattern"),
     ((",".join(map(str, range(17))),), "pattern"), (("0," + "9" * 1000,), "pattern"),
     (("\u0660,2",), "pattern"), (("", 0, 0), "modulus"), (("", MAX_MODULUS + 1, 0), "modulus"),
     (("", 4, 4), "residue"), (("", 4, -1), "residue"), (("", 1, 10**5000), "residue")],
)  # fmt: skip
def test_what_is_no_selection(values: tuple[str, int, int], name: str) -> None:
    """The error names the parameter, and stays short."""
    with pytest.raises(InvalidParameter, match=f"^{name}: ") as caught:
        Selection(*values)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("text", ["0,2", "twins:4", "4:1:1", "4", "twins:1:0", ":4:1", "4:5"])
def test_what_was_never_written(text: str) -> None:
    """Only what `str` writes is read again."""
    with pytest.raises(ValueError, match=r"."):
        Selection.parse(text)


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_estimates(selection: Selection) -> None:
    """They are within a quarter of the truth, and a few."""
    range_ = Range(10**8, 10**8 + 2 * 10**6)
    count = count_primes(load_engine("auto"), range_, selection)
    assert estimate(range_, selection).count == pytest.approx(count, rel=0.25, abs=8)
