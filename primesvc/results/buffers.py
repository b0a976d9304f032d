"""Memory for results on their way to clients: bounded, and shared by all of them.

Whoever sends something leases what it holds while its client is slow: little,
without which it is not begun; more to be fast, if there is more. What it
takes only for a moment, to find the next bytes, is never refused: it waits
its turn, and one is let in whatever the others hold. So a crowd of slow
clients costs speed, then `503` for large answers; never the memory, and never
a page.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Self

from primesvc.errors import ServiceFull

EXTENSION_SHARE: Final = 0.5
"""Share of the memory that may be leased for speed: the rest is for those who come later."""

WORK_SHARE: Final = 0.25
"""Share of the memory that may be taken for a moment: the rest is for leases."""

_RETRY_S: Final = 2.0
"""Seconds after which a client may ask again when all is leased."""


class Buffers:
    """At most `max_bytes` taken at a time, and what one at work needs beyond."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.refused = 0
        """How many leases were refused so far."""
        self._leased_bytes = self._extended_bytes = self._working_bytes = 0
        self._turns: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def taken_bytes(self) -> int:
        """How much is taken now."""
        return self._leased_bytes + self._working_bytes

    def lease(self, size: int, *, for_speed: int = 0) -> "Lease":
        """So many bytes, until the context ends. Raises `ServiceFull` if there are not so many.

        `for_speed` is how many more `Lease.extend` asks for. One lease is always
        granted: what is larger than all there is goes alone.
        """
        if self._leased_bytes and self.taken_bytes + size > self.max_bytes:
            self.refused += 1
            raise ServiceFull(
                "too many results are on their way to clients",
                limit=self.max_bytes,
                retry_after_s=_RETRY_S,
            )
        self._leased_bytes += size
        return Lease(self, size, for_speed)

    def extend(self, size: int) -> bool:
        """Take so many more bytes for speed, if they can be spared; what `Lease.extend` calls."""
        extended = self._extended_bytes + size
        spared = extended <= self.max_bytes * EXTENSION_SHARE
        if not spared or self.taken_bytes + size > self.max_bytes:
            return False
        self._leased_bytes += size
        self._extended_bytes = extended
        return True

    def give_back(self, size: int, extension: int) -> None:
        """What `Lease` calls at its end."""
        self._leased_bytes -= size + extension
        self._extended_bytes -= extension

    @asynccontextmanager
    async def working(self, size: int) -> AsyncGenerator[None, None]:
        """So many bytes for work that waits for no client; waits its turn for them.

        One is always let in, whatever is leased.
        """
        turn = asyncio.get_running_loop().create_future()
        self._turns.append((size, turn))
        self._let_in()
        try:
            await asyncio.wait([turn])  # not awaited itself: cancelled, it would be in doubt
            yield
        finally:
            if turn.done():
                self._working_bytes -= size
            else:
                self._turns.remove((size, turn))
            self._let_in()

    def _let_in(self) -> None:
        while self._turns:
            size, turn = self._turns[0]
            working = self._working_bytes + size
            room = self.max_bytes - self._leased_bytes
            if self._working_bytes and working > min(self.max_bytes * WORK_SHARE, room):
                return
            self._turns.popleft()
            self._working_bytes += size
            turn.set_result(None)

    def __repr__(self) -> str:
        return f"<Buffers {self.taken_bytes} of {self.max_bytes} bytes>"


class Lease:
    """Some of the memory, given back when the context ends."""

    __slots__ = ("_buffers", "_extension", "_for_speed", "_size")

    def __init__(self, buffers: Buffers, size: int, for_speed: int) -> None:
        self._buffers = buffers
        self._size = size
        self._for_speed = for_speed
        self._extension = 0

    def extend(self) -> bool:
        """Take more, to be fast, if it can be spared; whether the lease has it now."""
        if not self._extension and self._buffers.extend(self._for_speed):
            self._extension = self._for_speed
        return self._extension == self._for_speed

    def reduce(self, to: int = 0) -> None:
        """Give the extension back but for so many bytes of it."""
        back = max(self._extension - to, 0)
        self._buffers.give_back(0, back)
        self._extension -= back

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._buffers.give_back(self._size, self._extension)
        self._size = self._extension = 0
