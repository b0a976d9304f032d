"""How a range is collected: which pieces of which grid, and whether their primes are kept."""

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from primesvc.sieve.cost import expected_primes
from primesvc.sieve.engine import Engine, counting_s, listing_s
from primesvc.sieve.grid import CELLS, SEGMENTS, Grid
from primesvc.sieve.pieces import pieces_s
from primesvc.sieve.range import Range
from primesvc.sieve.selection import ALL, Selection
from primesvc.store.segments import CHUNK_S, SegmentStore

MAX_CELLS: Final = 1024
"""Cells of a plan at the most."""

CELL_S: Final = 0.1e-3
"""Seconds that a cell costs besides: its way through the cache, the job and a reader. A range
that is a small part of a segment pays for it, a wider one gets the segment for as much."""

KEEP_SHARE: Final = 0.5
"""Share of the cache that the primes of one job may take: they are kept on the
way if they fit, and a larger job leaves what others have there alone."""

_SAMPLES: Final = 32
"""Segments at the least of which a cost is the sum; they differ by little from each to the next."""

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
    """The plan for a range, as `first_plan` has it, unless its segments are at hand."""
    plan = first_plan(range_, engine, cache_bytes=cache_bytes, selection=selection)
    if plan.grid.base is CELLS:
        grid = SEGMENTS.select(selection)
        segments = grid.cover(range_)
        for index in segments:
            if not await store.holds(grid, index):
                return plan
        return Plan(range_, grid, segments, keep=True)
    return plan


@lru_cache(64)
def first_plan(
    range_: Range, engine: Engine, *, cache_bytes: int, selection: Selection = ALL
) -> Plan:
    """The plan for a range of which nothing is known: cells where they cost less than segments.

    With `cache_bytes` of 0 its primes are not to be read: it is counted, in segments.
    """
    size = expected_primes(range_) * _BYTES_PER_PRIME
    if selection:
        # Their gaps take two bytes.
        size *= 2 * selection.share(range_.end)
    grid, cells = SEGMENTS.select(selection), CELLS.select(selection)
    keep = 0 < cache_bytes * KEEP_SHARE >= size  # of some selections there are no primes at all
    plan = Plan(range_, grid, grid.cover(range_), keep=keep)
    narrow = Plan(range_, cells, cells.cover(range_), keep=True)
    number = len(narrow.indices)
    if not cache_bytes or number > MAX_CELLS:
        return plan
    # Two cells cost less than a segment anywhere.
    if number <= 2 or plan_cost_s(narrow, engine) < plan_cost_s(plan, engine):
        return narrow
    return plan


def plan_cost_s(plan: Plan, engine: Engine, workers: int = 1) -> float:
    """About how many seconds so many idle workers need for a plan, if nothing is known."""
    return shared_out_s(_work_s(plan, engine), workers)


def shared_out_s(work: tuple[float, float], workers: int) -> float:
    """About how long so many workers need for work, given in seconds, and its longest call."""
    work_s, call_s = work
    # No more workers than there are calls have a part in it.
    return max(work_s / workers, min(work_s, max(call_s, CHUNK_S)))


def segments_s(indices: range, segment_s: Callable[[int], float]) -> tuple[float, float]:
    """The seconds that segments take, and the longest of them: of many some are estimated."""
    step = max(len(indices) // _SAMPLES, 1)
    costs = [segment_s(index) for index in indices[step // 2 :: step]]
    return sum(costs) * len(indices) / len(costs), max(costs)


@lru_cache(64)
def _work_s(plan: Plan, engine: Engine) -> tuple[float, float]:
    """About how many seconds the work for a plan takes, and the longest of its calls."""
    grid, indices = plan.grid, plan.indices
    if grid.base is CELLS:
        return pieces_s(engine, grid, indices, listed=True) + CELL_S * len(indices), CHUNK_S
    if plan.keep:
        return segments_s(indices, lambda i: listing_s(engine, grid.piece(i), grid.selection))
    return segments_s(indices, lambda i: counting_s(engine, plan.piece(i), grid.selection))
