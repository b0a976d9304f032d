"""About where a prime is, and which one it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.sieve.engine import load_engine
from primesvc.sieve.nth import expected_pi, expected_prime, find_nth
from primesvc.sieve.primecount import PRIMES_BELOW_2_64
from primesvc.sieve.range import Range
from tests.oracles import PI_OF_POWERS, primes_between


@pytest.mark.parametrize("power", range(2, 16))
def test_how_many_primes_to_expect(power: int) -> None:
    """Off by less than half the root."""
    assert abs(expected_pi(10**power) - PI_OF_POWERS[power]) < 10 ** (power / 2) / 2


@given(st.integers(1, PRIMES_BELOW_2_64))
def test_where_to_expect_a_prime(index: int) -> None:
    """It is the inverse, as far as a float goes, from 0 to 2^64 - 1."""
    guess = expected_prime(index)
    assert 0 <= guess < 2**64
    assert expected_pi(guess) == pytest.approx(index, rel=1e-6, abs=10)


@pytest.mark.parametrize("name", ["primesieve", "numpy"])
@given(st.integers(0, 10**12), st.integers(1, 10**6), st.integers(-2000, 2000))
def test_it_is_the_one_in_the_list(name: str, start: int, span: int, n: int) -> None:
    """The n-th of a range from either end, or how many there are if there is none."""
    if n == 0:
        return
    range_ = Range(start, start + span)
    primes = primes_between(range_.start, range_.end)
    found = find_nth(load_engine(name), range_, n)
    if abs(n) > len(primes):
        assert found == (len(primes), None)
    else:
        assert found == (abs(n), primes[n - 1 if n > 0 else n])
