"""Estimates of cost: never absurd anywhere on the line, and right where they can be checked."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.sieve.cost import PRIMESIEVE, TESTING, CostModel, expected_primes
from primesvc.sieve.engine import counting_s, listing_s, load_engine
from primesvc.sieve.range import MAX_NUMBER, Range
from tests.oracles import PI_OF_POWERS

MODELS = {"primesieve": PRIMESIEVE, "numpy": load_engine("numpy").cost, "testing": TESTING}

models = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
# As many small numbers as large ones: costs are looked up by logarithm.
numbers = st.floats(0, 64).map(lambda log2: min(int(2**log2), MAX_NUMBER)) | st.sampled_from(
    [0, 1, 2, 3, MAX_NUMBER - 1, MAX_NUMBER]
)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """Any range."""
    return Range(*sorted((draw(numbers), draw(numbers))))


@models
@given(range_=ranges(), pack=st.booleans())
def test_a_cost_is_positive_and_finite(model: CostModel, range_: Range, pack: bool) -> None:
    """Every range costs something and nothing costs for ever, both ends of the line included."""
    assert 0 < model.setup_s(range_.end) <= model.seconds(range_, pack=pack) < math.inf


@models
@given(numbers, numbers)
def test_a_setup_does_not_fall_along_the_line(model: CostModel, one: int, other: int) -> None:
    """To begin higher up the line costs as much or more."""
    low, high = sorted((one, other))
    assert model.setup_s(low) <= model.setup_s(high) * (1 + 1e-9)


@models
@given(range_=ranges(), start=numbers)
def test_a_wider_range_costs_more(model: CostModel, range_: Range, start: int) -> None:
    """Of two ranges with one end the wider costs as much or more, and so does listing it."""
    wider = Range(min(start, range_.start), range_.end)
    for pack in (False, True):
        assert model.seconds(range_, pack=pack) <= model.seconds(wider, pack=pack)
    assert model.seconds(range_, pack=False) <= model.seconds(range_, pack=True)


@models
def test_measured_places_cost_what_was_measured(model: CostModel) -> None:
    """At its points a model says what was measured; halfway the geometric mean."""
    for number, setup_s, entry_s, number_s in model.points:
        at = int(number)
        assert model.setup_s(at) == pytest.approx(setup_s)
        cost_s = model.seconds(Range(at // 2 + 1, at), pack=False)
        assert cost_s == pytest.approx(setup_s + entry_s + number_s * (at - at // 2))
        cost_s = model.seconds(Range(at, at), pack=False)
        assert setup_s + number_s <= cost_s <= setup_s + number_s + entry_s * 0.1
    for (low, low_s, *_), (high, high_s, *_) in pairwise(model.points):
        assert model.setup_s(int(math.sqrt(low * high))) == pytest.approx(math.sqrt(low_s * high_s))


@pytest.mark.parametrize("name", ["primesieve", "numpy"])
@given(range_=ranges())
def test_the_cheaper_way_is_never_dearer_than_the_engine(name: str, range_: Range) -> None:
    """A range costs at most what the engine takes for it, and at most what testing takes."""
    engine = load_engine(name)
    for estimate, pack in ((counting_s, False), (listing_s, True)):
        cost_s = estimate(engine, range_)
        for model in (engine.cost, TESTING):
            assert 0 < cost_s <= model.seconds(range_, pack=pack)


@pytest.mark.parametrize("power", range(5, 20))
def test_expected_primes_up_to_a_power_of_ten(power: int) -> None:
    """The estimate for all primes up to 10^n is within 1 % of their count from 10^5 on."""
    assert expected_primes(Range(0, 10**power)) == pytest.approx(PI_OF_POWERS[power], rel=0.01)


@pytest.mark.parametrize("power", range(5, 19))
def test_expected_primes_of_a_decade(power: int) -> None:
    """The estimate for the primes between two powers of ten is within 1 % of their count."""
    count = PI_OF_POWERS[power + 1] - PI_OF_POWERS[power]
    assert expected_primes(Range(10**power, 10 ** (power + 1))) == pytest.approx(count, rel=0.01)


@pytest.mark.parametrize("start", [10**6, 10**9, 2**32, 10**12, 10**15, 10**16])
def test_expected_primes_of_a_window(start: int) -> None:
    """The estimate for ten million numbers anywhere on the line is within 1 % of the count."""
    window = Range(start, start + 10**7)
    count = load_engine("primesieve").count(window.start, window.end)
    assert expected_primes(window) == pytest.approx(count, rel=0.01)


@given(ranges())
def test_expected_primes_are_never_absurd(range_: Range) -> None:
    """No range is expected to hold more primes than numbers, and every range some."""
    assert 0 < expected_primes(range_) <= range_.span
