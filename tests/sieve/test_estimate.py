"""Estimates of how many primes a range holds: close, cheap, and never absurd."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.sieve.engine import load_engine
from primesvc.sieve.estimate import estimate
from primesvc.sieve.packed import digit_cuts
from primesvc.sieve.range import MAX_NUMBER, Range
from tests.oracles import PI_OF_POWERS

numbers = st.integers(0, MAX_NUMBER) | st.integers(0, 1000)


@pytest.mark.parametrize("power", range(1, 20))
def test_counts_up_to_a_power_of_ten(power: int) -> None:
    """The count up to 10^n is off by less than the root of 10^n."""
    count = estimate(Range(0, 10**power)).count
    assert abs(count - PI_OF_POWERS[power]) < 10 ** (power / 2)


def test_the_whole_line() -> None:
    """There are 425,656,284,035,217,743 primes below 2^64: the first nine digits are right."""
    assert estimate(Range(0, MAX_NUMBER)).count == pytest.approx(425656284035217743, rel=1e-9)


@pytest.mark.parametrize("start", [10**9, 10**12, 10**15])
def test_windows(start: int) -> None:
    """Ten million numbers anywhere are estimated within a few times the root of the count."""
    window = Range(start, start + 10**7)
    count = load_engine("primesieve").count(window.start, window.end)
    assert estimate(window).count == pytest.approx(count, abs=4 * count**0.5)


@given(numbers, numbers)
def test_an_estimate_is_never_absurd(one: int, other: int) -> None:
    """No range is said to hold fewer primes than none or more than numbers."""
    range_ = Range(*sorted((one, other)))
    assert 0 <= estimate(range_).count <= range_.span


@given(numbers, numbers)
def test_digits_follow_from_the_counts(one: int, other: int) -> None:
    """The digits are those of so many numbers between one power of ten and the next."""
    range_ = Range(*sorted((one, other)))
    parts = [(estimate(part).count, len(str(part.start))) for part in digit_cuts(range_)]
    found = estimate(range_)
    assert found.count == sum(count for count, _ in parts)
    assert found.digits == sum(count * digits for count, digits in parts)
