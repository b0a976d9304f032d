"""The primes of a range, to be read as a file."""

from typing import Final

from primesvc.collect.plan import first_plan, make_plan, plan_cost_s
from primesvc.kinds.base import Resources
from primesvc.kinds.ranges import Collecting, RangeQuestion
from primesvc.sieve.engine import Engine

_USUAL_CACHE_BYTES: Final = 256 * 2**20
"""The cache that estimates take for granted: with another one more or less is packed on the way,
which is about half of the work."""


class Primes(RangeQuestion):
    """Asks for the primes of the range, or those of a selection."""

    kind = "primes"
    listed = True

    def cost_s(self, engine: Engine, workers: int) -> float:
        """About how long it takes to list them."""
        plan = first_plan(
            self.searched, engine, cache_bytes=_USUAL_CACHE_BYTES, selection=self.selection
        )
        return plan_cost_s(plan, engine, workers)

    async def plan(self, resources: Resources) -> Collecting:
        """Collect the pieces, and keep their primes if they fit the cache."""
        plan = make_plan(
            self.searched,
            resources.store,
            resources.engine,
            cache_bytes=resources.cache_bytes,
            selection=self.selection,
        )
        return Collecting(await plan)
