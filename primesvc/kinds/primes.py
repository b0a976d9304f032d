"""The primes of a range, to be read as a file."""

from functools import partial

from primesvc.collect.plan import make_plan, plan_cost_s
from primesvc.kinds.base import Resources
from primesvc.kinds.ranges import Collecting, RangeQuestion
from primesvc.sieve.engine import Engine, listing_s


class Primes(RangeQuestion):
    """Asks for the primes of the range, or those of a selection."""

    kind = "primes"
    listed = True

    def cost_s(self, engine: Engine, workers: int) -> float:
        """About how long it takes to list them."""
        cost_s = partial(listing_s, selection=self.selection)
        return plan_cost_s(self.searched, engine, cost_s) / workers

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
