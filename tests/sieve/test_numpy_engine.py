"""The portable engine: `primesvc.sieve.numpy_engine`."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primesvc.sieve.narrow import primes_by_testing, small_primes
from primesvc.sieve.numpy_engine import NumpyEngine, _first_multiples
from tests.helpers import naive_primes
from tests.oracles import primes_between

MAX = 2**64 - 1
LARGEST_PRIME = 18446744073709551557

# Just above 2^52 base primes are no longer kept; the least width there that is sieved is 2^20.
ABOVE_KEPT = 5 * 10**15


@pytest.fixture(scope="module")
def engine() -> NumpyEngine:
    """Return an engine whose kept base primes the tests of this module share."""
    return NumpyEngine()


def test_names_itself(engine: NumpyEngine) -> None:
    """The engine says what it is and whose version works in it."""
    assert engine.name == "numpy"
    assert engine.version == np.__version__
    assert repr(engine) == f"<NumpyEngine {np.__version__}>"


def test_every_cut_of_the_smallest_numbers(engine: NumpyEngine) -> None:
    """Every range within 0..60 gives what trial division gives, listed and counted."""
    for start in range(61):
        for end in range(61):
            expected = naive_primes(start, end)
            assert engine.primes(start, end).tolist() == expected
            assert engine.count(start, end) == len(expected)


@pytest.mark.parametrize("start", [0, 900, 2**16 - 300, 2**20 - 400, 2**20 + 1, 10**7])
def test_agrees_with_trial_division(engine: NumpyEngine, start: int) -> None:
    """Ranges of 800 numbers, one over the end of the kept primes, agree with trial division."""
    primes = engine.primes(start, start + 799)
    assert primes.dtype == np.uint64
    assert primes.tolist() == naive_primes(start, start + 799)


@pytest.mark.parametrize(
    ("exponent", "pi"),
    [
        (0, 0),
        (1, 4),
        (2, 25),
        (3, 168),
        (4, 1229),
        (5, 9592),
        (6, 78498),
        (7, 664579),
        (8, 5761455),
    ],
)
def test_counts_up_to_powers_of_ten(engine: NumpyEngine, exponent: int, pi: int) -> None:
    """The counts, and the lengths of the lists, are pi(10^n)."""
    assert engine.count(0, 10**exponent) == pi
    assert engine.primes(0, 10**exponent).size == pi


@pytest.mark.parametrize("low", range(30))
def test_ends_at_every_place_of_the_wheel(engine: NumpyEngine, low: int) -> None:
    """Sieved ranges that start and end at any residue mod 30 are exact at both ends."""
    start = 30 * 10**6 + low
    for end in range(start + 600, start + 630):
        assert engine.primes(start, end).tolist() == primes_between(start, end)


def test_first_primes_above_10_to_the_15(engine: NumpyEngine) -> None:
    """The primes just above 10^15, by the sieve, are those found one from the other."""
    primes = engine.primes(10**15, 10**15 + 600_000)
    assert primes[:1000].tolist() == primes_between(10**15, int(primes[999]))


@pytest.mark.parametrize("exponent", range(1, 64))
def test_ranges_over_powers_of_two(engine: NumpyEngine, exponent: int) -> None:
    """A range around 2^n has the primes that stepping from each to the next gives."""
    start, end = max(0, 2**exponent - 300), 2**exponent + 300
    expected = primes_between(start, end)
    assert engine.primes(start, end).tolist() == expected
    assert engine.count(start, end) == len(expected)


def test_ends_of_the_line(engine: NumpyEngine) -> None:
    """Ranges that touch 0 or 2^64 - 1 are exact."""
    assert engine.primes(0, 0).size == 0
    assert engine.primes(0, 2).tolist() == [2]
    assert engine.primes(LARGEST_PRIME, MAX).tolist() == [LARGEST_PRIME]
    assert engine.count(LARGEST_PRIME + 1, MAX) == 0
    assert engine.primes(MAX - 9999, MAX).tolist() == primes_between(MAX - 9999, MAX)


@pytest.mark.parametrize(("start", "end"), [(1, 0), (11, 7), (MAX, 0), (MAX, MAX - 1)])
def test_end_before_start(engine: NumpyEngine, start: int, end: int) -> None:
    """A range that ends before it starts has no primes."""
    primes = engine.primes(start, end)
    assert primes.shape == (0,)
    assert primes.dtype == np.uint64
    assert engine.count(start, end) == 0


@pytest.mark.parametrize(
    ("start", "width"),
    [(10**9, 50_000), (10**12, 50_000), (10**14, 300_000), (2**48 - 150_000, 400_000)],
)
def test_sieve_agrees_with_testing(engine: NumpyEngine, start: int, width: int) -> None:
    """Ranges wide enough to be sieved give what testing their numbers gives."""
    end = start + width - 1
    expected = primes_by_testing(start, end)
    assert np.array_equal(engine.primes(start, end), expected)
    assert engine.count(start, end) == expected.size


def test_streamed_base_primes(engine: NumpyEngine) -> None:
    """Where base primes are sieved anew and dropped, the sieve still agrees with testing."""
    end = ABOVE_KEPT + 1_200_000
    primes = engine.primes(ABOVE_KEPT, end)
    assert np.array_equal(primes, primes_by_testing(ABOVE_KEPT, end))


@pytest.mark.parametrize("turn", [(MAX - 2**40) // 30, MAX // 30])
def test_first_multiples_at_the_top_of_the_line(turn: int) -> None:
    """First multiples are exact where products come closest to overflow.

    Below the public face: a sieve there takes 8 s.
    """
    primes = np.array([7, 31, 1048573, *primes_between(2**31 - 99, 2**31), 4294967279, 4294967291])
    first = _first_multiples(primes, turn)
    for row, residue in zip(first.tolist(), (1, 7, 11, 13, 17, 19, 23, 29), strict=True):
        for j, p in zip(row, primes.tolist(), strict=True):
            assert 0 <= j < p
            assert (30 * (turn + j) + residue) % p == 0


@settings(max_examples=15, deadline=None)
@given(
    start=st.integers(0, 10**11),
    cuts=st.lists(st.integers(1, 200_000), max_size=4),
)
def test_cuts_equal_the_whole(engine: NumpyEngine, start: int, cuts: list[int]) -> None:
    """The pieces of a range, wherever it is cut, have the primes and the count of the whole."""
    edges = sorted({0, 200_000, *cuts})
    ranges = [(start + a, start + b - 1) for a, b in pairwise(edges)]
    whole = engine.primes(start, start + 200_000 - 1)
    assert np.array_equal(np.concatenate([engine.primes(*piece) for piece in ranges]), whole)
    assert sum(engine.count(*piece) for piece in ranges) == whole.size


def test_more_than_one_segment(engine: NumpyEngine) -> None:
    """A range of several segments, its ends unaligned, has the primes of its pieces."""
    start, width = 10**9 + 7, 7 * 10**7
    whole = engine.primes(start, start + width - 1)
    pieces = [engine.primes(n, n + 10**7 - 1) for n in range(start, start + width, 10**7)]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert engine.count(start, start + width - 1) == whole.size


def test_memory_is_bounded(engine: NumpyEngine) -> None:
    """Counting 2^28 numbers takes a segment's memory, listing 2^26 little besides the result."""
    engine.count(10**9, 10**9 + 1)
    tracemalloc.start()
    try:
        engine.count(10**9, 10**9 + 2**28 - 1)
        counting = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        primes = engine.primes(10**9, 10**9 + 2**26 - 1)
        listing = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counting < 16_000_000
    assert listing < primes.nbytes + 2**26 // 30 + 16_000_000


def test_threads_share_an_engine() -> None:
    """Calls from several threads that all need more base primes are exact."""
    fresh = NumpyEngine()
    starts = [10**13, 2 * 10**12, 5 * 10**12, 3 * 10**13]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda start: fresh.primes(start, start + 150_000), starts))
    for start, primes in zip(starts, found, strict=True):
        assert np.array_equal(primes, primes_by_testing(start, start + 150_000))


def test_base_primes_are_kept_up_to_a_limit() -> None:
    """The kept base primes grow to what a call needs, by powers of 2, and agree with the table.

    Behind the public face: the bound on memory is not visible from outside.
    """
    fresh = NumpyEngine()
    fresh.count(10**13, 10**13 + 10**5)
    base, limit = fresh._base
    assert limit == 2**22
    assert base.nbytes == 4 * fresh.count(0, 2**22)
    assert np.array_equal(base[: small_primes().size], small_primes())
