"""How a range is collected: which pieces of which grid, and whether their primes are kept."""

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from primesvc.sieve.cost import expected_primes
from primesvc.sieve.engine import Engine, listing_s
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.range import Range
from primesvc.sieve.selection import ALL, Selection
from primesvc.store.segments import SegmentStore

MAX_CELLS: Final = 64
"""Cells of a plan at the most: beyond, whole segments are worth their price."""

KEEP_SHARE: Final = 0.5
"""Share of the cache that the primes of one job may take: they are kept on the
way if they fit, and a larger job leaves what others have there alone."""

_BYTES_PER_PRIME: Final = 1.1
"""Packed, with the headers; two bytes a prime only where gaps exceed 510."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which pieces are collected: those of `grid` with `indices`, trimmed to `range`.

    The primes are those that the grid selects.
    """

    range: Range
    grid: Grid
    indices: "builtins.range"
    keep: bool
    """Whether its primes fit the cache and are packed on the way."""

    def piece(self, index: int) -> Range:
        """The part of the range that lies in the piece."""
        piece = self.grid.piece(index)
        return self.range.clip(piece) if self._is_end(index) else piece

    def trims(self, index: int) -> bool:
        """Whether the piece reaches beyond the range."""
        return self._is_end(index) and not self.range.covers(self.grid.piece(index))

    def _is_end(self, index: int) -> bool:
        """Whether the piece is the first or the last: only these can reach beyond the range."""
        return index in (self.indices.start, self.indices.stop - 1)


async def make_plan(
    range_: Range,
    store: SegmentStore,
    engine: Engine,
    *,
    cache_bytes: int,
    selection: Selection = ALL,
) -> Plan:
    """The plan for a range: cells for a narrow one, unless its segments are at hand."""
    grid = SEGMENTS.select(selection)
    segments = SEGMENTS.cover(range_)
    cells = CELLS.cover(range_)
    if len(cells) <= MAX_CELLS and (
        _cost_s(engine, CELLS, cells) < _cost_s(engine, SEGMENTS, segments)
    ):
        for index in segments:
            if not await store.holds(grid, index):
                return Plan(range_, CELLS.select(selection), cells, keep=True)
    size = expected_primes(range_) * _BYTES_PER_PRIME
    if selection:
        # Their gaps take two bytes.
        size *= 2 * selection.share(range_.end)
    return Plan(range_, grid, segments, keep=size <= cache_bytes * KEEP_SHARE)


def plan_cost_s(range_: Range, engine: Engine, cost_s: Callable[[Engine, Range], float]) -> float:
    """About how many seconds one core needs for a range of which nothing is known.

    Sums the estimates `cost_s` (`listing_s` or `counting_s`) at up to a hundred
    places, for work is dearer high on the line.
    """
    segments = SEGMENTS.cover(range_)
    step = max(len(segments) // 100, 1)
    samples = segments[::step]
    if len(segments) <= 2:
        return cost_s(engine, range_)
    seconds = sum(cost_s(engine, SEGMENTS.piece(index)) for index in samples)
    return seconds * len(segments) / len(samples)


def _cost_s(engine: Engine, grid: Grid, indices: range) -> float:
    """Seconds to sieve the pieces in one go."""
    return listing_s(engine, Range(grid.piece(indices[0]).start, grid.piece(indices[-1]).end))
