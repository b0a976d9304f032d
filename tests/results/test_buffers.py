"""Memory for results on their way to clients: bounded, and given back whatever happens."""

import asyncio
from contextlib import AsyncExitStack, ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc.errors import ServiceFull
from primesvc.results.buffers import EXTENSION_SHARE, WORK_SHARE, Buffers, Lease
from tests.helpers import WAIT_S

SIZE = 100
WORK = int(SIZE * WORK_SHARE)


def test_a_lease_ends_with_its_context() -> None:
    """What was leased is free again, also after an error."""
    buffers = Buffers(SIZE)
    with buffers.lease(30), buffers.lease(SIZE - 30):
        assert buffers.taken_bytes == SIZE
    with pytest.raises(KeyError), buffers.lease(60):
        raise KeyError
    assert buffers.taken_bytes == 0


def test_what_does_not_fit_is_refused_with_the_limit() -> None:
    """The error names the limit and when to try again; nothing is taken for it."""
    buffers = Buffers(SIZE)
    with buffers.lease(60):
        with pytest.raises(ServiceFull, match=f"the limit is {SIZE}") as caught:
            buffers.lease(SIZE - 59)
        assert caught.value.limit == SIZE
        assert caught.value.retry_after_s
        assert (buffers.taken_bytes, buffers.refused) == (60, 1)
        with buffers.lease(SIZE - 60):
            assert buffers.taken_bytes == SIZE


def test_what_is_larger_than_all_there_is_goes_alone() -> None:
    """Every result can be sent, if no other is."""
    buffers = Buffers(SIZE)
    with buffers.lease(1000), pytest.raises(ServiceFull):
        buffers.lease(1)
    with buffers.lease(1), pytest.raises(ServiceFull):
        buffers.lease(1000)


def test_speed_takes_what_can_be_spared() -> None:
    """Half of the memory is for being fast; the other half is left for those who come later."""
    buffers = Buffers(SIZE)
    with buffers.lease(10, for_speed=30) as first, buffers.lease(10, for_speed=30) as second:
        assert first.extend()
        assert first.extend()  # once is enough
        assert buffers.taken_bytes == 50
        assert not second.extend()
        with buffers.lease(SIZE - 50):
            assert buffers.taken_bytes == SIZE
        first.reduce(to=20)
        assert buffers.taken_bytes == 40
        first.reduce()
        first.reduce()
        assert buffers.taken_bytes == 20
        assert second.extend()
    assert buffers.taken_bytes == 0


async def test_work_is_let_in_whatever_is_leased() -> None:
    """One at a time where there is no room, and no more than its share where there is."""
    buffers = Buffers(SIZE)
    async with asyncio.timeout(WAIT_S):
        async with buffers.working(WORK - 5), buffers.working(5):
            assert buffers.taken_bytes == WORK
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0), buffers.working(1):
                    pass
        with buffers.lease(SIZE):
            async with buffers.working(5):
                assert buffers.taken_bytes == SIZE + 5
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0), buffers.working(1):
                        pass
    assert buffers.taken_bytes == 0


async def test_work_beyond_its_share_waits_its_turn() -> None:
    """In the order in which it came: what is large is not overtaken for ever."""
    buffers = Buffers(SIZE)
    order: list[int] = []

    async def work(size: int) -> None:
        async with buffers.working(size):
            order.append(size)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(buffers.working(10))
        tasks = [asyncio.create_task(work(size)) for size in (SIZE, 1, 2, 3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        assert (order, buffers.taken_bytes) == ([], 10)
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert (order, buffers.taken_bytes) == ([SIZE, 2, 3], 0)


async def test_work_that_is_cancelled_as_its_turn_comes_gives_it_on() -> None:
    """Whether it was let in or not, nothing stays taken."""
    buffers = Buffers(SIZE)

    async def work() -> None:
        async with buffers.working(SIZE):
            pass

    async with buffers.working(SIZE):
        first, second = asyncio.create_task(work()), asyncio.create_task(work())
        await asyncio.sleep(0)
    first.cancel()  # it has been let in, and does not know yet
    async with asyncio.timeout(WAIT_S):
        await asyncio.wait([first, second])
    assert first.cancelled()
    assert not second.cancelled()
    assert buffers.taken_bytes == 0


steps = st.lists(
    st.tuples(
        st.sampled_from(["lease", "extend", "reduce", "end"]),
        st.integers(0, 9), st.integers(1, 60), st.integers(0, 60),
    ),
    max_size=60,
)  # fmt: skip


@given(steps)
def test_whatever_is_done_it_adds_up(steps: list[tuple[str, int, int, int]]) -> None:
    """Never more than there is, unless it is one lease alone; and nothing is left at the end."""
    buffers = Buffers(SIZE)
    with ExitStack() as stack:
        leases: list[tuple[Lease, int]] = []
        for what, which, size, more in steps:
            if what == "lease":
                try:
                    leases.append((buffers.lease(size, for_speed=more), more))
                except ServiceFull:
                    assert buffers.taken_bytes + size > SIZE
                    continue
                stack.push(leases[-1][0])
            elif leases:
                lease, _ = leases[which % len(leases)]
                if what == "end":
                    with lease:
                        pass
                    leases.pop(which % len(leases))
                else:
                    getattr(lease, what)()
            assert 0 <= buffers._extended_bytes <= 100 * EXTENSION_SHARE
            assert buffers._extended_bytes <= buffers.taken_bytes <= 100
    assert buffers.taken_bytes == buffers._extended_bytes == 0
