"""The table of summaries: small, exact, bounded."""

from hypothesis import given
from hypothesis import strategies as st

from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.packed import Summary
from primesvc.store.summaries import PAGE_PIECES, SummaryTable

PAGE_BYTES = PAGE_PIECES * 8
ONE = Summary(1, 7)

grids = st.sampled_from([SEGMENTS, CELLS])
# Neighbours on a page, on the next, and far away.
indices = st.integers(0, 2 * PAGE_PIECES) | st.integers(0, 2**50)
summaries = st.builds(Summary, st.integers(0, 2**28), st.integers(0, 2**32 - 1))


def test_what_was_put_is_got() -> None:
    """A summary comes back as it was, and its neighbours stay unknown."""
    table = SummaryTable(max_bytes=2**20)
    table.put(SEGMENTS, 7, Summary(12, 34))
    assert table.get(SEGMENTS, 7) == Summary(12, 34)
    assert table.get(SEGMENTS, 6) is None
    assert table.get(SEGMENTS, 8) is None
    assert table.get(SEGMENTS, 7 + PAGE_PIECES) is None


def test_no_primes_are_knowledge_too() -> None:
    """A piece without primes is known to have none, which is not the same as unknown."""
    table = SummaryTable(max_bytes=2**20)
    table.put(CELLS, 3, Summary(0, 0))
    assert table.get(CELLS, 3) == Summary(0, 0)


def test_grids_do_not_mix() -> None:
    """A piece of one grid says nothing about the piece of the other with its index."""
    table = SummaryTable(max_bytes=2**20)
    table.put(CELLS, 3, ONE)
    assert table.get(SEGMENTS, 3) is None


@given(st.lists(st.tuples(grids, indices, summaries), max_size=50))
def test_the_latest_summary_of_a_piece_holds(puts: list[tuple[Grid, int, Summary]]) -> None:
    """With room for all, the table answers like a dictionary."""
    table = SummaryTable(max_bytes=200 * PAGE_BYTES)
    expected = {}
    for grid, index, summary in puts:
        table.put(grid, index, summary)
        expected[grid, index] = summary
    for (grid, index), summary in expected.items():
        assert table.get(grid, index) == summary


def test_the_page_used_least_recently_is_forgotten() -> None:
    """When a page more is needed the one goes that was neither read nor written for longest."""
    table = SummaryTable(max_bytes=3 * PAGE_BYTES)
    for page in range(3):
        table.put(SEGMENTS, page * PAGE_PIECES, ONE)
    assert table.get(SEGMENTS, 0) == ONE  # a use of the first page
    table.put(SEGMENTS, PAGE_PIECES + 1, ONE)  # and one of the second
    table.put(SEGMENTS, 3 * PAGE_PIECES, ONE)
    known = [page for page in range(4) if table.get(SEGMENTS, page * PAGE_PIECES)]
    assert known == [0, 1, 3]


@given(st.integers(0, 5 * PAGE_BYTES), st.lists(indices, max_size=30))
def test_the_table_keeps_within_its_bound(max_bytes: int, puts: list[int]) -> None:
    """However many pieces are put, the memory stays bounded: two pages are the least."""
    table = SummaryTable(max_bytes=max_bytes)
    for index in puts:
        table.put(SEGMENTS, index, ONE)
        assert table.get(SEGMENTS, index) == ONE
        assert table.current_bytes <= max(max_bytes, 2 * PAGE_BYTES)
