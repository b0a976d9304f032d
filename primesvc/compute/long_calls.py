"""Calls that cannot be cut into short ones: how many there are at a time, on how many threads."""

import asyncio
from typing import Final

LONG_S: Final = 0.5
"""Seconds on one core from which a call is long: others are as short as the pieces of a sieve."""


class LongCalls:
    """Lets in so many long calls that others always find a worker, where there are several.

    There are two at a time, or one where there are fewer than three workers, each `threads` wide
    if it is `threaded`: in all they have no more threads than there are workers. A short call
    has one, as every other call has.
    """

    def __init__(self, workers: int, *, threaded: bool = True) -> None:
        at_a_time = min(max(workers - 1, 1), 2)
        self.threads = max(workers // at_a_time, 1) if threaded else 1
        self.free = asyncio.Semaphore(at_a_time)
        """To be held while a long call is queued and runs; first come, first served."""

    def __repr__(self) -> str:
        return f"<LongCalls on {self.threads} threads each>"
