"""Exit codes, and what is said with them."""

import sys
from enum import IntEnum


class Exit(IntEnum):
    """How the program ended."""

    OK = 0  # also when whoever read the output had enough of it
    FAILED = 1  # the work could not be done, or its result not be written
    USAGE = 2  # something that the user can put right: a flag, a range, a port in use
    INTERRUPTED = 130  # Ctrl-C: 128 + SIGINT, as shells have it
    TERMINATED = 143  # 128 + SIGTERM


def complain(what: object, code: Exit) -> Exit:
    """Say on standard error what went wrong; returns the code."""
    print(f"primesvc: {what}", file=sys.stderr)  # noqa: T201 - the command line's own voice
    return code
