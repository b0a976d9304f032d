"""The program with less patience than it has, so that a test need not wait for as long."""

import sys

from primesvc import server
from primesvc.cli import main
from primesvc.connections import guard
from primesvc.web import bodies

MODULE = [sys.executable, "-W", "error", "-m", "tests.faults.impatient"]

PATIENCE_S = 1.0

if __name__ == "__main__":  # worker processes import this module again
    for module, name in (
        (bodies, "BODY_TIMEOUT_S"),
        (guard, "HEAD_TIMEOUT_S"),
        (guard, "LEAVING_S"),
        (server, "KEEPALIVE_S"),
        (server, "LINGER_S"),
    ):
        assert isinstance(getattr(module, name), float)
        setattr(module, name, PATIENCE_S)
    sys.exit(main())
