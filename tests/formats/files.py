"""Files in every format: put together from what a format writes, and as other libraries write them.

The first is what readers and downloads are compared with; the tests of the
formats compare it with the second.
"""

import csv
import gzip
import io
import json
import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no stubs
from hypothesis import strategies as st
from numpy.typing import NDArray

from primesvc.formats.base import Format
from primesvc.formats.catalog import AS_STRINGS, FORMATS
from primesvc.formats.text import CONTRACT
from primesvc.sieve.engine import list_primes, load_engine
from primesvc.sieve.grid import SEGMENTS
from primesvc.sieve.packed import Summary
from primesvc.sieve.range import Range

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EVERY_FORMAT: Final[dict[str, Format]] = {
    format_.name: format_ for format_ in (*FORMATS.values(), *AS_STRINGS.values(), CONTRACT)
}
"""Every format there is, by its own name."""

TEXTS: Final = tuple(name for name in EVERY_FORMAT if name not in ("npy", "arrow"))
"""The names of the text formats."""


ASCENDING: Final = st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=60).map(sorted)
"""Values of a file, ascending."""

CUTS: Final = st.lists(st.integers(0, 60), max_size=5).map(lambda at: [0, *sorted(at), 60])
"""Where the segments of such a file begin and end; many are empty."""

Values = Sequence[int] | NDArray[np.uint64]


def summary_of(values: Values) -> Summary:
    """How many values there are, and how many digits they have together, by `str`."""
    values = np.asarray(values, np.uint64).tolist()
    return Summary(len(values), len("".join(map(str, values))))


def encoded(format_: Format, values: Values) -> bytes:
    """The values alone, as the format writes them."""
    total = summary_of(values)
    buffer = np.empty(format_.values_bytes(total.count, total.digits), np.uint8)
    assert format_.encode(np.asarray(values, np.uint64), buffer) == len(buffer)
    return buffer.tobytes()


def assembled(format_: Format, segments: Sequence[Values]) -> bytes:
    """The file of values that lie in several segments, put together as `formats.base` says."""
    totals = [summary_of(segment) for segment in segments]
    total = Summary(sum(t.count for t in totals), sum(t.digits for t in totals))
    body = b"".join(
        format_.piece_head(len(segment)) + encoded(format_, segment)
        for segment in segments
        if len(segment)
    )
    if total.count:
        body = body[: len(body) - format_.spare]
    return format_.head(total) + body + format_.tail()


def by_segment(values: Sequence[int]) -> list[list[int]]:
    """The ascending values, one list for each segment that holds any."""
    return [list(group) for _, group in groupby(values, SEGMENTS.index)]


@lru_cache(maxsize=64)
def file_of(name: str, start: int, end: int) -> bytes:
    """The whole file of the primes of a closed range in a format."""
    primes = primes_of(start, end)
    borders = [SEGMENTS.piece(index).start for index in SEGMENTS.cover(Range(start, end))[1:]]
    segments = np.split(primes, np.searchsorted(primes, np.array(borders, np.uint64)))
    return assembled(EVERY_FORMAT[name], segments)


@lru_cache(maxsize=64)
def primes_of(start: int, end: int) -> NDArray[np.uint64]:
    """The primes of a closed range, as the engine finds them: that has tests of its own."""
    return list_primes(load_engine("auto"), Range(start, end))


def written_elsewhere(name: str, values: Sequence[int]) -> bytes:
    """The file of the values in a text format, as Python's own library writes it."""
    values = list(values)
    if name == "contract":
        return (json.dumps(str(values)) + "\n").encode()
    if name == "csv":
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(
            [["prime"], *([value] for value in values)]
        )
        return lines.getvalue().encode()
    listed = [str(value) for value in values] if name.endswith("-strings") else values
    if name.startswith("json"):
        return (json.dumps(listed, separators=(",", ":")) + "\n").encode()
    return "".join(json.dumps(value) + "\n" for value in listed).encode()


def arrow_batches(data: bytes) -> list[list[int]]:
    """The values in each record batch of an Arrow stream, which is checked on the way."""
    with pa.ipc.open_stream(data) as reader:
        assert reader.schema == pa.schema([pa.field("prime", pa.uint64(), nullable=False)])
        batches = list(reader)
    for batch in batches:
        batch.validate(full=True)
    return [batch.column("prime").to_pylist() for batch in batches]


def values_in(name: str, data: bytes) -> list[int]:
    """The values in a file of this format, read by the library its users read it with."""
    if name == "npy":
        array = np.load(io.BytesIO(data))
        assert array.dtype == np.dtype("<u8")
        assert array.ndim == 1
        return list(array.tolist())
    if name == "arrow":
        return [value for batch in arrow_batches(data) for value in batch]
    text = data.decode("ascii")
    if name == "csv":
        header, *rows = csv.reader(io.StringIO(text))
        assert header == ["prime"]
        return [int(row) for (row,) in rows]
    if name == "contract":
        return list(json.loads(json.loads(text)))
    if name.startswith("json"):
        return [int(value) for value in json.loads(text)]
    return [int(json.loads(line)) for line in text.splitlines()]


def decoded(coding: str, body: bytes) -> bytes:
    """The file that a body in a content coding stands for."""
    return gzip.decompress(body) if coding == "gzip" else zstd.decompress(body)
