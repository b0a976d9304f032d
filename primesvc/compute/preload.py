"""What the fork server loads, so that every worker it starts has it already: code and engine."""

from contextlib import suppress

from primesvc.compute import worker, worker_main  # noqa: F401 - to have them loaded
from primesvc.errors import EngineUnavailable
from primesvc.sieve.engine import load_engine

with suppress(EngineUnavailable):  # the call that needs it says so
    load_engine("auto")
