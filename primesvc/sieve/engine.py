"""What an engine is, which ones there are, and how one is chosen."""

from collections.abc import Callable
from functools import cache, lru_cache, partial
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from primesvc.errors import EngineUnavailable, InvalidSetting
from primesvc.sieve.cost import (
    LIGHT_CALL_BYTES,
    TESTING,
    CostModel,
    expected_primes,
    sieve_bytes,
)
from primesvc.sieve.narrow import count_by_testing, primes_by_testing
from primesvc.sieve.packed import Summary
from primesvc.sieve.primecount import Primecount
from primesvc.sieve.range import Range
from primesvc.sieve.selection import ALL, Selection

PICK_S: Final = 8e-9
"""Seconds a prime to select some of a list."""


class Engine(Protocol):
    """Finds the primes of closed ranges on [0, 2^64 - 1], exactly, on one thread."""

    name: str
    """How settings and users call it."""

    version: str
    """The version of the library that does the work."""

    cost: CostModel
    """What `count` costs on this engine."""

    primecount: Primecount | None
    """What counts without sieving, where there is something of the kind."""

    def __hash__(self) -> int:
        """There is one of each a process."""

    def primes(self, start: int, end: int) -> NDArray[np.uint64]:
        """The primes of the closed range [start, end], ascending, shape (n,)."""

    def count(self, start: int, end: int) -> int:
        """How many primes the closed range [start, end] holds."""

    def counts(self, selection: Selection) -> bool:
        """Whether the selected primes are counted without being listed."""

    def count_selected(self, selection: Selection, start: int, end: int) -> int:
        """How many primes, or constellations of a selection it counts, lie in [start, end]."""


def list_primes(engine: Engine, range_: Range, selection: Selection = ALL) -> NDArray[np.uint64]:
    """The selected primes of the range, ascending, shape (n,).

    By the engine or by testing the numbers, whichever is cheaper.
    """
    needed = selection.needed(range_)
    lister = primes_by_testing if _is_tested(engine, needed) else engine.primes
    primes = lister(needed.start, needed.end)
    return selection.pick(primes, range_.end) if selection else primes


def summarise(engine: Engine, range_: Range, selection: Selection = ALL) -> Summary:
    """Count the selected primes of the range and their digits, without a list where possible."""
    return Summary.of(range_, partial(count_primes, engine, selection=selection))


def count_primes(engine: Engine, range_: Range, selection: Selection = ALL) -> int:
    """How many selected primes the range holds, by the engine or by testing, as is cheaper."""
    needed = selection.needed(range_)
    if engine.counts(selection) and not _is_tested(engine, needed):
        return engine.count_selected(selection, needed.start, needed.end)
    if selection:
        return list_primes(engine, range_, selection).size
    return count_by_testing(range_.start, range_.end)


@lru_cache(64)
def _is_tested(engine: Engine, range_: Range) -> bool:
    """Whether testing the numbers of the range one by one is cheaper than sieving it."""
    return TESTING.seconds(range_, pack=False) < engine.cost.seconds(range_, pack=False)


@lru_cache(64)  # a small job asks several times
def listing_s(engine: Engine, range_: Range, selection: Selection = ALL) -> float:
    """About how many seconds it takes to list and pack the selected primes of the range."""
    needed = selection.needed(range_)
    seconds = min(engine.cost.seconds(needed, pack=True), TESTING.seconds(needed, pack=True))
    return seconds + PICK_S * expected_primes(range_) if selection else seconds


def counting_s(engine: Engine, range_: Range, selection: Selection = ALL) -> float:
    """About how many seconds it takes to count the selected primes of the range."""
    if not engine.counts(selection):
        return listing_s(engine, range_, selection)
    return min(engine.cost.seconds(range_, pack=False), TESTING.seconds(range_, pack=False))


def extra_bytes(engine: Engine, range_: Range, *, listed: bool) -> int:
    """About how much memory it takes to list or count the primes, beyond that of a light call."""
    if _is_tested(engine, range_):
        return 0  # as light as can be
    return max(sieve_bytes(range_, listed=listed) - LIGHT_CALL_BYTES, 0)


def _primesieve() -> Engine:
    from primesvc.sieve.primesieve_engine import PrimesieveEngine

    return PrimesieveEngine()


def _numpy() -> Engine:
    from primesvc.sieve.numpy_engine import NumpyEngine

    return NumpyEngine()


# Imported on demand: the first needs a library that not every platform has.
_ENGINES: Final[dict[str, Callable[[], Engine]]] = {"primesieve": _primesieve, "numpy": _numpy}

ENGINE_CHOICES: Final = ("auto", *_ENGINES)
"""What the engine setting may be; `auto` takes the first one that loads."""


@cache
def load_engine(choice: str) -> Engine:
    """The engine of this name, or with `auto` the fastest that loads; one a process.

    Raises `EngineUnavailable` if it cannot be loaded here and `InvalidSetting`
    for a name that is no engine's.
    """
    if choice == "auto":
        for name in _ENGINES:
            try:
                return load_engine(name)
            except EngineUnavailable:
                continue
    if choice not in _ENGINES:
        raise InvalidSetting("engine", f"{choice!r} is none of {', '.join(ENGINE_CHOICES)}")
    return _ENGINES[choice]()
