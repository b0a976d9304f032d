"""π(x) by libprimecount, against published values and the sieve."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.sieve.engine import load_engine
from primesvc.sieve.primecount import PRIMES_BELOW_2_64, Primecount, find_primecount, pi_s
from tests.oracles import PI_OF_POWERS

MAX_NUMBER = 2**64 - 1


def primecount() -> Primecount:
    """The library, or the test is skipped where there is none."""
    found = find_primecount()
    if found is None:
        pytest.skip("libprimecount is not here")
    return found


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("power", range(13))
def test_published_values(power: int, threads: int) -> None:
    """π of the powers of ten is as published, on one thread and on two."""
    assert primecount().pi(10**power, threads=threads) == PI_OF_POWERS[power]


@given(st.integers(0, 10**7))
def test_it_agrees_with_the_sieve(number: int) -> None:
    """Up to any number there are as many primes as the sieve counts."""
    assert primecount().pi(number) == load_engine("numpy").count(0, number)


@pytest.mark.parametrize("number", [-1, MAX_NUMBER + 1, 10**30])
def test_numbers_beyond_the_line_are_refused(number: int) -> None:
    """What the library would answer with -1, or for which it would go on for ever, is refused."""
    with pytest.raises(ValueError, match="no π of"):
        primecount().pi(number)


@pytest.mark.parametrize("number", ["10", 10.0, True, None])
def test_what_is_no_number_is_refused(number: object) -> None:
    """The library evaluates expressions; it gets none."""
    with pytest.raises(TypeError):
        primecount().pi(number)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 threads"):
        primecount().pi(10, threads=0)


def test_numbers_that_are_passed_as_text() -> None:
    """The way for numbers beyond 2^63 gives the same as the other."""
    assert primecount()._pi_text(10**9) == PI_OF_POWERS[9]  # of large ones it takes minutes


def test_estimates_grow_with_the_number() -> None:
    """From 0 to 2^64 - 1 there is an estimate, and more is never cheaper."""
    numbers = [0, 1, 10**5, 10**6, 10**9, 3 * 10**12, 10**15, 10**18, 2**63, MAX_NUMBER]
    costs = [pi_s(number) for number in numbers]
    assert costs == sorted(costs)
    assert costs[0] > 0


def test_the_engines_say_what_they_have() -> None:
    """The NumPy engine counts by sieving; libprimesieve's wheel has libprimecount with it."""
    assert load_engine("numpy").primecount is None
    assert load_engine("primesieve").primecount is find_primecount()
    assert PI_OF_POWERS[15] < PRIMES_BELOW_2_64
