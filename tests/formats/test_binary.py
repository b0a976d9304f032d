"""The binary formats: `numpy.load` and Arrow read them, wherever the segments are cut."""

import io
from itertools import pairwise

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no stubs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.formats.base import Format
from primesvc.formats.binary import ARROW, NPY
from primesvc.sieve.packed import Summary
from tests.formats.files import ASCENDING, CUTS, arrow_batches, assembled, values_in

HEADER_BYTES = 128
"""Of a `.npy` file: its data is aligned to 64."""

both = pytest.mark.parametrize("format_", [NPY, ARROW], ids=lambda format_: format_.name)


@both
@given(values=ASCENDING, cuts=CUTS)
def test_what_is_written_is_read(format_: Format, values: list[int], cuts: list[int]) -> None:
    """Every value comes back, however the values are spread over segments."""
    segments = [values[a:b] for a, b in pairwise(cuts)]
    assert values_in(format_.name, assembled(format_, segments)) == values


@given(values=ASCENDING)
def test_npy_is_what_numpy_saves(values: list[int]) -> None:
    """A `.npy` file is byte for byte the one that `numpy.save` writes."""
    file = io.BytesIO()
    np.save(file, np.array(values, "<u8"))
    assert assembled(NPY, [values]) == file.getvalue()


@pytest.mark.parametrize("count", [0, 1, 10**6, 10**12, 425_656_284_035_217_743])
def test_the_header_of_npy_is_equally_long_for_every_count(count: int) -> None:
    """Up to all primes below 2^64 the header has 128 bytes and says how many there are."""
    head = NPY.head(Summary(count, 20 * count))
    assert len(head) == HEADER_BYTES
    file = io.BytesIO(head)
    assert np.lib.format.read_magic(file) == (1, 0)
    assert np.lib.format.read_array_header_1_0(file) == ((count,), False, np.dtype("<u8"))
    assert file.read() == b""


@given(values=ASCENDING, cuts=CUTS)
def test_arrow_has_a_batch_for_every_segment_that_holds_a_prime(
    values: list[int], cuts: list[int]
) -> None:
    """Batches are the segments in order, without the empty ones; the schema is one uint64."""
    segments = [values[a:b] for a, b in pairwise(cuts)]
    batches = arrow_batches(assembled(ARROW, segments))
    assert batches == [segment for segment in segments if segment]


def test_arrow_without_primes_is_a_table_without_rows() -> None:
    """A stream without batches still has its schema and its end."""
    with pa.ipc.open_stream(assembled(ARROW, [])) as reader:
        table = reader.read_all()
    assert table.num_rows == 0
    assert table.column_names == ["prime"]


def test_arrow_is_read_without_a_copy() -> None:
    """The values are aligned in the file, so a reader uses them where they are."""
    data = assembled(ARROW, [[2, 3, 5], [7], list(range(100, 201))])
    assert len(ARROW.head(Summary(0, 0))) % 8 == 0
    assert len(ARROW.piece_head(1)) % 8 == 0
    source = pa.py_buffer(data)
    with pa.ipc.open_stream(source) as reader:
        for batch in reader:
            address = batch.column("prime").buffers()[1].address
            assert source.address <= address < source.address + len(data)


def test_arrow_streams_can_be_read_while_they_grow() -> None:
    """The first batch of a stream can be read before the rest is there."""
    data = assembled(ARROW, [[2, 3, 5], [7, 11]])
    first = len(ARROW.head(Summary(5, 6))) + len(ARROW.piece_head(3)) + 3 * 8
    with pa.ipc.open_stream(data[:first]) as reader:
        assert reader.read_next_batch().column("prime").to_pylist() == [2, 3, 5]


@given(count=st.integers(1, 2**32 - 1))
def test_the_head_of_a_batch_is_equally_long_for_every_count(count: int) -> None:
    """A layout takes the length of one head for that of every other."""
    assert len(ARROW.piece_head(count)) == len(ARROW.piece_head(1))


@both
def test_values_with_a_stride_or_another_byte_order_are_written_right(format_: Format) -> None:
    """What is written is eight little-endian bytes, however the values lie in memory."""
    values = np.arange(1, 21, dtype=np.uint64)
    for view in (values[::2], values[::2].astype(">u8")):
        out = np.full(90, 0xAA, np.uint8)
        assert format_.encode(view, out) == 80
        assert out[:80].view("<u8").tolist() == list(range(1, 21, 2))
        assert (out[80:] == 0xAA).all()


@both
def test_a_buffer_too_small_is_an_error(format_: Format) -> None:
    """The exact size is enough, one byte less is an error that writes nothing."""
    primes = np.array([2, 3, 5], np.uint64)
    out = np.full(24, 0xAA, np.uint8)
    with pytest.raises(ValueError, match="take 24 bytes, the buffer has 23"):
        format_.encode(primes, out[:-1])
    assert (out == 0xAA).all()
    assert format_.encode(primes, out) == 24
