"""A progress bar on standard error, or none."""

import os
import sys
import threading
from typing import Any, Final

from primesvc.asking.progress import Progress, Stage
from primesvc.cli.exits import Exit, complain
from primesvc.sieve.range import Range

DELAY_S: Final = 0.5
"""Seconds before a bar appears: what is done by then needs none."""


PLAIN_COLUMNS: Final = 80
"""Width of the bar where no terminal says what its own is."""


class Bar(Progress):
    """Shows how far a stage of the work is, if it is to be `shown`; close it in the end."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._stage: Stage | None = None
        self._bar: Any = None

    def show(self, stage: Stage, done: int, total: int) -> None:
        """So much of the stage is done; the total may be an estimate."""
        if not self._shown:
            return
        if stage is not self._stage:
            self.close()
            self._stage, self._bar = stage, _make_bar(stage)
        self._bar.total = max(done, total)
        self._bar.update(done - self._bar.n)

    def show_share(self, share: float, range_: Range | None) -> None:
        """So much of the work is done, 0 to 1: of the numbers of a range if it is about one."""
        if range_ is None:
            self.show(Stage.COUNTING, round(share * 1000), 1000)
        else:
            self.show(Stage.SIEVING, round(share * range_.span), range_.span)

    def warn(self, what: str) -> None:
        """Say what went wrong, in place of the bar."""
        self.close()
        complain(what, Exit.INTERRUPTED)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = self._stage = None


def on_terminal() -> bool:
    """Whether somebody sees what is written to standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def _has_width() -> bool:
    """Whether the terminal says how wide it is: not all do, and then tqdm would show nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except OSError:
        return False


def _make_bar(stage: Stage) -> Any:
    # Imported here: most often there is no bar.
    from tqdm import tqdm  # type: ignore[import-untyped]  # it has neither annotations nor a marker

    # There is one bar in one process: it needs neither a lock between several nor a thread.
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0
    return tqdm(
        desc=stage.name.lower(),
        unit="B" if stage is Stage.WRITING else "",
        unit_scale=True,
        ncols=None if _has_width() else PLAIN_COLUMNS,
        dynamic_ncols=_has_width(),
        delay=DELAY_S,
        leave=False,
    )
