"""What can be asked of a service, wherever it runs."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from primesvc.numbers import NumberFacts
from primesvc.sieve.range import Range
from primesvc.sieve.selection import Selection


@dataclass(frozen=True, slots=True)
class Found:
    """The primes of a range, ready to be read."""

    count: int
    arrays: AsyncGenerator[NDArray[np.uint64], None]
    """The primes, ascending, in arrays of any length but 0."""


class Asker(ABC):
    """Asks a service and waits for the answer; enter it with `async with`.

    A question that is cancelled here is cancelled in the service too, for everybody who waits
    for the same. All raise what the service, or the client of one elsewhere, raises.
    """

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @abstractmethod
    async def close(self) -> None:
        """Close what was opened; may be called again. Bounded in time."""

    @abstractmethod
    async def count(self, range_: Range, selection: Selection) -> int:
        """How many primes of the selection the range holds."""

    @abstractmethod
    async def nth(self, n: int, start: int) -> int:
        """The n-th prime above `start`, or for a negative n below it."""

    @abstractmethod
    async def statistics(self, range_: Range, modulus: int, bins: int) -> Mapping[str, Any]:
        """The statistics of the range, as the `result` of a job's document has them."""

    @abstractmethod
    async def number(self, number: int) -> NumberFacts:
        """Everything about a number."""

    @abstractmethod
    async def are_prime(self, numbers: list[int]) -> list[bool]:
        """Whether each is a prime; any number of them."""

    @abstractmethod
    async def find(self, range_: Range, selection: Selection) -> Found:
        """The primes of the selection in the range, once all are found."""

    @abstractmethod
    def read(
        self, range_: Range, selection: Selection, format_name: str
    ) -> AsyncGenerator[bytes, None]:
        """The primes of the selection in the range as a file, in parts, at constant memory."""

    async def primes(self, range_: Range, selection: Selection) -> NDArray[np.uint64]:
        """The primes of the selection in the range as one array: 8 bytes of memory for each."""
        found = await self.find(range_, selection)
        at = 0
        async with aclosing(found.arrays) as arrays:
            primes = np.empty(found.count, np.uint64)
            async for array in arrays:
                primes[at : at + len(array)] = array
                at += len(array)
        return primes

    async def arrays(
        self, range_: Range, selection: Selection
    ) -> AsyncGenerator[NDArray[np.uint64], None]:
        """Such primes, ascending, in arrays of any length but 0: constant memory."""
        async with aclosing((await self.find(range_, selection)).arrays) as arrays:
            async for array in arrays:
                yield array
