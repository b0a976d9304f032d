"""Collects the summary of every piece of a range.

A piece that is known costs nothing, one under way is waited for, the rest is
asked for chunk by chunk, a bounded number of chunks ahead. The first and the
last piece may reach beyond the range: they are trimmed from their primes, or
if those are not kept, only the part that lies in the range is counted.
"""

import asyncio
from typing import Final

from primesvc.collect.collected import Collected
from primesvc.compute.dispatcher import Queue
from primesvc.store.in_flight import InFlight
from primesvc.store.segments import SegmentStore

YIELD_EVERY: Final = 512
"""Known pieces recorded before other work on the event loop gets its turn: about 1 ms."""


async def collect(collected: Collected, store: SegmentStore, queue: Queue, *, ahead: int) -> None:
    """Record the summaries of all pieces of a plan, with `ahead` chunks asked for at a time.

    Raises what a piece's sieving raised; cancelled, it leaves every chunk it
    waited for.
    """
    missing = collected.plan.indices
    # The only place that holds a call in flight while something is waited for: in a local
    # variable its packed primes, megabytes, would outlive their use.
    joined: list[tuple[InFlight, range]] = []
    since_yield = 0
    try:
        while missing or joined:
            _record_found(collected, store, joined)
            if missing and len(joined) < ahead:
                if await _record_known(collected, store, missing[0]):
                    missing = missing[1:]
                    since_yield = (since_yield + 1) % YIELD_EVERY
                    if since_yield == 0:
                        await asyncio.sleep(0)
                else:
                    joined.append(_ask(collected, store, queue, missing))
                    missing = missing[len(joined[-1][1]) :]
            elif joined:
                await asyncio.wait(_endings(joined), return_when=asyncio.FIRST_COMPLETED)
    finally:
        while joined:
            store.release(joined.pop()[0])


def _ask(
    collected: Collected, store: SegmentStore, queue: Queue, missing: range
) -> tuple[InFlight, range]:
    """A call in flight for the first of the missing pieces, and the indices it serves."""
    plan, first = collected.plan, missing[0]
    if plan.keep:
        return store.join(plan.grid, missing, with_primes=True, queue=queue)
    if plan.trims(first):
        part = store.count_part(plan.grid, first, plan.piece(first), queue=queue)
        return part, missing[:1]
    whole = missing[:-1] if plan.trims(missing[-1]) else missing
    return store.join(plan.grid, whole, with_primes=False, queue=queue)


async def _record_known(collected: Collected, store: SegmentStore, index: int) -> bool:
    plan = collected.plan
    summary = None if plan.trims(index) else store.summary(plan.grid, index)
    if summary is None and (plan.keep or plan.trims(index)):
        # A cache that outlives the service, or is shared, may know more than it does.
        packed = await store.cached(plan.grid, index)
        summary = None if packed is None else packed.summary(plan.piece(index))
    if summary is None:
        return False
    collected.record(index, summary)
    return True


def _endings(joined: list[tuple[InFlight, range]]) -> list[asyncio.Future[None]]:
    # Several may have joined one call.
    return list({in_flight.done for in_flight, _ in joined})


def _record_found(
    collected: Collected, store: SegmentStore, joined: list[tuple[InFlight, range]]
) -> None:
    """Record what the calls have found that are done, and let go of them."""
    plan = collected.plan
    for pair in [pair for pair in joined if pair[0].done.done()]:
        in_flight, served = pair
        in_flight.done.result()
        for index in served:
            if plan.keep and plan.trims(index):
                summary = in_flight.packed[index].summary(plan.piece(index))
            else:
                summary = in_flight.summaries[index]
            collected.record(index, summary)
        joined.remove(pair)
        store.release(in_flight)
