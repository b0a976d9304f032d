"""One number: factors, neighbours, index, against independent oracles."""

import math
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import gmpy2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from primesvc.sieve import number as number_theory
from primesvc.sieve.engine import Engine, load_engine
from primesvc.sieve.number import (
    INDEX_LIMIT,
    MAX_GAP,
    examine,
    factors,
    next_prime,
    previous_prime,
    split,
)
from tests.helpers import naive_primes
from tests.oracles import PI_OF_POWERS

TOP = 2**64 - 1

TOP_PRIME = 2**64 - 59
"""The largest below 2^64: https://t5k.org/lists/2small/0bit.html."""

KNOWN = {
    0: (),
    1: (),
    2: ((2, 1),),
    2**63: ((2, 63),),
    3**40: ((3, 40),),
    TOP: ((3, 1), (5, 1), (17, 1), (257, 1), (641, 1), (65537, 1), (6700417, 1)),
    TOP_PRIME: ((TOP_PRIME, 1),),
    4294967291**2: ((4294967291, 2),),
    4294967291 * 4294967279: ((4294967279, 1), (4294967291, 1)),
    1048583**3: ((1048583, 3),),
    1048583**2 * 1048589: ((1048583, 2), (1048589, 1)),
    1048573 * 1048583 * 1048589: ((1048573, 1), (1048583, 1), (1048589, 1)),
    2**59 - 1: ((179951, 1), (3203431780337, 1)),
    3825123056546413051: ((149491, 1), (747451, 1), (34233211, 1)),
}
"""Factors that are known: of Fermat's and Mersenne's numbers, of a strong pseudoprime to the
bases up to 23, of squares and cubes of the largest primes and of those around 2^20."""

large_primes = st.integers(2**20, 2**32 - 6).map(lambda n: int(gmpy2.next_prime(n)))

anywhere = st.one_of(
    st.integers(0, TOP),
    st.integers(0, 2**22),
    st.integers(0, 64).flatmap(lambda bits: st.integers(0, 2**bits - 1)),
    st.tuples(large_primes, large_primes).map(math.prod),
    large_primes.map(lambda p: p * p),
    st.lists(st.sampled_from([2, 3, 5, 1021, 65537, 1048573, 1048583]), max_size=3).map(math.prod),
)


@pytest.fixture(params=["flint", "rho"])
def splitter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What finds large factors: FLINT, or what is there without it."""
    name = str(request.param)
    if name == "flint":
        pytest.importorskip("flint")
    else:
        monkeypatch.setitem(sys.modules, "flint", None)
    number_theory.large_splitter.cache_clear()
    assert (number_theory.large_splitter() is split) == (name == "rho")
    yield name
    number_theory.large_splitter.cache_clear()


@pytest.mark.parametrize("number", KNOWN)
def test_known_factors(splitter: str, number: int) -> None:
    """Factors that others published are found, with and without FLINT."""
    assert factors(number) == KNOWN[number]


def test_factors_of_all_small_numbers() -> None:
    """Up to 3,000 they are those of division by one number after the other."""
    for number in range(2, 3000):
        found, rest = [], number
        for p in range(2, number + 1):
            power = 0
            while rest % p == 0:
                rest, power = rest // p, power + 1
            if power:
                found.append((p, power))
        assert factors(number) == tuple(found)


@given(anywhere)
@example(1)
@example(4)
@example(25)
def test_factors_are_primes_and_make_the_number(number: int) -> None:
    """Their product is the number, each is a prime and comes once, the smallest first."""
    found = factors(number)
    if number > 1:
        assert math.prod(p**power for p, power in found) == number
    assert all(gmpy2.is_prime(p) and power > 0 for p, power in found)
    assert all(p < q for (p, _), (q, _) in pairwise(found))


@given(st.tuples(large_primes, large_primes))
def test_rho_splits_what_is_hardest(pair: tuple[int, int]) -> None:
    """Two primes of up to 32 bits, equal or not, are found without FLINT."""
    assert sorted(split(math.prod(pair))) == sorted(pair)


def test_the_hardest_numbers_take_milliseconds(splitter: str) -> None:
    """Products of two primes of 32 bits: the median of many; a slow machine may take longer."""
    times = []
    prime = 2**32 - 10**6
    for _ in range(21):
        prime = int(gmpy2.next_prime(prime))
        began = time.process_time()
        assert len(factors(prime * int(gmpy2.next_prime(prime)))) == 2
        times.append(time.process_time() - began)
    assert sorted(times)[10] < {"flint": 0.02, "rho": 0.2}[splitter]


@given(anywhere)
@example(0)
@example(2)
@example(3)
@example(TOP)
@example(TOP_PRIME)
@example(18361375334787046697)
@example(18361375334787046697 + MAX_GAP)
def test_neighbours_are_those_of_gmp(number: int) -> None:
    """The primes on both sides are those that GMP finds, and None where there is none."""
    above = int(gmpy2.next_prime(number))
    assert next_prime(number) == (above if above <= TOP else None)
    below = number - 1
    while below > 1 and not gmpy2.is_prime(below):
        below -= 1
    assert previous_prime(number) == (below if below > 1 else None)


@given(large_primes | st.integers(2, 2**64 - 60).map(lambda n: int(gmpy2.next_prime(n))))
@example(2)
@example(3)
def test_next_and_previous_are_inverse(prime: int) -> None:
    """The prime before the next one of a prime is that prime, and the other way round."""
    above, below = next_prime(prime), previous_prime(prime)
    assert above is None or previous_prime(above) == prime
    assert below is None or next_prime(below) == prime
    assert (above is None) == (prime == TOP_PRIME)


@pytest.fixture(params=["auto", "numpy"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine there is."""
    return load_engine(request.param)


def test_facts_of_small_numbers(engine: Engine) -> None:
    """All that is said of the numbers up to 500 is what a naive sieve says."""
    primes = naive_primes(0, 1000)
    for number in range(501):
        facts = examine(engine, number)
        assert facts.number == number
        assert facts.is_prime == (number in primes)
        assert facts.previous == max((p for p in primes if p < number), default=None)
        assert facts.next == min(p for p in primes if p > number)
        assert facts.index == sum(p <= number for p in primes)


def test_the_index_is_published(engine: Engine) -> None:
    """The index of a power of ten is as published, and unknown beyond the limit."""
    for exponent in range(8):
        assert examine(engine, 10**exponent).index == PI_OF_POWERS[exponent]
    assert examine(engine, INDEX_LIMIT + 1).index is None
    assert examine(engine, TOP).index is None
