"""The engines, each against the same oracles, and the choice between them and testing."""

import ctypes.util
from collections.abc import Iterator
from importlib import metadata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from primesvc.errors import EngineUnavailable, InvalidSetting
from primesvc.sieve.cost import TESTING
from primesvc.sieve.engine import (
    ENGINE_CHOICES,
    Engine,
    list_primes,
    load_engine,
    summarise,
)
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import MAX_NUMBER, Range
from tests.helpers import naive_primes
from tests.oracles import PI_OF_POWERS, primes_between

NAMES = ("primesieve", "numpy")

WHOLE = Range(0, 2_000_000)
SMALL_PRIMES = naive_primes(0, 3000)


@pytest.fixture(scope="module", params=NAMES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in its turn."""
    return load_engine(request.param)


@pytest.mark.parametrize(
    ("name", "power"),
    [
        (name, power)
        for name, most in (("primesieve", 9), ("numpy", 7))
        for power in range(most + 1)
    ],
)
def test_known_counts(name: str, power: int) -> None:
    """Every engine counts the primes up to a power of ten as they are published."""
    assert load_engine(name).count(0, 10**power) == PI_OF_POWERS[power]


@pytest.mark.parametrize("start", [10**15, MAX_NUMBER - 1999], ids=["10^15", "below 2^64"])
def test_narrow_windows_high_on_the_line(engine: Engine, start: int) -> None:
    """The primes just above 10^15, and the last ones below 2^64, are all there and no others."""
    window = Range(start, start + 1999)
    expected = primes_between(window.start, window.end)
    assert engine.primes(window.start, window.end).tolist() == expected
    assert list_primes(engine, window).tolist() == expected


def test_wide_windows_around_a_power_of_two(engine: Engine) -> None:
    """Sieved across 2^32, where 32-bit arithmetic would show, the primes are right."""
    start, end = 2**32 - 40_000, 2**32 + 40_000
    assert engine.primes(start, end).tolist() == primes_between(start, end)


def test_every_small_range(engine: Engine) -> None:
    """All ranges below 50, which begin and end at primes, next to them and between, are exact."""
    for start in range(50):
        for end in range(start, 50):
            expected = [prime for prime in SMALL_PRIMES if start <= prime <= end]
            assert engine.primes(start, end).tolist() == expected
            assert engine.count(start, end) == len(expected)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_small_ranges_agree_with_trial_division(engine: Engine, one: int, other: int) -> None:
    """The primes of a small range are those that trial division leaves."""
    start, end = sorted((one, other))
    assert engine.primes(start, end).tolist() == [p for p in SMALL_PRIMES if start <= p <= end]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, WHOLE.end), max_size=4, unique=True).map(sorted))
def test_the_parts_make_the_whole(engine: Engine, cuts: list[int]) -> None:
    """However a range is cut, the primes of the parts, one after another, are those of it."""
    starts, ends = [0, *cuts], [*(cut - 1 for cut in cuts), WHOLE.end]
    parts = [engine.primes(start, end) for start, end in zip(starts, ends, strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), engine.primes(WHOLE.start, WHOLE.end))
    counts = [engine.count(start, end) for start, end in zip(starts, ends, strict=True)]
    assert counts == [len(part) for part in parts]
    assert sum(counts) == 148_933


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 40).map(lambda log2: int(2**log2)), st.integers(0, 100_000))
def test_the_engines_agree(start: int, width: int) -> None:
    """Two engines that share no code list and count the same primes anywhere below 10^12."""
    one, other = map(load_engine, NAMES)
    end = start + width
    primes = one.primes(start, end)
    np.testing.assert_array_equal(primes, other.primes(start, end))
    assert one.count(start, end) == other.count(start, end) == len(primes)


@pytest.mark.parametrize(
    ("start", "end", "tested"),
    [
        (0, 2_000_000, False),
        (10**8 - 10_000, 10**8 + 10_000, False),
        (10**15 - 500, 10**15 + 500, True),
        (10**18, 10**18 + 2000, True),
        (MAX_NUMBER - 2000, MAX_NUMBER, True),
    ],
)
def test_the_cheaper_way_finds_the_same(engine: Engine, start: int, end: int, tested: bool) -> None:
    """Whether a range is sieved or tested, what is listed, counted and summarised agrees."""
    range_ = Range(start, end)
    cheaper = TESTING.seconds(range_, pack=False) < engine.cost.seconds(range_, pack=False)
    assert cheaper == tested
    primes = list_primes(engine, range_)
    assert summarise(engine, range_) == summary_of(primes)
    if start < 10**16:
        np.testing.assert_array_equal(primes, engine.primes(start, end))
    else:
        assert primes.tolist() == primes_between(start, end)


def summary_of(primes: NDArray[np.uint64]) -> Summary:
    """The summary by the definition."""
    return Summary(len(primes), sum(len(str(prime)) for prime in primes.tolist()))


@settings(deadline=None)
@given(st.sampled_from([10**k for k in range(1, 13)]), st.integers(0, 300), st.integers(0, 300))
def test_summaries_across_a_power_of_ten(engine: Engine, power: int, low: int, high: int) -> None:
    """The digits on both sides of a power of ten are counted as they are written."""
    range_ = Range(max(power - low, 0), power + high)
    expected = np.array(primes_between(range_.start, range_.end), np.uint64)
    assert summarise(engine, range_) == summary_of(expected)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (24, 28), (2, 2), (0, 100)])
def test_primes_are_one_array_of_uint64(engine: Engine, start: int, end: int) -> None:
    """Whether many primes were found, one or none, they are a flat uint64 array of our own."""
    primes = engine.primes(start, end)
    assert primes.dtype == np.uint64
    assert primes.ndim == 1
    assert primes.flags.writeable


def test_an_engine_says_what_it_is(engine: Engine) -> None:
    """Name and version are there to be shown, and the name is one that settings take."""
    assert engine.name in ENGINE_CHOICES
    assert engine.version[0].isdigit()
    assert engine.version in repr(engine)


@pytest.mark.parametrize("name", ["", "Primesieve", "eratosthenes"])
def test_an_unknown_engine_is_refused(name: str) -> None:
    """A name that is no engine's is refused with the names there are."""
    with pytest.raises(InvalidSetting, match="auto, primesieve, numpy"):
        load_engine(name)


@pytest.mark.parametrize("choice", ENGINE_CHOICES)
def test_an_engine_is_loaded_once(choice: str) -> None:
    """A choice names the same engine throughout a process."""
    assert load_engine(choice) is load_engine(choice)


@pytest.fixture
def no_libprimesieve(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which libprimesieve is not installed in any way."""

    def no_files(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "files", no_files)
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    load_engine.cache_clear()
    yield
    load_engine.cache_clear()


@pytest.mark.usefixtures("no_libprimesieve")
def test_without_libprimesieve_the_portable_engine_serves() -> None:
    """Where the library is missing `auto` takes NumPy, and asking for it by name says why not."""
    assert load_engine("auto").name == "numpy"
    with pytest.raises(EngineUnavailable, match="passagemath-primesieve-primecount"):
        load_engine("primesieve")
