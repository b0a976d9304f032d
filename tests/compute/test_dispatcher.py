"""How the workers are shared: who is next, what is dropped, and where the bytes of a result are.

Where the order counts, it is the order of the calls as an executor runs them.
"""

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from primesvc.compute.arena import Arena
from primesvc.compute.backend import CallResult
from primesvc.compute.dispatcher import EXPRESS_S, LEAST_COST_S, LIGHT_S, Call, Dispatcher, Queue
from primesvc.compute.executor import ExecutorBackend
from primesvc.compute.local import LocalBackend
from primesvc.compute.worker import Payload, sieve
from primesvc.errors import EngineFailed, ServiceClosed
from primesvc.sieve.engine import load_engine
from primesvc.sieve.packed import Packed
from primesvc.sieve.range import Range
from primesvc.sieve.selection import ALL
from tests.compute import calls
from tests.compute.helpers import Gate
from tests.helpers import WAIT_S, eventually, naive_primes

pytestmark = pytest.mark.process

LONG_S = 1.0
"""What calls are said to cost that may not use the spare worker."""

SHORT_S = EXPRESS_S
"""What calls are said to cost that may use it."""

linux_only = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="there are slots of shared memory on Linux only"
)


class Work:
    """What the threads do: note what they run, in the order in which they run it."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.threads: list[int] = []
        self.gates: list[threading.Event] = []

    def note(self, name: str, slot: object) -> Payload:
        """Run at once."""
        self.order.append(name)
        self.threads.append(threading.get_ident())
        return Payload(len(name), name.encode())

    def hold(self, name: str, gate: threading.Event, slot: object) -> Payload:
        """Run until the gate is opened."""
        payload = self.note(name, slot)
        assert gate.wait(WAIT_S)
        return payload

    def hold_slot(self, name: str, gate: threading.Event, slot: object) -> Payload:
        """Run until the gate is opened, and say that the result is in the slot."""
        self.hold(name, gate, slot)
        return Payload(1, None)

    def fail(self, name: str, slot: object) -> Payload:
        """Run and fail."""
        self.note(name, slot)
        raise EngineFailed(name)

    def gate(self) -> threading.Event:
        """A closed gate, opened at the end of the test at the latest."""
        self.gates.append(threading.Event())
        return self.gates[-1]

    async def began(self, *names: str) -> None:
        """Wait until these calls have begun."""
        await eventually(lambda: set(names) <= set(self.order))


@pytest.fixture
def work() -> Iterator[Work]:
    """Nothing done yet."""
    work = Work()
    yield work
    for gate in work.gates:
        gate.set()


@asynccontextmanager
async def dispatching(
    parallel: int,
    *,
    threads: int | None = None,
    inline_s: float = 0.0,
) -> AsyncIterator[Dispatcher]:
    """A dispatcher over threads, of which there are enough unless told otherwise."""
    with ThreadPoolExecutor(threads or parallel + 1) as executor:
        dispatcher = Dispatcher(ExecutorBackend(executor, slots=parallel), inline_s=inline_s)
        yield dispatcher
        async with asyncio.timeout(WAIT_S):
            await dispatcher.close()


def add_calls(queue: Queue, work: Work, count: int, *, cost_s: float) -> list[Call]:
    """Queue calls that note the queue's name."""
    return [queue.submit(work.note, queue.name, cost_s=cost_s) for _ in range(count)]


async def finish(calls: list[Call]) -> list[CallResult]:
    """Wait for the calls; give what they brought."""
    async with asyncio.timeout(WAIT_S):
        return [await call.done for call in calls]


def counts_before(order: list[str], name: str, other: str) -> list[int]:
    """How many calls of the other ran before each call of the name."""
    return [order[:at].count(other) for at, ran in enumerate(order) if ran == name]


# Shares


async def test_queues_take_turns(work: Work) -> None:
    """Ten calls queued behind a hundred of another queue run in turns with them."""
    async with dispatching(1) as dispatcher:
        gate = work.gate()
        calls = [dispatcher.queue("first").submit(work.hold, "first", gate, cost_s=LONG_S)]
        calls += add_calls(dispatcher.queue("a"), work, 100, cost_s=LONG_S)
        calls += add_calls(dispatcher.queue("b"), work, 10, cost_s=LONG_S)
        gate.set()
        await finish(calls)
        for turn, ran in enumerate(counts_before(work.order, "b", "a")):
            assert turn - 1 <= ran <= turn + 1


async def test_shares_are_of_cost_and_not_of_calls(work: Work) -> None:
    """A queue whose calls cost a quarter has four of them run for one of the other's."""
    async with dispatching(1) as dispatcher:
        gate = work.gate()
        calls = [dispatcher.queue("first").submit(work.hold, "first", gate, cost_s=LONG_S)]
        calls += add_calls(dispatcher.queue("dear"), work, 10, cost_s=LONG_S)
        calls += add_calls(dispatcher.queue("cheap"), work, 40, cost_s=LONG_S / 4)
        gate.set()
        await finish(calls)
        for turn, ran in enumerate(counts_before(work.order, "dear", "cheap")):
            assert 4 * (turn - 1) <= ran <= 4 * (turn + 1)


async def test_calls_that_cost_next_to_nothing_are_charged(work: Work) -> None:
    """Calls said to cost hardly anything are charged the least cost, so that they starve nobody."""
    async with dispatching(1, threads=1) as dispatcher:
        gate = work.gate()
        calls = [dispatcher.queue("first").submit(work.hold, "first", gate, cost_s=LONG_S)]
        calls += add_calls(dispatcher.queue("free"), work, 100, cost_s=LEAST_COST_S / 1000)
        calls += add_calls(dispatcher.queue("b"), work, 10, cost_s=LEAST_COST_S)
        gate.set()
        await finish(calls)
        for turn, ran in enumerate(counts_before(work.order, "b", "free")):
            assert ran <= turn + 2


@pytest.mark.parametrize("idle_since_the_start", [True, False])
async def test_nobody_saves_up_turns(work: Work, idle_since_the_start: bool) -> None:
    """A queue that had nothing to do, or is new, takes turns from now on and catches up nothing."""
    async with dispatching(1) as dispatcher:
        gate = work.gate()
        late = dispatcher.queue("late")
        busy = dispatcher.queue("busy")
        calls = add_calls(busy, work, 50, cost_s=LONG_S)
        calls.append(busy.submit(work.hold, "busy", gate, cost_s=LONG_S))
        await eventually(lambda: len(work.order) == 51)
        del work.order[:]
        calls += add_calls(busy, work, 50, cost_s=LONG_S)
        if not idle_since_the_start:
            late = dispatcher.queue("late")
        calls += add_calls(late, work, 10, cost_s=LONG_S)
        gate.set()
        await finish(calls)
        for turn, ran in enumerate(counts_before(work.order, "late", "busy")):
            assert turn - 1 <= ran <= turn + 1


async def test_a_newcomer_waits_for_no_more_than_a_turn(work: Work) -> None:
    """However much is queued, a new queue's first call runs after one call of each other."""
    async with dispatching(1) as dispatcher:
        gate = work.gate()
        calls = [dispatcher.queue("first").submit(work.hold, "first", gate, cost_s=LONG_S)]
        for name in ("a", "b", "c"):
            calls += add_calls(dispatcher.queue(name), work, 50, cost_s=LONG_S)
        new = add_calls(dispatcher.queue("new"), work, 1, cost_s=LONG_S)
        gate.set()
        await finish(calls + new)
        assert work.order.index("new") <= 4


async def test_the_calls_of_a_queue_keep_their_order(work: Work) -> None:
    """Within a queue calls run in the order in which they were queued."""
    async with dispatching(1) as dispatcher:
        queue = dispatcher.queue("a")
        names = [str(n) for n in range(20)]
        await finish([queue.submit(work.note, name, cost_s=LONG_S) for name in names])
        assert work.order == names


async def test_no_more_calls_run_than_there_are_workers(work: Work) -> None:
    """Long calls run on as many workers as there are, and the next when one comes free."""
    async with dispatching(2) as dispatcher:
        gates = [work.gate() for _ in range(3)]
        queue = dispatcher.queue("a")
        calls = [
            queue.submit(work.hold, str(n), gate, cost_s=LONG_S) for n, gate in enumerate(gates)
        ]
        await work.began("0", "1")
        assert [call.started for call in calls] == [True, True, False]
        assert repr(dispatcher) == "<Dispatcher 2 running, 1 queues waiting>"
        assert repr(queue) == "<Queue a 1 queued>"
        gates[0].set()
        await work.began("2")
        assert not calls[1].done.done()
        gates[1].set()
        gates[2].set()
        await finish(calls)
        assert dispatcher.calls == 3


# The spare worker


async def test_a_short_call_overtakes_long_ones(work: Work) -> None:
    """While all workers are busy with long calls a short one runs, and no further long one."""
    async with dispatching(2) as dispatcher:
        gate = work.gate()
        big = dispatcher.queue("big")
        long = [big.submit(work.hold, f"long {n}", gate, cost_s=LONG_S) for n in range(3)]
        await work.began("long 0", "long 1")
        for n in range(5):
            await finish([dispatcher.queue("small").submit(work.note, f"{n}", cost_s=SHORT_S)])
        assert [call.started for call in long] == [True, True, False]
        gate.set()
        await finish(long)


async def test_a_call_a_little_too_long_waits(work: Work) -> None:
    """What costs more than a short call may does not use the spare worker."""
    async with dispatching(1) as dispatcher:
        gate = work.gate()
        long = dispatcher.queue("big").submit(work.hold, "long", gate, cost_s=LONG_S)
        middle = dispatcher.queue("a").submit(work.note, "middle", cost_s=EXPRESS_S * 1.01)
        await finish([dispatcher.queue("b").submit(work.note, "short", cost_s=SHORT_S)])
        assert not middle.started
        gate.set()
        await finish([long, middle])


async def test_there_is_one_spare_worker(work: Work) -> None:
    """Of several short calls one at a time uses the spare worker."""
    async with dispatching(1, threads=3) as dispatcher:
        gates = [work.gate() for _ in range(3)]
        long = dispatcher.queue("big").submit(work.hold, "long", gates[0], cost_s=LONG_S)
        first = dispatcher.queue("a").submit(work.hold, "first", gates[1], cost_s=SHORT_S)
        second = dispatcher.queue("b").submit(work.hold, "second", gates[2], cost_s=SHORT_S)
        await work.began("long", "first")
        assert not second.started
        gates[1].set()
        await work.began("second")
        for gate in gates:
            gate.set()
        await finish([long, first, second])


async def test_short_calls_do_not_take_the_place_of_a_long_one(work: Work) -> None:
    """A worker that comes free goes to the queue whose turn it is, though short calls wait."""
    async with dispatching(1) as dispatcher:
        gates = [work.gate() for _ in range(3)]
        big = dispatcher.queue("big")
        small = dispatcher.queue("small")
        calls = [
            small.submit(work.note, "before", cost_s=2 * LONG_S),
            big.submit(work.hold, "long", gates[0], cost_s=LONG_S),
        ]
        await work.began("long")
        calls.append(small.submit(work.hold, "short", gates[1], cost_s=SHORT_S))
        await work.began("short")
        calls.append(big.submit(work.hold, "next long", gates[2], cost_s=LONG_S))
        calls.append(small.submit(work.note, "next short", cost_s=SHORT_S))
        gates[0].set()
        await work.began("next long")
        assert "next short" not in work.order
        gates[1].set()
        await work.began("next short")
        gates[2].set()
        await finish(calls)


async def test_however_many_heavy_clients_hold_up_no_light_one(work: Work) -> None:
    """While all workers are busy, and fifty clients wait with long calls, light work goes on."""
    async with dispatching(2) as dispatcher:
        gate = work.gate()
        heavy = [dispatcher.queue(f"heavy {number}") for number in range(50)]
        calls = [queue.submit(work.hold, queue.name, gate, cost_s=LONG_S) for queue in heavy]
        light = dispatcher.queue("light", work_s=LIGHT_S)
        await finish([light.submit(work.note, "light", cost_s=LIGHT_S / 2) for _ in range(2)])
        assert work.order.count("light") == 2
        assert len(work.order) == 4
        gate.set()
        await finish(calls)


# On the event loop


async def test_the_shortest_calls_run_at_once(work: Work) -> None:
    """A call that costs no more than `inline_s` is done when `submit` returns, without a slot."""
    async with dispatching(1, inline_s=0.25) as dispatcher:
        call = dispatcher.queue("a").submit(work.note, "here", cost_s=0.25)
        assert call.started
        assert bytes(call.done.result().view) == b"here"
        assert work.threads == [threading.get_ident()]
        await finish([dispatcher.queue("a").submit(work.note, "there", cost_s=0.26)])
        assert work.threads[1] != work.threads[0]


async def test_an_error_on_the_event_loop_is_the_calls_own(work: Work) -> None:
    """A call that fails at once is a call that failed; `submit` raises nothing."""
    async with dispatching(1, inline_s=LONG_S) as dispatcher:
        call = dispatcher.queue("a").submit(work.fail, "no", cost_s=LONG_S)
        with pytest.raises(EngineFailed, match="no"):
            await call.done


async def test_no_call_overtakes_its_own_queue(work: Work) -> None:
    """A call that could run at once waits if others of its queue do."""
    async with dispatching(1, inline_s=0.25) as dispatcher:
        gate = work.gate()
        queue = dispatcher.queue("a")
        calls = [queue.submit(work.hold, "first", gate, cost_s=LONG_S)]
        calls.append(queue.submit(work.note, "second", cost_s=LONG_S))
        calls.append(queue.submit(work.note, "third", cost_s=0.25))
        await work.began("first")
        assert not calls[2].started
        gate.set()
        await finish(calls)
        assert work.order == ["first", "second", "third"]


# Dropped calls


async def test_a_cancelled_call_that_waits_never_runs(work: Work) -> None:
    """A call cancelled in the queue is dropped, and costs its queue nothing."""
    async with dispatching(1) as dispatcher:
        gate = work.gate()
        held = dispatcher.queue("first").submit(work.hold, "first", gate, cost_s=LONG_S)
        a, b = dispatcher.queue("a"), dispatcher.queue("b")
        dropped = [a.submit(work.note, "dropped", cost_s=LONG_S) for _ in range(10)]
        calls = add_calls(a, work, 5, cost_s=LONG_S) + add_calls(b, work, 5, cost_s=LONG_S)
        for call in dropped:
            call.cancel()
        gate.set()
        await finish([held, *calls])
        assert "dropped" not in work.order
        assert all(call.done.cancelled() and not call.started for call in dropped)
        for turn, ran in enumerate(counts_before(work.order, "a", "b")):
            assert turn - 1 <= ran <= turn + 1


async def test_a_queue_of_cancelled_calls_is_out_of_the_way(work: Work) -> None:
    """When all calls of a queue are cancelled the others go on as if it did not exist."""
    async with dispatching(1) as dispatcher:
        gate = work.gate()
        held = dispatcher.queue("first").submit(work.hold, "first", gate, cost_s=LONG_S)
        for call in add_calls(dispatcher.queue("gone"), work, 10, cost_s=LONG_S):
            call.cancel()
        calls = add_calls(dispatcher.queue("a"), work, 2, cost_s=LONG_S)
        gate.set()
        await finish([held, *calls])
        assert work.order == ["first", "a", "a"]
        await eventually(lambda: repr(dispatcher) == "<Dispatcher 0 running, 0 queues waiting>")


@linux_only
async def test_a_cancelled_call_that_runs_is_ended(gate: Gate) -> None:
    """Its worker is killed after a moment, and then its slot is free, and the next call runs."""
    arena = Arena(slots=2, slot_bytes=4096)
    backend = LocalBackend(1, arena)
    dispatcher = Dispatcher(backend)
    queue = dispatcher.queue("a")
    running = queue.submit(calls.call, calls.hold, gate.args, cost_s=LONG_S)
    waiting = queue.submit(calls.call, str, (7,), cost_s=LONG_S)
    await gate.holds(1)
    running.cancel()
    assert running.done.cancelled()
    assert (arena.free, waiting.started) == (1, False)
    (result,) = await finish([waiting])
    result.release()
    assert arena.free == 2
    assert gate.pids.isdisjoint(backend.snapshot().pids)
    await backend.close()
    await dispatcher.close()
    arena.close()


async def test_a_call_may_be_cancelled_again(work: Work) -> None:
    """Cancelling does nothing to a call that is cancelled already, or failed, or was released."""
    async with dispatching(1) as dispatcher:
        gate = work.gate()
        queue = dispatcher.queue("a")
        failed = queue.submit(work.fail, "failed", cost_s=LONG_S)
        held = queue.submit(work.hold, "held", gate, cost_s=LONG_S)
        waiting = queue.submit(work.note, "waiting", cost_s=LONG_S)
        await work.began("held")
        for call in (failed, held, waiting):
            call.cancel()
            call.cancel()
        with pytest.raises(EngineFailed):
            await failed.done
        gate.set()


# Results


async def test_an_error_reaches_its_call_only(work: Work) -> None:
    """A call that fails raises what the worker raised; those around it have their results."""
    async with dispatching(1) as dispatcher:
        queue = dispatcher.queue("a")
        before = queue.submit(work.note, "before", cost_s=LONG_S)
        failing = queue.submit(work.fail, "it said no", cost_s=LONG_S)
        after = queue.submit(work.note, "after", cost_s=LONG_S)
        views = [bytes(result.view) for result in await finish([before, after])]
        assert views == [b"before", b"after"]
        with pytest.raises(EngineFailed, match="it said no"):
            await failing.done


async def test_an_error_nobody_waits_for_is_not_logged(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed call whose client has left leaves no trace."""
    async with dispatching(1) as dispatcher:
        call = dispatcher.queue("a").submit(work.fail, "no", cost_s=LONG_S)
        await asyncio.wait([call.done])
        del call
        gc.collect()  # asyncio tells of an error that nobody saw when its future is collected
    assert caplog.messages == []


@linux_only
async def test_a_failed_call_gives_its_slot_back() -> None:
    """A call that fails holds no slot any more."""
    arena = Arena(slots=1, slot_bytes=4096)
    backend = LocalBackend(1, arena)
    for _ in range(3):
        with pytest.raises(EngineFailed):
            await backend.run(calls.call, calls.fail, ("no",))
        assert arena.free == 1
    await backend.close()
    arena.close()


@linux_only
async def test_results_are_in_the_slot_or_inline() -> None:
    """A result that fits is in shared memory until it is released; any other takes the pipe."""
    range_ = Range(10_000, 30_000)
    engine = load_engine("auto").name
    for slot_bytes, leased in ((2**16, 1), (2**8, 0)):
        arena = Arena(slots=1, slot_bytes=slot_bytes)
        backend = LocalBackend(1, arena)
        dispatcher = Dispatcher(backend)
        queue = dispatcher.queue("a")
        (result,) = await finish([queue.submit(sieve, engine, [range_], True, ALL, cost_s=LONG_S)])
        primes = Packed(bytes(result.view)).primes().tolist()
        assert primes == naive_primes(range_.start, range_.end)
        assert 1 - arena.free == leased
        assert (result.value.payload.inline is None) == bool(leased)
        result.release()
        result.release()
        assert arena.free == 1
        assert len(result.view) == 0
        await backend.close()
        await dispatcher.close()
        arena.close()


@linux_only
async def test_without_a_free_slot_results_take_the_pipe() -> None:
    """When all slots are leased calls run all the same, and a result nobody takes is dropped."""
    range_ = Range(10_000, 30_000)
    engine = load_engine("auto").name
    arena = Arena(slots=1, slot_bytes=2**16)
    backend = LocalBackend(1, arena)
    dispatcher = Dispatcher(backend)
    calls = [
        dispatcher.queue("a").submit(sieve, engine, [range_], True, ALL, cost_s=LONG_S)
        for _ in range(3)
    ]
    results = await finish(calls)
    assert arena.free == 0
    assert len({bytes(result.view) for result in results}) == 1
    assert len(results[0].view) > 0
    for call in calls:
        call.cancel()
    assert arena.free == 1
    await backend.close()
    await dispatcher.close()
    arena.close()


# Closing


async def test_close_fails_what_waits(work: Work) -> None:
    """Queued calls raise ServiceClosed when the dispatcher closes, and none of them runs."""
    async with dispatching(1) as dispatcher:
        gate = work.gate()
        queue = dispatcher.queue("a")
        held = queue.submit(work.hold, "held", gate, cost_s=LONG_S)
        waiting = add_calls(queue, work, 5, cost_s=LONG_S)
        waiting[0].cancel()
        await work.began("held")
        closing = asyncio.create_task(dispatcher.close())
        for call in waiting[1:]:
            with pytest.raises(ServiceClosed):
                await asyncio.wait_for(call.done, WAIT_S)
        assert not closing.done()
        gate.set()
        await asyncio.wait_for(closing, WAIT_S)
        assert held.done.done()
        assert work.order == ["held"]


async def test_close_after_the_backend_ends_what_runs() -> None:
    """Calls that run when the backend is closed raise ServiceClosed, as do those behind them."""
    backend = LocalBackend(1)
    dispatcher = Dispatcher(backend)
    queue = dispatcher.queue("a")
    pieces = [Range(0, 10**13)]
    calls = [
        queue.submit(sieve, load_engine("auto").name, pieces, False, ALL, cost_s=LONG_S)
        for _ in range(3)
    ]
    await eventually(lambda: bool(backend.snapshot().pids))
    async with asyncio.timeout(WAIT_S):
        await backend.close()
        await dispatcher.close()
        results = await asyncio.gather(*(call.done for call in calls), return_exceptions=True)
    assert [type(result) for result in results] == [ServiceClosed] * 3


async def test_no_call_is_queued_after_close(work: Work) -> None:
    """Submitting to a closed dispatcher raises ServiceClosed; closing again does nothing."""
    async with dispatching(1, inline_s=LONG_S) as dispatcher:
        queue = dispatcher.queue("a")
        await dispatcher.close()
        await dispatcher.close()
        with pytest.raises(ServiceClosed):
            queue.submit(work.note, "a", cost_s=LONG_S)
        assert work.order == []
