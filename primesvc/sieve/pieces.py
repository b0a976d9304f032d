"""Pieces of a grid as one call sieves them: which of them at once, and what that costs."""

from typing import Final

from primesvc.sieve.engine import Engine, counting_s, listing_s
from primesvc.sieve.grid import Grid
from primesvc.sieve.range import Range

RUN_SPAN: Final = 2**22
"""Numbers that are sieved at once: neighbouring cells share one set-up, and the primes
of a run stay in the second-level cache."""


def runs(pieces: list[Range]) -> list[list[Range]]:
    """Neighbouring pieces in runs, the primes of each of which are listed at once."""
    found: list[list[Range]] = []
    for piece in pieces:
        if found and piece.end - found[-1][0].start < RUN_SPAN:
            found[-1].append(piece)
        else:
            found.append([piece])
    return found


def pieces_s(engine: Engine, grid: Grid, indices: range, *, listed: bool) -> float:
    """About how many seconds one core needs to list and pack these pieces, or to count them.

    Each as if it were where the last one is, and as wide.
    """
    last = grid.piece(indices[-1])
    if not listed:
        return counting_s(engine, last, grid.selection) * len(indices)
    of_run = max(RUN_SPAN // last.span, 1)
    many, rest = divmod(len(indices), of_run)
    seconds = listing_s(engine, _before(last, of_run), grid.selection) * many if many else 0.0
    return seconds + listing_s(engine, _before(last, rest), grid.selection) if rest else seconds


def _before(last: Range, number: int) -> Range:
    """So many pieces as wide as the last one, up to it."""
    return Range(last.end - number * last.span + 1, last.end)
