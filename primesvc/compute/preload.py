"""What the fork server loads, so that every worker it starts has it already: code and engine."""

import os
import sys
from contextlib import suppress
from types import TracebackType

# Before NumPy is loaded: it starts a thread a processor for it, which nothing here needs.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from primesvc.compute import worker, worker_main  # noqa: F401 - to have them loaded
from primesvc.errors import EngineUnavailable
from primesvc.sieve.engine import load_engine


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # It ends if it cannot fork, or has no descriptor left: the server notices, and says so.
    if not isinstance(error, OSError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _end

with suppress(EngineUnavailable):  # the call that needs it says so
    load_engine("auto")
