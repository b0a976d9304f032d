"""Values of π(x), the number of primes up to x, found by workers without sieving."""

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from primesvc.compute.dispatcher import INLINE_S, Call, Queue
from primesvc.compute.long_calls import LONG_S
from primesvc.compute.worker import count_up_to
from primesvc.kinds.base import Resources
from primesvc.sieve.primecount import pi_s
from primesvc.sieve.range import Range

_LINEAR: Final = 0.9
"""Progress up to which it grows as the estimate says; from there on it slows down."""

_MOST: Final = 0.999
"""Progress of what is not known to be done."""

_MEMORY_FROM: Final = 10**17
"""Numbers from which a call takes more memory than any call may: 37 MB at 10^18."""

_MEMORY_BYTES: Final = 64 * 2**20


_LEAST_S: Final = 2 * INLINE_S
"""What a call is estimated at least: the library, which cannot be interrupted, and which says what
it does not like on standard error, is for workers, never for the event loop."""


def ends(range_: Range) -> list[int]:
    """The numbers of which π is asked for: that of the first less that of the second."""
    return [range_.end] if range_.start <= 2 else [range_.end, range_.start - 1]


def pi_cost_s(numbers: Sequence[int], workers: int) -> float:
    """About how many seconds it takes so many idle workers to find π of these numbers."""
    costs = [pi_s(number) for number in numbers]
    # A long call has threads: it is done as fast as two beside one another.
    return max(sum(costs) / workers, max(min(cost, LONG_S) for cost in costs))


class PiValues:
    """π of some numbers, a call each; progress is estimated, since a call does not tell."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._calls: list[Call] = []
        self._threads = 1

    async def find(self, resources: Resources, queue: Queue) -> list[int]:
        """The values, in order. Raises what the calls raise; cancelled, it ends them."""
        self._calls.clear()
        self._threads = resources.long_calls.threads
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._find(n, resources, queue)) for n in self._numbers]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _find(self, number: int, resources: Resources, queue: Queue) -> int:
        cost_s = max(pi_s(number), _LEAST_S)
        is_long = cost_s > LONG_S
        threads = self._threads if is_long else 1
        async with AsyncExitStack() as stack:
            if is_long:
                await stack.enter_async_context(resources.long_calls.free)
            call = queue.submit(
                count_up_to, resources.engine.name, number, threads, cost_s=cost_s,
                memory_bytes=_MEMORY_BYTES if number > _MEMORY_FROM else 0,
            )  # fmt: skip
            self._calls.append(call)
            stack.callback(call.cancel)
            await asyncio.wait([call.done])
            found: int = call.done.result().value.found[0]
            return found

    @property
    def progress(self) -> float:
        """About how much of it is done, below 1."""
        whole_s = sum(map(pi_s, self._numbers))
        done_s = 0.0
        for call in self._calls:
            if call.done.done():
                done_s += call.cost_s
            elif call.started:
                threads = self._threads if call.cost_s > LONG_S else 1
                spent_s = (time.perf_counter() - call.started_s) * threads
                done_s += call.cost_s * estimated_share(spent_s / call.cost_s)
        return min(done_s / max(whole_s, done_s), _MOST)


def estimated_share(spent: float) -> float:
    """What to tell of progress after `spent` of the time that was estimated; below 1."""
    if spent <= _LINEAR:
        return spent
    rest = 1 - _LINEAR
    return min(1 - rest * math.exp((_LINEAR - spent) / rest), _MOST)
