"""The file of a result that is still collected: its parts, as they become known, one after another.

Put together they are the file that the finished result has, byte for byte.
"""

from primesvc.collect.collected import Collected
from primesvc.collect.plan import Plan
from primesvc.formats.base import Format
from primesvc.results.layout import Layout
from primesvc.results.result import Result
from primesvc.sieve.grid import SEGMENTS
from primesvc.sieve.packed import Summary


def grows(plan: Plan, format_: Format) -> bool:
    """Whether the beginning of the file is known before the end of the range is.

    Not if it begins with the count; nor where cells are collected, for a
    batch of Arrow, which begins with its own count, is a whole segment.
    """
    return plan.grid.base is SEGMENTS and format_.head(Summary(0, 0)) == format_.head(Summary(1, 1))


class GrowingFile:
    """The file of what is collected, in a format in which it `grows`, handed out in parts."""

    def __init__(self, collected: Collected, format_: Format) -> None:
        self._collected = collected
        self._format = format_
        self._pieces = 0
        """How many pieces were handed out."""
        self._has_primes = False
        """Whether there was a prime among them."""

    def next(self, *, finished: bool) -> Layout | None:
        """All that became known since the last part; None if nothing did.

        The last piece, and what stands behind it, only with `finished`: for a
        job that succeeded. Then this is the last part.
        """
        collected, format_ = self._collected, self._format
        pieces = len(collected.plan.indices)
        stop = pieces if finished else min(collected.front, pieces - 1)
        if stop <= self._pieces:
            return None
        part = Result.part_of(collected, self._pieces, stop)
        has_primes = part.total.count > 0
        if self._pieces == 0:
            head = format_.head(part.total)
        else:
            head = format_.separator if self._has_primes and has_primes else b""
        self._pieces = stop
        self._has_primes |= has_primes
        return Layout(part, format_, head=head, tail=None if finished else b"")
