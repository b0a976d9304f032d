"""Runs a job: collects the summary of every piece of its range.

A piece that is known costs nothing, one under way is waited for, the rest is
asked for chunk by chunk, a bounded number of chunks ahead. The first and the
last piece may reach beyond the range: they are trimmed from their primes, or
if those are not kept, only the part that lies in the range is counted.
"""

import asyncio
from typing import Final

from primesvc.compute.dispatcher import Queue
from primesvc.jobs.job import Job, Plan
from primesvc.store.segments import InFlight, SegmentStore

YIELD_EVERY: Final = 512
"""Known pieces recorded before other work on the event loop gets its turn: about 1 ms."""


async def run_job(job: Job, store: SegmentStore, queue: Queue, *, ahead: int) -> None:
    """Collect the summaries of all pieces of the job, with `ahead` chunks asked for at a time.

    Raises what a piece's sieving raised; cancelled, it leaves every chunk it
    waited for.
    """
    plan = job.plan
    joined: list[tuple[InFlight, range]] = []
    missing = plan.indices
    since_yield = 0
    try:
        while missing or joined:
            while missing and len(joined) < ahead:
                if await _record_known(job, store, missing[0]):
                    missing = missing[1:]
                    since_yield = (since_yield + 1) % YIELD_EVERY
                    if since_yield == 0:
                        await asyncio.sleep(0)
                    continue
                in_flight, served = _ask(plan, store, queue, missing)
                joined.append((in_flight, served))
                missing = missing[len(served) :]
            if joined:
                await asyncio.wait(
                    {in_flight.done for in_flight, _ in joined}, return_when=asyncio.FIRST_COMPLETED
                )
                for pair in [pair for pair in joined if pair[0].done.done()]:
                    joined.remove(pair)
                    store.release(pair[0])
                    pair[0].done.result()
                    _record_found(job, *pair)
    finally:
        for in_flight, _ in joined:
            store.release(in_flight)


def _ask(plan: Plan, store: SegmentStore, queue: Queue, missing: range) -> tuple[InFlight, range]:
    """A call in flight for the first of the missing pieces, and the indices it serves."""
    first = missing[0]
    if plan.keep:
        return store.join(plan.grid, missing, with_primes=True, queue=queue)
    if plan.trims(first):
        part = store.count_part(plan.grid, first, plan.piece(first), queue=queue)
        return part, missing[:1]
    whole = missing[:-1] if plan.trims(missing[-1]) else missing
    return store.join(plan.grid, whole, with_primes=False, queue=queue)


async def _record_known(job: Job, store: SegmentStore, index: int) -> bool:
    plan = job.plan
    summary = None if plan.trims(index) else store.summary(plan.grid, index)
    if summary is None and (plan.keep or plan.trims(index)):
        # A cache that outlives the service, or is shared, may know more than it does.
        packed = await store.cached(plan.grid.piece(index))
        summary = None if packed is None else packed.summary(plan.piece(index))
    if summary is None:
        return False
    job.record(index, summary)
    return True


def _record_found(job: Job, in_flight: InFlight, served: range) -> None:
    for index in served:
        if job.plan.keep and job.plan.trims(index):
            job.record(index, in_flight.packed[index].summary(job.plan.piece(index)))
        else:
            job.record(index, in_flight.summaries[index])
