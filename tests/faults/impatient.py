"""The program with less patience than it has, so that a test need not wait for as long."""

import sys

from primesvc import server
from primesvc.cli import main
from primesvc.connections import guard
from primesvc.web import bodies

MODULE = [sys.executable, "-W", "error", "-m", "tests.faults.impatient"]

if __name__ == "__main__":  # worker processes import this module again
    for module, name, patience_s in (
        (bodies, "BODY_TIMEOUT_S", 1.0),
        (guard, "HEAD_TIMEOUT_S", 0.5),
        (guard, "LEAVING_S", 1.0),
        (guard, "LOOK_S", 0.2),
        (server, "KEEPALIVE_S", 1.0),
        (server, "LINGER_S", 0.3),
    ):
        assert getattr(module, name) > patience_s
        setattr(module, name, patience_s)
    sys.exit(main())
