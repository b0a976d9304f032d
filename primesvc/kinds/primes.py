"""The primes of a range, to be read as a file."""

from primesvc.collect.plan import make_plan, plan_cost_s
from primesvc.kinds.base import Resources
from primesvc.kinds.ranges import Collecting, RangeQuestion
from primesvc.sieve.engine import Engine, listing_s


class Primes(RangeQuestion):
    """Asks for the primes of the range."""

    __slots__ = ()

    kind = "primes"
    listed = True

    def cost_s(self, engine: Engine, workers: int) -> float:
        """About how long it takes to list them."""
        return plan_cost_s(self.range, engine, listing_s) / workers

    async def plan(self, resources: Resources) -> Collecting:
        """Collect the pieces, and keep their primes if they fit the cache."""
        cache_bytes = resources.cache_bytes
        plan = make_plan(self.range, resources.store, resources.engine, cache_bytes=cache_bytes)
        return Collecting(await plan)
