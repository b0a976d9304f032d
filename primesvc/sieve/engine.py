"""What an engine is, which ones there are, and how one is chosen."""

from collections.abc import Callable
from functools import cache, partial
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from primesvc.errors import EngineUnavailable, InvalidSetting
from primesvc.sieve.cost import LIGHT_CALL_BYTES, TESTING, CostModel, sieve_bytes
from primesvc.sieve.narrow import count_by_testing, primes_by_testing
from primesvc.sieve.packed import Summary
from primesvc.sieve.primecount import Primecount
from primesvc.sieve.range import Range


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


def list_primes(engine: Engine, range_: Range) -> NDArray[np.uint64]:
    """The primes of the range, by the engine or by testing its numbers, whichever is cheaper."""
    lister = primes_by_testing if _is_tested(engine, range_) else engine.primes
    return lister(range_.start, range_.end)


def summarise(engine: Engine, range_: Range) -> Summary:
    """Count the primes of the range and their digits, without listing them where possible."""
    return Summary.of(range_, partial(count_primes, engine))


def count_primes(engine: Engine, range_: Range) -> int:
    """How many primes the range holds, by the engine or by testing, whichever is cheaper."""
    counter = count_by_testing if _is_tested(engine, range_) else engine.count
    return counter(range_.start, range_.end)


def _is_tested(engine: Engine, range_: Range) -> bool:
    """Whether testing the numbers of the range one by one is cheaper than sieving it."""
    return TESTING.seconds(range_, pack=False) < engine.cost.seconds(range_, pack=False)


def listing_s(engine: Engine, range_: Range) -> float:
    """About how many seconds it takes to list and pack the primes of the range."""
    return min(engine.cost.seconds(range_, pack=True), TESTING.seconds(range_, pack=True))


def counting_s(engine: Engine, range_: Range) -> float:
    """About how many seconds it takes to count the primes of the range."""
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
