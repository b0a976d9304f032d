"""Runs a job: collects the summary of every piece of its range.

A piece that is known costs nothing, one under way is waited for, the rest is
asked for chunk by chunk, a bounded number of chunks ahead. The first and the
last piece may reach beyond the range: they are trimmed from their primes.
"""

import asyncio
from typing import Final

from primesvc.compute.dispatcher import Flow
from primesvc.jobs.job import Job, Plan
from primesvc.sieve.packed import Packed
from primesvc.store.segments import Flight, SegmentStore

YIELD_EVERY: Final = 512
"""Known pieces recorded before other work on the event loop gets its turn: about 1 ms."""


async def run_job(job: Job, store: SegmentStore, flow: Flow, *, ahead: int) -> None:
    """Collect the summaries of all pieces of the job, with `ahead` chunks asked for at a time.

    Raises what a piece's sieving raised; cancelled, it leaves every chunk it
    waited for.
    """
    plan = job.plan
    boarded: list[tuple[Flight, range]] = []
    missing = plan.indices
    since_yield = 0
    try:
        while missing or boarded:
            while missing and len(boarded) < ahead:
                if await _record_known(job, store, missing[0]):
                    missing = missing[1:]
                    since_yield = (since_yield + 1) % YIELD_EVERY
                    if since_yield == 0:
                        await asyncio.sleep(0)
                    continue
                flight, served = store.board(
                    plan.grid,
                    _alike(plan, missing),
                    with_primes=plan.keep or plan.trims(missing[0]),
                    flow=flow,
                )
                boarded.append((flight, served))
                missing = missing[len(served) :]
            if boarded:
                await asyncio.wait(
                    {flight.landed for flight, _ in boarded}, return_when=asyncio.FIRST_COMPLETED
                )
                for pair in [pair for pair in boarded if pair[0].landed.done()]:
                    boarded.remove(pair)
                    store.leave(pair[0])
                    pair[0].landed.result()
                    _record_landed(job, *pair)
    finally:
        for flight, _ in boarded:
            store.leave(flight)


def _alike(plan: Plan, missing: range) -> range:
    """The pieces from the first on that are wanted in the same way: with primes, or counted."""
    if plan.keep or len(missing) == 1:
        return missing
    if plan.trims(missing[0]):
        return missing[:1]
    return missing[:-1] if plan.trims(missing[-1]) else missing


async def _record_known(job: Job, store: SegmentStore, index: int) -> bool:
    if job.plan.trims(index):
        packed = await store.cached(job.plan.grid.piece(index))
        if packed is None:
            return False
        job.record(index, packed.summary(job.plan.piece(index)))
        return True
    summary = store.summary(job.plan.grid, index)
    if summary is None:
        return False
    job.record(index, summary)
    return True


def _record_landed(job: Job, flight: Flight, served: range) -> None:
    for index in served:
        if job.plan.trims(index):
            packed: Packed = flight.packed[index]
            job.record(index, packed.summary(job.plan.piece(index)))
        else:
            job.record(index, flight.summaries[index])
