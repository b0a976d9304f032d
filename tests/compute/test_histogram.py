"""How long things took: every duration is counted once, below its bound."""

import math

from hypothesis import given
from hypothesis import strategies as st

from primesvc.compute.histogram import BOUNDS_S, Histogram

DURATIONS = st.lists(st.floats(0, 100) | st.sampled_from(BOUNDS_S))


@given(DURATIONS)
def test_counts_are_those_of_the_durations(durations: list[float]) -> None:
    """At each bound stands how many were at most so long; all of them at the last, infinity."""
    histogram = Histogram()
    for seconds in durations:
        histogram.observe(seconds)
    found = dict(histogram.cumulative())
    assert list(found) == [*BOUNDS_S, math.inf]
    assert found == {bound: sum(s <= bound for s in durations) for bound in found}
    assert histogram.count == len(durations)
    assert math.isclose(histogram.sum_s, sum(durations), abs_tol=1e-9)


def test_a_new_one_has_counted_nothing() -> None:
    """And says so."""
    histogram = Histogram()
    assert (histogram.count, histogram.sum_s) == (0, 0)
    assert repr(histogram) == "<Histogram 0 durations, 0.000 s>"
