"""Questions about single numbers: answered by a call or a few, with no job and nothing kept."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from primesvc.compute import worker
from primesvc.compute.backend import CallResult
from primesvc.compute.dispatcher import Dispatcher
from primesvc.numbers import NumberFacts, check_how_many
from primesvc.sieve.engine import Engine
from primesvc.sieve.number import examine_s
from primesvc.sieve.range import check_number

T = TypeVar("T")

READ_S_PER_BYTE: Final = 0.3e-6
"""Seconds to read a list of numbers: 2^64-1 and the like takes 3 µs, plain digits less."""

READ_BYTES_PER_BYTE: Final = 32
"""Memory that what is read takes at the most: `[[],[],[]` is a list of lists."""

TEST_S: Final = 5e-6
"""Seconds to test a number: those just below 2^64 that are primes take as long."""

TEST_NUMBERS: Final = 2**13
"""Numbers tested in one call: they take 40 ms at the most."""


class Lookups:
    """Has workers look at numbers; what it raises is said in `PrimeService`."""

    def __init__(self, dispatcher: Dispatcher, engine: Engine) -> None:
        self._dispatcher = dispatcher
        self._engine = engine

    async def number(self, number: int) -> NumberFacts:
        """Everything about a number. Raises `RangeNotAllowed`."""
        check_number(number)
        return await self._call(
            worker.examine,
            self._engine.name,
            number,
            cost_s=examine_s(number),
            take=lambda result: result.value.facts,
        )

    async def are_prime(self, numbers: Sequence[int] | NDArray[np.integer[Any]]) -> list[bool]:
        """Whether each is a prime. Raises `RangeNotAllowed` and `TypeError`."""
        check_how_many(len(numbers))
        array = _array(numbers)
        parts = [array[at : at + TEST_NUMBERS] for at in range(0, len(array), TEST_NUMBERS)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._are_prime(part)) for part in parts]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return list(chain.from_iterable(task.result() for task in tasks))

    async def _are_prime(self, numbers: NDArray[np.uint64]) -> list[bool]:
        return await self._call(
            worker.decide,
            numbers.tobytes(),
            cost_s=TEST_S * len(numbers),
            take=lambda result: np.frombuffer(result.view, np.bool_).tolist(),
        )

    async def read_numbers(self, text: bytes) -> NDArray[np.uint64]:
        """The numbers of a JSON object. Raises `InvalidParameter` and `RangeNotAllowed`."""
        return await self._call(
            worker.read_numbers,
            text,
            cost_s=READ_S_PER_BYTE * len(text),
            memory_bytes=READ_BYTES_PER_BYTE * len(text),
            take=lambda result: np.frombuffer(result.view, np.uint64).copy(),
        )

    async def _call(
        self,
        function: Callable[..., Any],
        *args: object,
        cost_s: float,
        memory_bytes: int = 0,
        take: Callable[[CallResult], T],
    ) -> T:
        """What `take` makes of the result of one call in a queue of its own."""
        queue = self._dispatcher.queue(function.__name__, work_s=cost_s)
        call = queue.submit(function, *args, cost_s=cost_s, memory_bytes=memory_bytes)
        try:
            result = await call.done
        except asyncio.CancelledError:
            call.cancel()
            raise
        try:
            return take(result)
        finally:
            result.release()


def _array(numbers: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    if isinstance(numbers, np.ndarray):
        if numbers.dtype == np.uint64:
            return numbers.astype(np.uint64, copy=False)
        numbers = numbers.tolist()
    for type_ in set(map(type, numbers)) - {int}:
        raise TypeError(f"numbers are int, not {type_.__name__}")
    for number in (min(numbers, default=0), max(numbers, default=0)):
        check_number(number)
    return np.array(numbers, np.uint64)
