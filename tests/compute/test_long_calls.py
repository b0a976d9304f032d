"""How many long calls there are at a time, and on how many threads."""

import asyncio

import pytest

from primesvc.compute.long_calls import LongCalls


@pytest.mark.parametrize("workers", range(1, 20))
async def test_there_are_no_more_threads_than_workers(workers: int) -> None:
    """Those let in together leave a worker to others, where there are two, and use up the rest."""
    calls = LongCalls(workers)
    at_a_time = 0
    while not calls.free.locked():
        await calls.free.acquire()
        at_a_time += 1
    assert at_a_time in (1, 2)
    assert at_a_time < workers or workers == 1
    assert workers - 1 <= at_a_time * calls.threads <= workers


async def test_an_embedders_executor_gets_one_thread_a_call() -> None:
    """How many processors there are for it is not known."""
    assert LongCalls(8, threaded=False).threads == 1


async def test_who_waits_is_let_in_when_one_leaves() -> None:
    """First come, first served."""
    calls = LongCalls(2)
    async with calls.free:
        waiting = asyncio.create_task(calls.free.acquire())
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await asyncio.wait_for(waiting, 5)
