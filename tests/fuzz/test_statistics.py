"""Statistics from outside: asked for in any words, read from any record, told by any service."""

import zlib
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from primesvc import Range
from primesvc.client.documents import read_statistics
from primesvc.errors import InvalidParameter, RangeNotAllowed
from primesvc.kinds.statistics import MAX_BINS, MAX_COUNTS, Statistics
from primesvc.sieve.selection import MAX_MODULUS
from tests.fuzz.search import cases, damages, misspelt
from tests.fuzz.test_client import junk
from tests.helpers import naive_primes
from tests.oracles import statistics_of

numbers = misspelt(
    st.integers(-1, MAX_MODULUS + 2).map(str) | st.sampled_from(["1e3", "10**4", "2^64-1"]),
    "0123456789_+-.e^* \0\u0661",
)
values = st.fixed_dictionaries(
    {"start": numbers, "end": numbers},
    optional={"modulus": numbers | junk, "bins": numbers | junk, "more": junk},
)


@cases(150)
@given(values)
def test_any_values(asked: dict[str, object]) -> None:
    """A question is within the limits, and its parameters ask for the same one."""
    try:
        question = Statistics.read(asked)
    except (InvalidParameter, RangeNotAllowed) as error:
        assert len(str(error)) < 300  # noqa: PT017 - either is right
        return
    assert 1 <= question.modulus <= MAX_MODULUS
    assert 1 <= question.bins <= MAX_BINS
    assert question.bins * len(question.frame.classes) <= MAX_COUNTS
    written = {name: str(value) for name, value in question.parameters.items()}
    assert Statistics.read(written) == question


QUESTION = Statistics(Range(0, 1000), 4, 3)
WORK = QUESTION.recall(b"", complete=False)
WORK.tally.add(np.array(naive_primes(0, 1000), np.uint64))
RECORD = WORK.record(complete=True)
SIZE = len(zlib.decompress(RECORD)) // 8


@cases(200)
@given(damages(RECORD))
def test_a_damaged_record(record: bytes) -> None:
    """It is read as it was written, or not at all."""
    try:
        work = QUESTION.recall(record, complete=True)
    except ValueError:
        return
    assert work.findings == WORK.findings


@cases(200)
@given(
    st.dictionaries(
        st.integers(0, 30) | st.integers(0, SIZE - 1),
        st.integers(0, 2**64 - 1) | st.integers(0, 1000),
        max_size=6,
    )
)
@example({})
@example(dict.fromkeys(range(4), 0))
@example(dict.fromkeys(range(SIZE), 0))
@example(dict.fromkeys(range(SIZE), 2**63 - 1))
@example({0: 0, 1: 0})
def test_a_record_of_other_numbers(changes: dict[int, int]) -> None:
    """One that is taken for true contradicts nothing that can be looked at."""
    found = np.frombuffer(zlib.decompress(RECORD), "<u8").copy()
    for at, number in changes.items():
        found[at] = number
    try:
        work = QUESTION.recall(zlib.compress(found.tobytes()), complete=True)
    except ValueError:
        return
    result = work.findings["result"]
    counts = result["residues"]["counts"]
    assert result["count"] == sum(counts) == sum(result["bins"]["counts"])
    assert sum(many for _, many in result["gaps"]) == sum(map(sum, result["pairs"]))
    assert result["first"] == 2
    assert result["last"] - 2 == sum(gap * many for gap, many in result["gaps"])


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Statistics in which something is changed, or missing."""
    document: Any = statistics_of(0, 100, 4, 3)
    part: Any = document
    while True:
        at = draw(st.sampled_from(range(len(part)) if isinstance(part, list) else sorted(part)))
        if isinstance(part[at], dict | list) and part[at] and draw(st.booleans()):
            part = part[at]
        elif draw(st.booleans()):
            part[at] = draw(junk)
            return document
        else:
            del part[at]
            return document


@cases(200)
@given(documents() | junk)
@example(statistics_of(0, 100, 4, 3))
def test_any_document(document: Any) -> None:
    """Statistics of whole numbers alone in their places, or one of three errors."""
    try:
        found = read_statistics(document)
    except (KeyError, TypeError, ValueError):
        return
    assert set(found) == set(statistics_of(0, 0, 1, 1))
    whole = [found["count"], *found["bins"]["counts"], *(n for row in found["gaps"] for n in row)]
    assert all(type(number) is int and number >= 0 for number in whole)
    assert read_statistics(found) == found
