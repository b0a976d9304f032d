"""Trouble that repeats itself: one line at its beginning, one now and then, and one at its end."""

import logging
import time
from typing import Final

EVERY_S: Final = 60.0
"""Seconds from one warning of the same trouble to the next at the least."""


class Trouble:
    """One thing that may go wrong many times a second, and is told of twice a minute at the most.

    `log` gets the lines; `over` is the last one, told when it works again.
    """

    def __init__(self, log: logging.Logger, over: str, *, every_s: float = EVERY_S) -> None:
        self._log = log
        self._over = over
        self._every_s = every_s
        self._next_s = -float("inf")
        self._untold = 0
        self._told = False

    def note(self, message: str, *values: object) -> None:
        """It happened: a warning, unless there was one less than `every_s` seconds ago."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._untold += 1
            return
        if self._untold:
            message, values = f"{message} (and %d times since the last such line)", (
                *values, self._untold,
            )  # fmt: skip
        self._next_s, self._untold, self._told = now_s + self._every_s, 0, True
        self._log.warning(message, *values)

    def end(self) -> None:
        """It works: told if the trouble was. Costs next to nothing if there was none."""
        if self._told:
            self._told = False
            self._log.info("%s", self._over)

    def __repr__(self) -> str:
        return f"<Trouble {'told' if self._told else 'none told'}, {self._untold} untold>"
