"""A call that finds pieces, while somebody waits for it."""

import asyncio

from primesvc.compute.dispatcher import Call
from primesvc.sieve.grid import Grid
from primesvc.sieve.packed import Packed, Summary


class InFlight:
    """A call for neighbouring pieces that waits or runs, and how many wait for it.

    `done` is done when the pieces are stored; `summaries` and `packed`
    then hold what was found, by index of the piece, the latter as long as
    somebody has not released it.
    """

    __slots__ = (
        "call", "done", "end_timer", "grid", "indices", "packed", "summaries", "waiting",
        "with_primes",
    )  # fmt: skip

    def __init__(self, grid: Grid, indices: range, *, with_primes: bool, call: Call) -> None:
        self.grid = grid
        self.indices = indices
        self.with_primes = with_primes
        self.call = call
        self.waiting = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.end_timer: asyncio.TimerHandle | None = None
        self.summaries: dict[int, Summary] = {}
        self.packed: dict[int, Packed] = {}

    def __repr__(self) -> str:
        return f"<InFlight {self.grid.name} {self.indices} {self.waiting} waiting>"
