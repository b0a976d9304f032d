"""What a row is, what it needs, what it finds, and how much work is done for it."""

import importlib.util
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from primesvc.sieve.primecount import find_primecount


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much work the rows do; ranges begin at 0 unless said otherwise."""

    hot_rounds: int
    """Of each side, in turn."""
    hot_round_s: float
    cold_jobs: int
    cold_peer_jobs: int
    count_exponent: int
    count_pairs: int
    far_divisor: int
    """How much less the peer of far counts does than always."""
    pi_exponent: int
    pi_pairs: int
    statistics_exponent: int
    statistics_pairs: int
    journal_exponent: int
    journal_pairs: int
    download_exponent: int
    download_pairs: int
    memory_exponents: tuple[int, int]
    """Of the small and of the large result."""
    overlap_width: int
    overlap_places: int
    narrow_jobs: int
    narrow_peer_jobs: int
    fair_small_jobs: int
    fair_medium_jobs: int
    fair_background: int
    """How far the job in the background counts."""
    estimates: int
    """How many jobs are estimated and tried."""
    nasty_s: float
    """Seconds of each kind of nasty requests."""
    starts: int


FULL: Final = Sizes(
    hot_rounds=40,
    hot_round_s=0.2,
    cold_jobs=1000,
    cold_peer_jobs=300,
    count_exponent=11,
    count_pairs=2,
    far_divisor=1,
    pi_exponent=15,
    pi_pairs=3,
    statistics_exponent=10,
    statistics_pairs=2,
    journal_exponent=11,
    journal_pairs=6,
    download_exponent=9,
    download_pairs=3,
    memory_exponents=(8, 10),
    overlap_width=10**10,
    overlap_places=3,
    narrow_jobs=20,
    narrow_peer_jobs=3,
    fair_small_jobs=200,
    fair_medium_jobs=100,
    fair_background=10**12,
    estimates=400,
    nasty_s=10,
    starts=5,
)
"""What the promises are about."""

QUICK: Final = Sizes(
    hot_rounds=3,
    hot_round_s=0.2,
    cold_jobs=50,
    cold_peer_jobs=10,
    count_exponent=9,
    count_pairs=1,
    far_divisor=100,
    pi_exponent=13,
    pi_pairs=1,
    statistics_exponent=8,
    statistics_pairs=1,
    journal_exponent=10,
    journal_pairs=1,
    download_exponent=7,
    download_pairs=1,
    memory_exponents=(7, 8),
    overlap_width=10**9,
    overlap_places=1,
    narrow_jobs=3,
    narrow_peer_jobs=1,
    fair_small_jobs=20,
    fair_medium_jobs=10,
    fair_background=10**12,
    estimates=40,
    nasty_s=1,
    starts=1,
)
"""Enough to see that everything runs; the ratios mean little."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something a row cannot do without, and how to get it."""

    install: str
    present: Callable[[], bool]


def command(name: str, install: str) -> Need:
    """A program on the path."""
    return Need(install, lambda: shutil.which(name) is not None)


def module(name: str, install: str) -> Need:
    """A Python package; it is not imported."""
    return Need(install, lambda: importlib.util.find_spec(name) is not None)


PRIMESIEVE: Final = command("primesieve", "the primesieve command (Debian: primesieve)")
CURL: Final = command("curl", "the curl command (Debian: curl)")
REDIS: Final = command("redis-server", "Redis (Debian: redis-server)")
FLASK_AND_RQ: Final = tuple(
    module(name, "pip install 'primesvc[bench]'") for name in ("flask", "rq", "redis")
)
PRIMECOUNT: Final = Need(
    "a platform that libprimecount is built for", lambda: find_primecount() is not None
)
SMAPS: Final = Need("a Linux with /proc/<pid>/smaps_rollup", Path("/proc/self/smaps_rollup").exists)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured: both sides in words, the figure to compare, and what else was seen."""

    ours: str
    peer: str
    figure: float
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A promise about speed and how it is measured.

    The figure of the outcome is to be at least the target, or with `at_most` at most that.
    """

    name: str
    work: str
    peer: str
    target: float
    at_most: bool = False
    unit: str = ""
    """Of figure and target; empty for a ratio."""
    needs: tuple[Need, ...] = ()
    extra: bool = False
    """Whether it is measured only if it is asked for: it takes minutes."""
    measure: Callable[[Sizes], Outcome]

    def missing(self) -> list[str]:
        """What is to be installed before the row can be measured."""
        return list(dict.fromkeys(need.install for need in self.needs if not need.present()))

    def met(self, figure: float) -> bool:
        """Whether the figure keeps the promise."""
        return figure <= self.target if self.at_most else figure >= self.target


def places(count: int, *, start: int, end: int, width: int, apart: int) -> list[tuple[int, int]]:
    """Closed ranges of `width` numbers at random places of [start, end), the same in every run.

    Each lies in an interval of its own, `apart` wide: none warms a piece of the grid for another.
    """
    chance = random.Random(count * width)  # noqa: S311 - places on a line, no secret
    intervals = chance.sample(range((end - start) // apart), count)
    ranges = []
    for interval in intervals:
        first = start + interval * apart + chance.randrange(apart - width)
        ranges.append((first, first + width - 1))
    return ranges
