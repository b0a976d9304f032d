"""How often, and after how long, something that failed is tried again."""

import asyncio
import random
from typing import Final

from primesvc.errors import ApiError, RemoteError, ServerUnreachable

FIRST_PAUSE_S: Final = 0.1
"""Seconds before the first further try; doubled for each after it."""

LONGEST_PAUSE_S: Final = 5.0
"""Seconds between two tries at the most, where the service says nothing else."""

LONGEST_WISH_S: Final = 60.0
"""Seconds of `Retry-After` that are waited for; a service that wants more is given up."""

_PASSING: Final = frozenset({429, 502, 503, 504})
"""Statuses that pass: too many requests, a service that is full or restarts behind its proxy."""


class Retries:
    """The tries of one thing: at most `limit` that fail in a row, without any progress."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failed = 0

    def progress(self) -> None:
        """Note that something was achieved: what failed before no longer counts."""
        self._failed = 0

    async def pause(self, error: RemoteError) -> None:
        """Wait until the next try: as long as the service wishes, else longer each time.

        Raises the error if there is to be no further try.
        """
        self._failed += 1
        if self._failed > self._limit or not _passes(error):
            raise error
        pause_s = error.retry_after_s
        if pause_s is None:
            pause_s = min(FIRST_PAUSE_S * 2 ** (self._failed - 1), LONGEST_PAUSE_S)
            # Clients that lost the same service are not to come back all at once.
            pause_s *= random.uniform(0.5, 1.0)  # noqa: S311 - nothing is secret about it
        if pause_s > LONGEST_WISH_S:
            raise error
        await asyncio.sleep(pause_s)


def _passes(error: RemoteError) -> bool:
    if isinstance(error, ApiError):
        return error.status in _PASSING
    return isinstance(error, ServerUnreachable)
