"""What whoever asks is told while the work goes on."""

import logging
from enum import Enum

from primesvc.sieve.range import Range

log = logging.getLogger(__name__)


class Stage(Enum):
    """What is counted."""

    SIEVING = "numbers"
    WRITING = "bytes"
    COUNTING = "parts of a thousand"


class Progress:
    """Is told how far the work is, and shows none of it: to be overridden by what does."""

    def show(self, stage: Stage, done: int, total: int) -> None:
        """So much of the stage is done; the total may be an estimate."""

    def show_share(self, share: float, range_: Range | None) -> None:
        """So much of the work is done, 0 to 1: of the numbers of a range if it is about one."""

    def warn(self, what: str) -> None:
        """Something went wrong beside the work."""
        log.warning("%s", what)
