"""What was sieved is counted a second time, by libprimecount: another library, another algorithm.

It shares nothing with the sieve, the cache or the journal, so what is wrong with any of them shows.
"""

import asyncio
import logging
from typing import Final, Self

from primesvc.collect.plan import Plan, plan_cost_s
from primesvc.compute.dispatcher import LEAST_COST_S, Queue
from primesvc.kinds.base import Resources
from primesvc.kinds.pi import PiValues, ends
from primesvc.sieve.engine import Engine
from primesvc.sieve.primecount import pi_s
from primesvc.sieve.range import Range

log = logging.getLogger(__name__)

SHARE: Final = 0.05
"""Share of the work that a check may cost, both by their estimates."""

CALL_S: Final = 2 * LEAST_COST_S
"""Seconds that a call for one value of π costs beside it: the way to a worker, and the loop's part.
So what takes less than 20 ms of one core is not checked."""

PATIENCE_S: Final = 10.0
"""Seconds that finished work waits for its check at the most. It began with the work and was
short beside it, but it may stand behind the long calls of others."""


def is_checked(plan: Plan, engine: Engine) -> bool:
    """Whether a second count costs next to nothing beside the work on a plan."""
    if engine.primecount is None or plan.grid.selection:
        return False
    check_s = sum(pi_s(number) + CALL_S for number in ends(plan.range))
    return check_s <= SHARE * plan_cost_s(plan, engine)


class SecondCount:
    """Counts the primes of a range while somebody else does; enter it with `async with`.

    Its calls are in the queue of that work. Left early, it ends them.
    """

    def __init__(self, range_: Range, resources: Resources, queue: Queue) -> None:
        self._range = range_
        self._resources = resources
        self._queue = queue
        self._task: asyncio.Task[int]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._find(), name=f"check {self._range}")
        return self

    async def _find(self) -> int:
        upper, *lower = await PiValues(ends(self._range)).find(self._resources, self._queue)
        return upper - sum(lower)

    async def found(self) -> int | None:
        """How many primes there are; None if that could not be found, or not in time."""
        await asyncio.wait([self._task], timeout=PATIENCE_S)
        if not self._task.done():
            why = f"it took more than {PATIENCE_S:g} s"
        elif (error := self._task.exception()) is not None:
            why = str(error) or type(error).__name__
        else:
            return self._task.result()
        log.warning("the primes of %s are not counted a second time: %s", self._range, why)
        return None

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # seen: nobody else will look
