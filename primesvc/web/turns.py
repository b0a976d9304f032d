"""Turns on the event loop: what would hold it for long is done in small steps, a few at a time.

What is woken at once, or is long, would else run in one go while everybody else
waits: 3,000 clients that waited for the same job took 0.2 s.
"""

import asyncio
from collections import deque
from typing import Final

AT_ONCE: Final = 2
"""Steps in one iteration of the loop; nearly all take less than half a millisecond, the document
of a job with many statistics up to five."""


class Turns:
    """Steps in the order in which they were asked for, `AT_ONCE` an iteration of the loop."""

    def __init__(self) -> None:
        self._due: deque[asyncio.Future[None]] = deque()
        self._waiting: dict[asyncio.Future[None], dict[asyncio.Future[None], None]] = {}

    async def next(self) -> None:
        """Wait for a turn: it lasts until the caller waits for anything, or is done."""
        turn = asyncio.get_running_loop().create_future()
        self._add(turn)
        await turn

    async def after(self, ended: "asyncio.Future[None]", timeout_s: float) -> None:
        """Wait until `ended` is done, and then for a turn; no longer than `timeout_s` seconds."""
        if ended.done() or timeout_s <= 0:
            return
        turn = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(ended)
        if waiting is None:
            waiting = self._waiting[ended] = {}
            ended.add_done_callback(self._release)
        waiting[turn] = None
        try:
            await asyncio.wait([turn], timeout=timeout_s)
        finally:
            waiting.pop(turn, None)

    def _release(self, ended: "asyncio.Future[None]") -> None:
        for turn in self._waiting.pop(ended):
            self._add(turn)

    def _add(self, turn: "asyncio.Future[None]") -> None:
        self._due.append(turn)
        if len(self._due) == 1:
            turn.get_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        for _ in range(min(AT_ONCE, len(self._due))):
            turn = self._due.popleft()
            if not turn.done():
                turn.set_result(None)
        if self._due:
            self._due[0].get_loop().call_soon(self._go_on)
