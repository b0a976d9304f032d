"""The program: reads its arguments, runs the command they name, and gives the exit code."""

import os
import sys
from collections.abc import Sequence

from primesvc.cli.exits import Exit, complain


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, one of `Exit`."""
    try:
        code = _run(arguments)
        return max(code, _flush())
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has had enough.
        _drop_output()
        return Exit.OK


def _flush() -> Exit:
    """Write out what was printed, here where it can still be said that this failed."""
    try:
        if sys.stdout is not None:  # it may have been closed by who started this
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        return complain(f"cannot write standard output: {error.strerror}", Exit.FAILED)
    return Exit.OK


def _drop_output() -> None:
    """Keep what Python still holds of the output from raising again when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _run(arguments: Sequence[str] | None) -> Exit:
    # Imported here, as what it names below: the worker processes import the main
    # module again and need none of it, and `--help` and `count` need no HTTP.
    from primesvc.cli.parser import make_parser

    options = make_parser().parse_args(arguments)
    if options.command in (None, "serve"):
        from primesvc.cli.serve import serve

        return serve(options)
    from primesvc.cli.commands import run

    return run(options)
