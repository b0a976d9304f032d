"""The exact method for narrow ranges: `primesvc.sieve.narrow`."""

import tracemalloc
from itertools import pairwise

import gmpy2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primesvc.sieve.narrow import (
    SMALL_LIMIT,
    count_by_testing,
    primes_by_testing,
    small_primes,
    strike,
)
from tests.helpers import naive_primes
from tests.oracles import primes_between

MAX = 2**64 - 1
LARGEST_PRIME = 18446744073709551557


def test_gmp_has_baillie_psw() -> None:
    """The GMP underneath is one whose primality test is exact below 2^64."""
    name, version = gmpy2.mp_version().split()
    assert name == "GMP"
    assert tuple(map(int, version.split("."))) >= (6, 2)


@pytest.mark.parametrize(
    "factors",
    [
        (10670053, 32010157),
        (149491, 747451, 34233211),
        (1920767767, 9603838831),
        (4294967291, 4294967279),
        (4294967291, 4294967291),
    ],
)
def test_hard_composites(factors: tuple[int, ...]) -> None:
    """The hardest composites are out.

    Strong pseudoprimes to the first 8 and 11 primes, the last base-2 pseudoprime
    below 2^64, and two products of the last primes below 2^32.
    """
    product = int(np.prod(np.array(factors, object)))
    assert product <= MAX
    assert primes_by_testing(product, product).size == 0


def test_every_cut_of_the_smallest_numbers() -> None:
    """Every range within 0..60 gives what trial division gives."""
    for start in range(61):
        for end in range(61):
            assert primes_by_testing(start, end).tolist() == naive_primes(start, end)


@pytest.mark.parametrize("start", [0, 900, 2**16 - 300, SMALL_LIMIT - 400, SMALL_LIMIT + 1, 10**7])
def test_agrees_with_trial_division(start: int) -> None:
    """Ranges of 800 numbers, one over the end of the table, give what trial division gives."""
    assert primes_by_testing(start, start + 799).tolist() == naive_primes(start, start + 799)


@pytest.mark.parametrize(
    ("exponent", "pi"),
    [(1, 4), (2, 25), (3, 168), (4, 1229), (5, 9592), (6, 78498), (7, 664579)],
)
def test_counts_up_to_powers_of_ten(exponent: int, pi: int) -> None:
    """The counts are pi(10^n)."""
    assert count_by_testing(0, 10**exponent) == pi


def test_largest_prime_below_2_to_the_64() -> None:
    """The last prime of the line is found, and none after it."""
    assert primes_by_testing(LARGEST_PRIME, MAX).tolist() == [LARGEST_PRIME]
    assert primes_by_testing(LARGEST_PRIME + 1, MAX).size == 0


@pytest.mark.parametrize("width", [1, 2, 3, 60, 1000, 30_000])
def test_ends_of_the_line(width: int) -> None:
    """Ranges that touch 0 or 2^64 - 1 are exact."""
    assert primes_by_testing(0, width - 1).tolist() == primes_between(0, width - 1)
    assert primes_by_testing(MAX - width + 1, MAX).tolist() == primes_between(MAX - width + 1, MAX)


def test_first_primes_above_10_to_the_15() -> None:
    """The primes just above 10^15 are the known ones."""
    offsets = [37, 91, 159, 187, 223, 241, 249, 259, 273, 279, 297]
    assert primes_by_testing(10**15, 10**15 + 297).tolist() == [10**15 + n for n in offsets]


@pytest.mark.parametrize("exponent", range(1, 64))
def test_ranges_over_powers_of_two(exponent: int) -> None:
    """A range around 2^n gives the primes that stepping from each to the next gives."""
    start, end = max(0, 2**exponent - 300), 2**exponent + 300
    assert primes_by_testing(start, end).tolist() == primes_between(start, end)


@pytest.mark.parametrize(("start", "end"), [(1, 0), (11, 7), (MAX, 0), (MAX, MAX - 1)])
def test_end_before_start(start: int, end: int) -> None:
    """A range that ends before it starts has no primes."""
    primes = primes_by_testing(start, end)
    assert primes.shape == (0,)
    assert primes.dtype == np.uint64
    assert count_by_testing(start, end) == 0


@settings(max_examples=40, deadline=None)
@given(start=st.integers(0, MAX), width=st.integers(1, 2000))
def test_any_place_on_the_line(start: int, width: int) -> None:
    """Anywhere on the line the primes are exact, ascending uint64, and as many as counted."""
    end = min(start + width - 1, MAX)
    primes = primes_by_testing(start, end)
    assert primes.dtype == np.uint64
    assert primes.tolist() == primes_between(start, end)
    assert count_by_testing(start, end) == primes.size


@settings(max_examples=15, deadline=None)
@given(start=st.integers(0, MAX - 20_000), cuts=st.lists(st.integers(1, 20_000), max_size=5))
def test_cuts_equal_the_whole(start: int, cuts: list[int]) -> None:
    """The pieces of a range, wherever it is cut, have the primes of the whole."""
    edges = sorted({0, 20_000, *cuts})
    pieces = [primes_by_testing(start + a, start + b - 1) for a, b in pairwise(edges)]
    whole = primes_by_testing(start, start + 20_000 - 1)
    assert np.array_equal(np.concatenate(pieces), whole)


def test_more_than_one_block() -> None:
    """A range of several blocks has the primes of its pieces and needs little memory besides."""
    start, width = 10**12 + 7, 3 * 10**6
    primes_by_testing(start, start)
    tracemalloc.start()
    try:
        whole = primes_by_testing(start, start + width - 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * whole.nbytes + 12_000_000
    pieces = [primes_by_testing(n, n + 10**5 - 1) for n in range(start, start + width, 10**5)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_small_primes() -> None:
    """The table ends at its limit, has the known size and cannot be changed."""
    table = small_primes()
    assert table.size == 82025
    assert table[:4].tolist() == [2, 3, 5, 7]
    assert table[-1] == gmpy2.prev_prime(SMALL_LIMIT)
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 1


@pytest.mark.parametrize("n", [1, 2, 50, 1000, 40_000])
def test_strike_clears_the_multiples_alone(n: int) -> None:
    """Striking clears in each row the slots of the primes' multiples and no others."""
    primes = small_primes()[3:400]
    random = np.random.default_rng(n)
    first = random.integers(0, primes, (3, primes.size))
    slots = np.ones((3, n + 1), np.bool_)
    strike(slots, primes, first)
    for row, places in zip(slots, first, strict=True):
        expected = np.ones(n, np.bool_)
        for p, i in zip(primes.tolist(), places.tolist(), strict=True):
            expected[i::p] = False
        assert np.array_equal(row[:n], expected)


def test_strike_without_primes() -> None:
    """Striking with no primes clears nothing."""
    slots = np.ones((2, 11), np.bool_)
    strike(slots, np.empty(0, np.int64), np.empty((2, 0), np.int64))
    assert slots.all()
