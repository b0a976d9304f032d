"""The loop that collects a range: what it holds while it waits."""

import gc
from functools import partial

from primesvc import Job, PrimeService, Range, Settings
from primesvc.sieve.packed import Packed
from tests.helpers import eventually
from tests.web.helpers import HeldExecutor


def packed_pieces() -> int:
    """How many packed pieces this process holds, beside the bytes in the cache."""
    gc.collect()
    return sum(isinstance(thing, Packed) for thing in gc.get_objects())


async def test_nothing_waits_with_primes_in_hand() -> None:
    """A job that keeps its primes leaves them to the cache while it waits for the next call.

    A piece is megabytes high on the line, and a thousand jobs may wait at a time.
    """
    executor = HeldExecutor()
    async with PrimeService(Settings(workers=2), executor=executor) as service:
        job = await service.submit(Range(5, 4 * 10**8))
        assert job.collected.plan.keep
        before = packed_pieces()
        for _ in range(3):
            await eventually(lambda: executor.held > 0)
            done = job.collected.pieces_done
            executor.run()
            await eventually(partial(has_more, job, done))
        assert not job.state.final
        assert packed_pieces() == before
        executor.drop()


def has_more(job: Job, pieces: int) -> bool:
    """Whether a job has collected more than so many pieces."""
    return job.collected.pieces_done > pieces
