"""The program: reads its arguments, runs the command they name, and gives the exit code."""

import os
import sys
from collections.abc import Sequence

from primesvc.cli.exits import Exit, complain


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, one of `Exit`."""
    _fill_gaps()
    try:
        code = _run(arguments)
        return max(code, _flush())
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has had enough.
        _drop_output()
        return Exit.OK


def _fill_gaps() -> None:
    """Open the null device in place of standard descriptors that whoever started this has closed.

    Else the next socket or pipe takes the place, what is printed lands there,
    and libuv ends the process when it closes it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest that is free, which is this one; for the workers, too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:  # `print` would take standard output for it
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)


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
    # NumPy starts a thread a processor for it, in each process, which nothing here needs.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Imported here, as what it names below: the worker processes import the main
    # module again and need none of it, and `--help` and `count` need no HTTP.
    from primesvc.cli.parser import make_parser

    options = make_parser().parse_args(arguments)
    if options.command in (None, "serve"):
        from primesvc.cli.serve import serve

        return serve(options)
    from primesvc.cli.commands import run

    return run(options)
