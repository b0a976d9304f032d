"""Keeps the connections within bounds: how many there are, and how long they wait for a client.

What a request may take is the matter of its handler. Here it is about what no
handler sees: heads that never end, connections that nobody uses, answers that
nobody reads. One look over all connections a second does it, so that a request
costs no more for it.
"""

import asyncio
import logging
from types import TracebackType
from typing import Final, Self

from primesvc.connections.connection import Connection, Wait
from primesvc.connections.refusal import Refused, refusal

log = logging.getLogger(__name__)

HEAD_TIMEOUT_S: Final = 10.0
"""Seconds from the first byte of a request to the end of its head."""

LEAVING_S: Final = 5.0
"""Seconds for which a client that sends no more is waited for without news for it.

Most such have left, which cannot be told apart from those that still read.
"""

LOOK_S: Final = 1.0
"""Seconds between two looks: so much later than it should a connection may be cut."""

AT_ONCE: Final = 256
"""Connections looked at before others have their turn: less than a millisecond."""

BARREN_S: Final = 0.01
"""Seconds after a look for idle connections in vain until the next one, which takes a tenth of it.

So newcomers take a tenth of the processor at the most from those who are all busy."""

RETRY_S: Final = 1.0
"""Seconds after which a client that was refused may try again."""

MAX_REFUSED: Final = 64
"""Connections that are being refused at a time; more get their answer, if it gets through."""


class Guard:
    """The connections of one server: at most `limit`; `with` looks after them."""

    def __init__(self, limit: int, *, stall_timeout_s: float) -> None:
        self.limit = limit
        self._bounds_s = {
            Wait.READING: stall_timeout_s,
            Wait.HEAD: HEAD_TIMEOUT_S,
            Wait.LEAVING: LEAVING_S,
        }
        self._look_s = min(LOOK_S, stall_timeout_s / 2)
        self._open: dict[Connection, None] = {}
        """In the order in which they came."""
        self._idle: list[tuple[float, Connection]] = []
        """Connections that were idle when last looked for, that for the longest time at the end."""
        self._look_for_idle_s = 0.0
        self._refused: set[Refused] = set()
        self._refusal = refusal(limit, RETRY_S)
        self._looking: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._looking = asyncio.create_task(self._look_again_and_again())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for connection in tuple(self._open):
            connection.wire.abort()
        for refused in tuple(self._refused):
            refused.abort()

    def opened(self, connection: Connection) -> bool:
        """Let a connection in, instead of the one that is idle for the longest time if need be."""
        if len(self._open) >= self.limit and not self._close_idle():
            return False
        self._open[connection] = None
        return True

    def closed(self, connection: Connection) -> None:
        """A connection is closed."""
        self._open.pop(connection, None)

    def refuse(self, transport: asyncio.Transport) -> None:
        """Answer on a connection that was not let in, and close it."""
        transport.write(self._refusal)
        if len(self._refused) < min(MAX_REFUSED, self.limit):
            transport.set_protocol(Refused(transport, self._refused, patience_s=RETRY_S))
        else:
            transport.close()

    def _close_idle(self) -> bool:
        """Close the connection that is idle for the longest time, if there is one."""
        return self._close_found() or (self._find_idle() and self._close_found())

    def _find_idle(self) -> bool:
        """Look for idle connections; whether there are any."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._look_for_idle_s:
            # One look serves many newcomers: who becomes idle later is idle for a shorter time.
            found = [(each.used_s, each) for each in self._open if each.idle(now_s)]
            self._idle = sorted(found, key=lambda item: item[0])[::-1]
            if not found:
                self._look_for_idle_s = now_s + BARREN_S
        return bool(self._idle)

    def _close_found(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            used_s, connection = self._idle.pop()
            if connection in self._open and connection.used_s == used_s and connection.idle(now_s):
                self._cut(connection)
                return True
        return False

    def _cut(self, connection: Connection) -> None:
        self._open.pop(connection, None)  # there is room from now on
        connection.wire.abort()

    async def _look_again_and_again(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self._look_s)
            for number, connection in enumerate(tuple(self._open), 1):
                self._look(connection, clock())
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _look(self, connection: Connection, now_s: float) -> None:
        if connection not in self._open:  # closed since the round began
            return
        state = connection.waits_for()
        if state is None or state != connection.seen:
            connection.seen, connection.seen_s = state, now_s
        if state is not None and now_s - connection.seen_s >= self._bounds_s[state[0]]:
            log.debug("a connection waited too long for %s: cut", state[0].value)
            self._cut(connection)
