"""The program with less patience than it has, so that a test need not wait for as long."""

import sys

from primesvc import server
from primesvc.cli import main
from primesvc.connections import guard
from primesvc.web import bodies

PATIENCE_S = {
    "BODY_TIMEOUT_S": (bodies, 1.0),
    "HEAD_TIMEOUT_S": (guard, 0.5),
    "LEAVING_S": (guard, 1.0),
    "LOOK_S": (guard, 0.2),
    "KEEPALIVE_S": (server, 1.0),
    "LINGER_S": (server, 0.6),
}


def impatient(*names: str) -> list[str]:
    """The program with the patience above in what is named, or in all but `KEEPALIVE_S`."""
    names = names or tuple(PATIENCE_S.keys() - {"KEEPALIVE_S"})
    return [sys.executable, "-W", "error", "-m", "tests.faults.impatient", ",".join(names)]


if __name__ == "__main__":  # worker processes import this module again
    for name in sys.argv.pop(1).split(","):
        module, patience_s = PATIENCE_S[name]
        assert getattr(module, name) > patience_s
        setattr(module, name, patience_s)
    sys.exit(main())
