"""How memory is shared out: every part within the whole, and settings that do not fit refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc import PrimeService, Range, Settings
from primesvc.budget import CONNECTION_BYTES, PROGRAM_BYTES, SUMMARY_BYTES, WORKER_BYTES, Budget
from primesvc.errors import InvalidSetting
from primesvc.sieve.cost import LIGHT_CALL_BYTES, WIDEST_CALL_BYTES, sieve_bytes
from primesvc.sieve.grid import SEGMENTS
from primesvc.sieve.range import MAX_NUMBER

MIB = 2**20
GIB = 2**30


def parts(budget: Budget, processes: int) -> int:
    """All parts of a budget together."""
    fixed = PROGRAM_BYTES + SUMMARY_BYTES + WORKER_BYTES * processes
    fixed += CONNECTION_BYTES * Settings().max_connections
    growing = budget.cache_bytes + budget.job_bytes + budget.buffer_bytes + budget.call_bytes
    return fixed + growing


@given(
    usable=st.integers(0, 2**42), memory=st.integers(0, 2**40), processes=st.integers(0, 200),
    cache=st.integers(0, 2**38), jobs=st.integers(0, 2**34),
)  # fmt: skip
def test_the_parts_are_never_more_than_the_whole(
    usable: int, memory: int, processes: int, cache: int, jobs: int
) -> None:
    """Whatever is asked for: it fits, is what was asked for, and leaves room for one wide call."""
    settings = Settings(memory_bytes=memory, cache_bytes=cache, max_job_bytes=jobs)
    try:
        budget = Budget.of(settings, processes=processes, usable_bytes=usable)
    except InvalidSetting:
        assert memory
        return
    assert parts(budget, processes) <= budget.total_bytes
    assert budget.total_bytes == memory or not memory
    assert budget.cache_bytes == cache or not cache
    assert budget.job_bytes == jobs or not jobs
    assert budget.call_bytes >= WIDEST_CALL_BYTES
    assert min(budget.cache_bytes, budget.job_bytes) > 0
    assert budget.buffer_bytes >= 32 * MIB


def test_half_of_the_memory_there_is_suffices_for_the_defaults() -> None:
    """A machine of 4 GiB has the whole default cache, and half of its memory for others."""
    budget = Budget.of(Settings(), processes=3, usable_bytes=4 * GIB)
    assert budget.total_bytes == 2 * GIB
    assert budget.cache_bytes == 256 * MIB
    assert budget.job_bytes == 64 * MIB


def test_a_small_container_gets_a_small_cache() -> None:
    """The cache and the rest grow with the memory that there is."""
    small = Budget.of(Settings(), processes=2, usable_bytes=GIB)
    large = Budget.of(Settings(), processes=2, usable_bytes=8 * GIB)
    assert small.total_bytes < 650 * MIB
    assert small.cache_bytes < 64 * MIB < large.cache_bytes


def test_memory_that_does_not_suffice_is_refused_with_what_would() -> None:
    """The error says how much there is, how much is needed, and what to do about it."""
    with pytest.raises(InvalidSetting, match=r"memory_bytes: 256 MiB do not suffice") as caught:
        Budget.of(Settings(memory_bytes=256 * MIB), processes=3, usable_bytes=64 * GIB)
    assert "ask for fewer workers or a smaller cache" in str(caught.value)
    least = int(str(caught.value).split(" MiB at the least")[0].split()[-1])
    budget = Budget.of(Settings(memory_bytes=least * MIB), processes=3, usable_bytes=64 * GIB)
    assert budget.total_bytes == least * MIB
    with pytest.raises(InvalidSetting):
        Budget.of(Settings(memory_bytes=(least - 1) * MIB), processes=3, usable_bytes=64 * GIB)


def test_a_cache_larger_than_the_memory_is_refused() -> None:
    """What was asked for is never made smaller in silence."""
    settings = Settings(memory_bytes=GIB, cache_bytes=GIB)
    with pytest.raises(InvalidSetting, match="a smaller cache"):
        PrimeService(settings)


@pytest.mark.parametrize("listed", [False, True])
def test_no_piece_takes_more_than_is_kept_for_one(listed: bool) -> None:
    """Of the pieces all along the line none needs more than the budget has for a call."""
    bits = [2**k for k in range(20, 64)]
    numbers = [*bits, *(n - 1 for n in bits), *(n * 3 // 2 for n in bits), MAX_NUMBER]
    needs = [sieve_bytes(SEGMENTS.piece(SEGMENTS.index(n)), listed=listed) for n in numbers]
    assert max(needs) - LIGHT_CALL_BYTES <= WIDEST_CALL_BYTES
    low = SEGMENTS.piece(SEGMENTS.index(10**9))
    assert sieve_bytes(low, listed=listed) <= LIGHT_CALL_BYTES


def test_a_list_takes_memory_by_its_length() -> None:
    """Listing takes more than counting, and half the range less than the whole."""
    whole, half = Range(2**44, 2**44 + 2**28 - 1), Range(2**44, 2**44 + 2**27 - 1)
    assert sieve_bytes(whole, listed=False) < sieve_bytes(half, listed=True)
    assert sieve_bytes(half, listed=True) < sieve_bytes(whole, listed=True)
