"""What holds for every format: exact lengths before a byte is made, and names of its own."""

import pickle
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given

from primesvc.formats.base import Format, total_bytes
from primesvc.formats.catalog import AS_STRINGS, FORMATS
from primesvc.sieve.packed import Summary
from tests.formats.files import (
    ASCENDING,
    CUTS,
    EVERY_FORMAT,
    assembled,
    encoded,
    summary_of,
    values_in,
)

CALL_BYTES = 500
"""What a format may add to every call to a worker."""

every_format = pytest.mark.parametrize("format_", EVERY_FORMAT.values(), ids=EVERY_FORMAT)


@every_format
@given(values=ASCENDING, cuts=CUTS)
def test_the_length_follows_from_the_summaries(
    format_: Format, values: list[int], cuts: list[int]
) -> None:
    """Head, heads of segments, values and tail, less one `spare`, make the file's length."""
    segments = [values[a:b] for a, b in pairwise(cuts)]
    counts = np.array([len(segment) for segment in segments], np.int64)
    digits = np.array([summary_of(segment).digits for segment in segments], np.int64)
    pieces = format_.values_bytes(counts, digits)
    assert pieces.dtype == np.int64
    assert pieces.tolist() == [len(encoded(format_, segment)) for segment in segments]
    heads = sum(len(format_.piece_head(len(segment))) for segment in segments if segment)
    spare = format_.spare if values else 0
    length = len(format_.head(summary_of(values))) + heads + int(pieces.sum()) - spare
    assert length + len(format_.tail()) == len(assembled(format_, segments))


@every_format
@given(values=ASCENDING)
def test_the_length_of_one_segment_follows_from_its_summary(
    format_: Format, values: list[int]
) -> None:
    """`total_bytes` is exact."""
    assert total_bytes(format_, summary_of(values)) == len(assembled(format_, [values]))


@every_format
def test_the_lengths_of_the_largest_files_do_not_overflow(format_: Format) -> None:
    """All primes up to 10^19 in one piece are exabytes, and still exactly so many."""
    count = 234_057_667_276_344_607
    digits = 19 * count
    length = total_bytes(format_, Summary(count, digits))
    assert length >= 8 * count
    pieces = format_.values_bytes(np.array([count]), np.array([digits]))
    assert int(pieces[0]) == format_.values_bytes(count, digits) >= 8 * count


@every_format
def test_spare_bytes_belong_to_a_value(format_: Format) -> None:
    """A file never has fewer bytes behind its last value than are left out there."""
    assert 0 <= format_.spare < format_.values_bytes(1, 1)


@every_format
def test_a_format_travels_cheaply_to_a_worker(format_: Format) -> None:
    """A format is pickled with every call: it is small, and the same at the other end."""
    data = pickle.dumps(format_, pickle.HIGHEST_PROTOCOL)
    assert len(data) < CALL_BYTES
    assert pickle.loads(data) == format_  # noqa: S301 - we pickled it


@every_format
def test_a_format_cannot_be_altered(format_: Format) -> None:
    """Formats are shared by all requests: they are constants."""
    with pytest.raises(AttributeError):
        format_.name = "other"  # type: ignore[misc]


@every_format
def test_a_name_can_stand_in_a_tag_and_a_file_name(format_: Format) -> None:
    """Names and extensions have nothing that a header would have to quote."""
    assert re.fullmatch(r"[a-z-]+", format_.name)
    assert re.fullmatch(r"[a-z]+", format_.extension)


def test_the_formats_are_called_by_their_names() -> None:
    """There are six, JSON first: it is the one for clients that do not say."""
    assert list(FORMATS) == ["json", "ndjson", "text", "csv", "npy", "arrow"]
    assert all(format_.name == name for name, format_ in FORMATS.items())


def test_media_types_are_distinct() -> None:
    """A media type names one format, whatever its parameters: `Accept` can choose each."""
    types = [format_.media_type.partition(";")[0] for format_ in FORMATS.values()]
    assert len(set(types)) == len(types)
    assert all(re.fullmatch(r"[a-z]+/[a-z.-]+", type_) for type_ in types)


def test_extensions_are_distinct() -> None:
    """Files of different formats of one result do not overwrite one another."""
    extensions = [format_.extension for format_ in FORMATS.values()]
    assert len(set(extensions)) == len(extensions)


@pytest.mark.parametrize("name", AS_STRINGS)
def test_numbers_as_strings_are_the_same_format_to_a_client(name: str) -> None:
    """Only the name, which is in the tag, differs: media type and extension do not."""
    strings, numbers = AS_STRINGS[name], FORMATS[name]
    assert strings.name != numbers.name
    assert (strings.media_type, strings.extension) == (numbers.media_type, numbers.extension)
    data = assembled(strings, [[2, 3]]), assembled(numbers, [[2, 3]])
    assert data[0] != data[1]
    assert values_in(strings.name, data[0]) == values_in(numbers.name, data[1])


def test_formats_without_numbers_as_strings_lose_no_digits() -> None:
    """Formats of which there is no second kind are read exactly as they are."""
    for name in FORMATS.keys() - AS_STRINGS.keys():
        data = assembled(FORMATS[name], [[2**64 - 59]])
        assert values_in(name, data) == [2**64 - 59]
