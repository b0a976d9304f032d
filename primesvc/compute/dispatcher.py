"""Shares the workers fairly among jobs and downloads, one short call at a time.

Everybody who wants work done holds a `Queue` and queues calls in it. Workers
take the next call of the queue that has had the least so far, measured in
estimated seconds (start-time fair queuing: Goyal, Vin, Cheng 1996, for one
link; here for as many servers as there are workers). A new queue starts at
the present virtual time: it owes nothing and is owed nothing.

One worker more than there are processors is there for light work: clients who have
little to do, and after them any call that is short, have it while the others are busy. So
light work waits for no heavy call, however many of these there are (simulated in the tests).

Calls are kept here until a worker is free, so that a cancel takes effect at
once; one that runs is ended with its worker, if it does not end soon by itself.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from primesvc.compute.backend import Backend, CallResult
from primesvc.compute.histogram import Histogram
from primesvc.errors import ServiceClosed

EXPRESS_S: Final = 0.01
"""Estimated seconds up to which a call of any queue may use a spare worker while the
others are busy: a small request then never waits for a chunk of a large one, and the
scheduler of the system shares the cores."""

LIGHT_S: Final = 1.0
"""Estimated seconds of work up to which a client always has a worker, a spare one if there is
no other: just below 2^64 one call takes seconds, and any number of jobs may make some."""

INLINE_S: Final = 0.3e-3
"""Estimated seconds up to which a call runs on the event loop itself: the way to a
worker and back takes that long, most of it on the loop. An
estimate may be wrong by a factor of a few, so the loop is held for 1 ms at the
most; longer calls always go to a worker."""

HANG_FACTOR: Final = 50.0
"""How many times its estimate a call may take before it counts as hung: estimates
are within a factor of a few, a machine that is short of memory or cores adds to it."""

GRACE_S: Final = 0.1
"""Seconds that a call which nobody wants any more may run on before its worker is killed: nearly
all calls end within it, and to replace a worker takes half as long."""

LEAST_COST_S: Final = 0.5e-3
"""What a call is charged at least: the round trip to a worker."""


class Call:
    """A call that waits or runs; `done` is its outcome. `cancel` if nobody wants it any more."""

    __slots__ = (
        "_end_timer", "args", "cost_s", "done", "function", "memory_bytes", "queued_s", "started",
        "started_s", "task",
    )  # fmt: skip

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        cost_s: float,
        memory_bytes: int = 0,
    ) -> None:
        self.function = function
        self.args = args
        self.cost_s = cost_s
        self.memory_bytes = memory_bytes
        self.started = False
        self.started_s = 0.0
        """When it was, on the clock of `time.perf_counter`."""
        self.queued_s = time.perf_counter()
        self.done: asyncio.Future[CallResult] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        """What runs it, once a worker has it."""
        self._end_timer: asyncio.TimerHandle | None = None

    def fail(self, error: Exception) -> None:
        """End the call with an error, unless it was cancelled."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever waits sees it; nobody has to wait

    def cancel(self, grace_s: float = GRACE_S) -> None:
        """Drop the call if it still waits, or else its outcome; may be called again.

        If it runs it is ended, unless it ends within `grace_s` seconds.
        """
        if self.done.cancel():
            if self.task is not None:
                self._end_timer = self.done.get_loop().call_later(grace_s, self.task.cancel)
        elif not self.done.cancelled() and not self.done.exception():
            self.done.result().release()

    def note_end(self) -> None:
        """It does not run any more; what the dispatcher calls."""
        if self._end_timer is not None:
            self._end_timer.cancel()


class Queue:
    """One client's share of the workers. Close it when the client is gone."""

    __slots__ = ("_dispatcher", "calls", "light", "name", "running", "virtual_s")

    def __init__(
        self, dispatcher: "Dispatcher", name: str, virtual_s: float, *, light: bool
    ) -> None:
        self._dispatcher = dispatcher
        self.name = name
        self.light = light
        self.calls: deque[Call] = deque()
        self.running = 0
        """How many of its calls run now."""
        self.virtual_s = virtual_s

    def submit(
        self, function: Callable[..., Any], *args: Any, cost_s: float, memory_bytes: int = 0
    ) -> Call:
        """Queue `function(*args, slot)` for a worker; it returns a `Payload` or has one.

        `cost_s` is the estimate the queue is charged, `memory_bytes` what the
        worker needs beyond what it always has. Raises `ServiceClosed`.
        """
        return self._dispatcher.submit(self, Call(function, args, cost_s, memory_bytes))

    def __repr__(self) -> str:
        return f"<Queue {self.name} {len(self.calls)} queued>"


class Dispatcher:
    """Runs the calls of all queues on a backend: one a slot, light work on the spare slots.

    Calls of up to `inline_s` estimated seconds run at once on the event loop.
    Those that run at a time need `memory_bytes` together at the most (None: no
    bound), but one that needs more than that may run, if no other does that needs any.
    One that takes longer than `hang_s`, and `HANG_FACTOR` times its estimate, counts
    as hung.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        inline_s: float = 0.0,
        hang_s: float = 60.0,
        memory_bytes: int | None = None,
    ) -> None:
        self.backend = backend
        self.memory_bytes = memory_bytes
        self.taken_bytes = 0
        """Memory that the calls need that run now."""
        self._inline_s = inline_s
        self._hang_s = hang_s
        self._waiting: set[Queue] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._long = 0
        self._virtual_s = 0.0
        self._closed = False
        self.calls = 0
        """How many calls were handed to workers so far."""
        self.waits = Histogram()
        """How long they had waited for a worker."""
        self.durations = Histogram()
        """How long calls took: those of workers with the way there and back, and those run here."""

    def queue(self, name: str, *, work_s: float = math.inf) -> Queue:
        """A share of the workers for a new client, who has about `work_s` seconds of work."""
        return Queue(self, name, self._virtual_s, light=work_s <= LIGHT_S)

    def submit(self, queue: Queue, call: Call) -> Call:
        """Add a call to a queue. Raises `ServiceClosed`."""
        if self._closed:
            raise ServiceClosed
        if not queue.calls:
            # Having waited for nothing earns no credit.
            queue.virtual_s = max(queue.virtual_s, self._virtual_s)
            if call.cost_s <= self._inline_s:
                queue.virtual_s += call.cost_s
                self._run_here(call)
                return call
        queue.calls.append(call)
        self._waiting.add(queue)
        # Nobody else may begin for it; to look at all of a thousand queues takes 0.1 ms.
        if self._long < self.backend.slots or self._may_use_spare(queue):
            self._start_next()
        return call

    def _run_here(self, call: Call) -> None:
        call.started = True
        try:
            value = call.function(*call.args, None)
        except Exception as error:
            call.fail(error)
        else:
            call.done.set_result(CallResult(value))
        self.durations.observe(time.perf_counter() - call.queued_s)

    def _start_next(self) -> None:
        slots, spare_slots = self.backend.slots, self.backend.spare_slots
        while len(self._running) < slots + spare_slots:
            express = self._long >= slots
            queue = self._choose(express)
            if queue is None:
                return
            call = queue.calls.popleft()
            if not queue.calls:
                self._waiting.discard(queue)
            self._virtual_s = max(self._virtual_s, queue.virtual_s)
            queue.virtual_s += max(call.cost_s, LEAST_COST_S)
            call.started, call.started_s = True, time.perf_counter()
            self.calls += 1
            self.waits.observe(call.started_s - call.queued_s)
            self._long += not express
            self.taken_bytes += call.memory_bytes
            call.task = asyncio.create_task(self._run(call))
            self._running.add(call.task)
            queue.running += 1
            call.task.add_done_callback(partial(self._ended, queue, call, express))

    def _choose(self, express: bool) -> Queue | None:
        best, least = None, (True, math.inf)
        for queue in list(self._waiting):
            while queue.calls and queue.calls[0].done.cancelled():
                queue.calls.popleft()
            # The spare worker is there for light work: other short calls have it if it is free.
            turn = (express and not queue.light, queue.virtual_s)
            if not queue.calls:
                self._waiting.discard(queue)
            elif (
                turn < least
                and (not express or self._may_use_spare(queue))
                and self._has_memory(queue.calls[0])
            ):
                best, least = queue, turn
        return best

    def _may_use_spare(self, queue: Queue) -> bool:
        if queue.light and not queue.running:
            return True
        return queue.calls[0].cost_s <= EXPRESS_S

    def _has_memory(self, call: Call) -> bool:
        # Calls that need none never wait for memory, so those that do cannot be passed for ever.
        if self.memory_bytes is None or not call.memory_bytes or not self.taken_bytes:
            return True
        return self.taken_bytes + call.memory_bytes <= self.memory_bytes

    def _ended(self, queue: Queue, call: Call, express: bool, task: asyncio.Task[None]) -> None:
        call.note_end()
        queue.running -= 1
        self._long -= not express
        self.taken_bytes -= call.memory_bytes
        self._running.discard(task)
        if not self._closed:
            self._start_next()

    async def _run(self, call: Call) -> None:
        began_s = time.perf_counter()
        try:
            result = await self.backend.run(
                call.function,
                *call.args,
                deadline_s=max(self._hang_s, call.cost_s * HANG_FACTOR),
            )
        except Exception as error:
            call.fail(error)
            return
        finally:
            self.durations.observe(time.perf_counter() - began_s)
        if call.done.done():
            result.release()
        else:
            call.done.set_result(result)

    async def close(self) -> None:
        """Fail what waits; what runs ends with the backend, which is to be closed first."""
        self._closed = True
        for queue in self._waiting:
            for call in queue.calls:
                call.fail(ServiceClosed())
            queue.calls.clear()
        self._waiting.clear()
        if self._running:
            await asyncio.wait(list(self._running))

    def __repr__(self) -> str:
        return f"<Dispatcher {len(self._running)} running, {len(self._waiting)} queues waiting>"
