"""What was collected as bytes that outlive the process, read again only if they may be true.

A line with the grid and whether the primes are kept, then, of a range that was
collected whole, the summaries of its pieces (count and digits, 4 bytes each,
little-endian), compressed by zlib.
"""

import math
import re
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.collect.collected import Collected
from primesvc.collect.plan import Plan
from primesvc.sieve.grid import SEGMENTS, Grid, find_grid
from primesvc.sieve.packed import digit_cuts
from primesvc.sieve.range import Range
from primesvc.sieve.selection import ALL, Selection

_HEAD: Final = re.compile(rb"([a-z]{1,20}:[0-9a-f]{8}) ([01])\n")

_LONGEST_GAP: Final = 1550
"""From one prime to the next below 2^64 at the most (Oliveira e Silva, Herzog, Pardi 2014)."""

_MOST_COMPRESSED: Final = 64
"""Bytes in one of packed summaries at the most: counts vary too much for more than 8."""


def write_head(grid: str, keep: int) -> bytes:
    """The line that a record begins with."""
    return f"{grid} {keep}\n".encode()


def write(collected: Collected, *, complete: bool) -> bytes:
    """The record of what was collected: its plan, and the summaries if it is complete."""
    head = write_head(collected.plan.grid.base.signature, int(collected.plan.keep))
    if not complete:
        return head
    return head + zlib.compress(collected.summaries.astype("<u4").tobytes(), 1)


def read(
    record: bytes, range_: Range, selection: Selection = ALL, *, complete: bool
) -> tuple[Plan, NDArray[np.uint32] | None]:
    """The plan for a range as it was written, and the summaries if it was complete.

    None for those of a grid that was cut otherwise: nothing can be done with them, but they
    are no damage. Raises `ValueError` for a record that cannot be true.
    """
    match = _HEAD.match(record)
    if match is None:
        raise ValueError(f"the range {range_} has no plan")
    body = record[match.end() :]
    if bool(body) != complete:
        raise ValueError(f"the count of {range_} is {'missing' if complete else 'too early'}")
    known = find_grid(match[1].decode())
    grid = (known or SEGMENTS).select(selection)
    plan = Plan(range_, grid, grid.cover(range_), keep=match[2] == b"1")
    if known is None or not complete:
        return plan, None
    summaries = _read_summaries(body, range_, grid)
    if summaries is None:
        raise ValueError(f"the count of {range_} cannot be true")
    return plan, summaries


def may_hold(range_: Range, count: int, digits: int, selection: Selection = ALL) -> bool:
    """Whether the range may hold so many such primes, which have so many digits together."""
    return may_count(range_, count, selection) and (
        count * len(str(range_.start)) <= digits <= count * len(str(range_.end))
    )


def may_count(range_: Range, count: int, selection: Selection = ALL) -> bool:
    """Whether the range may hold so many such primes."""
    fewest = 0 if selection else range_.span // _LONGEST_GAP
    return fewest <= count <= _most_primes(range_.span)


def _most_primes(span: int) -> int:
    """More primes than that no range of so many numbers holds (Montgomery, Vaughan 1973)."""
    return 1 if span == 1 else int(2 * span / math.log(span))


def _read_summaries(blob: bytes, range_: Range, grid: Grid) -> NDArray[np.uint32] | None:
    """The summaries of the pieces of the range, None if these bytes cannot be they."""
    indices = grid.cover(range_)
    size = 8 * len(indices)
    if size > _MOST_COMPRESSED * len(blob):
        return None
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(blob, size + 1)
    except zlib.error:
        return None
    if len(data) != size or not unpacker.eof or unpacker.unused_data:
        return None
    summaries = np.frombuffer(data, "<u4").reshape(-1, 2).astype(np.uint32)
    counts, digits = summaries.astype(np.uint64).T
    spans = [grid.piece(index).span for index in (indices[0], indices[-1])]
    fewest, most = np.full(len(counts), 20, np.uint64), np.zeros(len(counts), np.uint64)
    for part in digit_cuts(range_):
        pieces = grid.cover(part)
        at = slice(pieces.start - indices.start, pieces.stop - indices.start)
        width = np.uint64(len(str(part.start)))
        fewest[at], most[at] = np.minimum(fewest[at], width), width
    fit = (counts <= _most_primes(max(spans))) & (digits >= counts * fewest)
    fit &= digits <= counts * most
    if not grid.selection:
        fit[1:-1] &= counts[1:-1] >= min(spans) // _LONGEST_GAP
    holds = may_hold(range_, int(counts.sum()), int(digits.sum()), grid.selection)
    return summaries if holds and bool(fit.all()) else None
