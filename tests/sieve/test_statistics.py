"""The statistics of a range: however it is cut they are those of a naive count."""

from itertools import pairwise
from math import gcd

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.sieve.engine import list_primes, load_engine
from primesvc.sieve.range import Range
from primesvc.sieve.statistics import GAPS, PATTERNS, Frame, Tally, residue_classes
from tests.helpers import naive_primes
from tests.oracles import statistics_of

TOP = 2**64 - 1


def counted(frame: Frame, cuts: list[int]) -> Tally:
    """The statistics of a range cut before these numbers."""
    engine = load_engine("primesieve")
    whole = Tally(frame)
    for start, stop in pairwise([frame.range.start, *cuts, frame.range.end + 1]):
        range_ = Range(start, stop - 1)
        part = Tally(frame, range_)
        part.add(list_primes(engine, range_))
        whole.append(part)
    return whole


@st.composite
def cut_frames(draw: st.DrawFn) -> tuple[Frame, list[int]]:
    """A range of up to 2,000 numbers, most of them where something is special, and cuts of it."""
    start = draw(
        st.integers(0, 12) | st.integers(0, 10**6) | st.integers(TOP - 3000, TOP)
        | st.integers(0, TOP)
    )  # fmt: skip
    end = min(start + draw(st.integers(0, 60) | st.integers(0, 2000)), TOP)
    frame = Frame(Range(start, end), draw(st.integers(1, 120)), draw(st.integers(1, 60)))
    cuts = draw(st.lists(st.integers(start, end), max_size=5, unique=True))
    return frame, sorted(set(cuts) - {start})


@given(cut_frames())
def test_random_cuts_give_the_whole(cut: tuple[Frame, list[int]]) -> None:
    """What lies across a cut counts once, whatever the range, the bins and the modulus."""
    frame, cuts = cut
    expected = statistics_of(frame.range.start, frame.range.end, frame.modulus, frame.bins)
    if not frame.is_paired:
        expected["pairs"] = None
    assert counted(frame, cuts).plain() == expected


@pytest.mark.parametrize(("modulus", "bins"), [(10, 3), (97, 100), (1, 2000)])
def test_many_primes(modulus: int, bins: int) -> None:
    """Parts of 2^16 primes join as pieces do; with many bins in a part, and many parts in a bin."""
    frame = Frame(Range(0, 2 * 10**6), modulus, bins)
    primes = load_engine("numpy").primes(0, 2 * 10**6)
    found = counted(frame, [1_000_000])
    assert found.count == len(primes) > 2 * 2**16
    gaps = np.diff(primes)
    assert found.gaps.tolist() == np.bincount(gaps, minlength=GAPS).tolist()
    largest = int(np.argmax(gaps))
    assert found.largest_gap == (gaps[largest], primes[largest])
    residues = np.searchsorted(frame.classes, primes % np.uint64(modulus))
    edges = np.array([frame.edge(index) for index in range(bins)], np.uint64)
    places = np.searchsorted(edges, primes, side="right") - 1
    by_bin = np.zeros((bins, len(frame.classes)), np.int64)
    np.add.at(by_bin, (places, residues), 1)
    assert (found.by_bin == by_bin).all()
    if frame.is_paired:
        pairs = np.zeros_like(found.pairs)
        np.add.at(pairs, (residues[:-1], residues[1:]), 1)
        assert (found.pairs == pairs).all()
    for row, distance in zip(found.patterns, PATTERNS.values(), strict=True):
        first = np.isin(primes + np.uint64(distance), primes)
        assert row.tolist() == np.bincount(places[first], minlength=bins).tolist()


def test_a_prime_between_two_parts() -> None:
    """Sexy primes with one between them count where one part of 2^16 primes ends, too."""
    primes = load_engine("numpy").primes(5, 10**6)
    of_three = np.flatnonzero(primes[2:] - primes[:-2] == 6)
    primes = primes[of_three[of_three >= 2**16 - 1][0] - 2**16 + 1 :]
    found = Tally(Frame(Range(int(primes[0]), 10**6), 10, 1))
    found.add(primes)
    sexy = np.isin(primes + np.uint64(6), primes)
    assert sexy[2**16 - 1]
    assert found.patterns[2].sum() == np.count_nonzero(sexy)


@pytest.mark.parametrize("modulus", [*range(1, 40), 97, 210, 9973, 10_000])
def test_the_classes_are_the_residues_of_primes(modulus: int) -> None:
    """All that occur, and no more: those prime to the modulus, and those of its factors."""
    coprime = {r for r in range(modulus) if gcd(r, modulus) == 1}
    factors = {p % modulus for p in naive_primes(2, modulus) if modulus % p == 0}
    assert set(residue_classes(modulus)) == coprime | factors


@given(st.integers(0, TOP), st.integers(0, TOP), st.integers(1, 2000), st.data())
def test_every_number_lies_in_its_bin(a: int, b: int, bins: int, data: st.DataObject) -> None:
    """The edges ascend from the start to the end, and the bin of a number is between its two."""
    frame = Frame(Range(min(a, b), max(a, b)), 10, bins)
    number = data.draw(st.integers(frame.range.start, frame.range.end))
    index = frame.bin(number)
    assert frame.edge(0) == frame.range.start
    assert frame.edge(bins) == frame.range.end
    assert frame.edge(index) <= number
    assert number < frame.edge(index + 1) or index == bins - 1
