"""Turns on the event loop: few steps an iteration, in order, whoever leaves meanwhile."""

import asyncio

from primesvc.web.turns import AT_ONCE, Turns
from tests.helpers import WAIT_S


async def most_at_once(done: list[int], number: int) -> int:
    """How many are done in one iteration of the loop at the most, until all are."""
    most = before = len(done)
    while before < number:
        await asyncio.sleep(0)
        most, before = max(most, len(done) - before), len(done)
    return most


async def test_steps_are_few_at_a_time_and_in_order() -> None:
    """However many ask at once, others have the loop in between."""
    turns, done = Turns(), list[int]()

    async def step(number: int) -> None:
        await turns.next()
        done.append(number)

    tasks = [asyncio.create_task(step(number)) for number in range(100)]
    async with asyncio.timeout(WAIT_S):
        assert await most_at_once(done, 100) <= AT_ONCE
    assert done == list(range(100))
    await asyncio.gather(*tasks)


async def test_those_who_wait_for_one_thing_do_not_wake_all_at_once() -> None:
    """They have their turns when it has happened; some have left, and some had no time."""
    turns, done = Turns(), list[int]()
    ended = asyncio.get_running_loop().create_future()

    async def wait(number: int, timeout_s: float) -> None:
        await turns.after(ended, timeout_s)
        done.append(number)

    tasks = [asyncio.create_task(wait(number, WAIT_S)) for number in range(100)]
    short = asyncio.create_task(wait(-1, 1e-3))
    await short
    assert done.pop() == -1
    tasks[3].cancel()
    await asyncio.wait([tasks[3]])
    ended.set_result(None)
    async with asyncio.timeout(WAIT_S):
        assert await most_at_once(done, 99) <= AT_ONCE
    assert done == [number for number in range(100) if number != 3]
    await turns.after(ended, WAIT_S)  # it has happened: at once
    await turns.after(asyncio.get_running_loop().create_future(), 0)
