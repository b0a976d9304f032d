"""How many primes a range holds; nothing is kept for reading them."""

from primesvc.collect.plan import make_plan, plan_cost_s
from primesvc.kinds.base import Resources
from primesvc.kinds.ranges import Collecting, RangeQuestion
from primesvc.sieve.engine import Engine, counting_s


class Count(RangeQuestion):
    """Asks how many primes the range holds."""

    __slots__ = ()

    kind = "count"

    def cost_s(self, engine: Engine, workers: int) -> float:
        """About how long it takes to count them."""
        return plan_cost_s(self.range, engine, counting_s) / workers

    async def plan(self, resources: Resources) -> Collecting:
        """Collect the pieces."""
        # Without a cache: their primes would push out what is read.
        plan = make_plan(self.range, resources.store, resources.engine, cache_bytes=0)
        return Collecting(await plan)
