"""The arguments: those of the server come from the fields of `Settings`."""

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from importlib.metadata import version
from typing import Any, Final

from primesvc.formats.catalog import FORMATS
from primesvc.numbers import read_whole_number
from primesvc.settings import Settings
from primesvc.sieve.selection import MAX_MODULUS, PATTERNS
from primesvc.states import State

LOCAL_SETTINGS: Final = (
    "workers", "memory_bytes", "cache_bytes", "engine", "max_span", "max_job_s"
)  # fmt: skip
"""The settings of the server that also make sense for one command without one."""

_EPILOG: Final = """\
Without a command it serves. Every flag of the server can also be given as a
variable: --cache-bytes as PRIMESVC_CACHE_BYTES. `primesvc COMMAND --help` tells
of each command.

exit codes:
  0    done; also when the reader of a pipe has had enough
  1    failed; of is-prime also: not all of the numbers are primes
  2    something to put right: a flag, a range that is not allowed, a port in use
  130  interrupted with Ctrl-C; 143 by SIGTERM
"""

_RANGE: Final = """\
Both ends belong to the range. Numbers may be written 1000000, 1_000_000, 1e6,
10**6 or 2^64-1. The work is done here, on all processors, or with --server by
a running service. Ctrl-C cancels it, also there.
"""

_NUMBER: Final = """\
Numbers may be written 1000000, 1_000_000, 1e6, 10**6 or 2^64-1, and go up to
2^64 - 1. The work is done here, or with --server by a running service.
"""


_NTH: Final = """\
Numbers may be written 1000000, 1_000_000, 1e6, 10**6 or 2^64-1. The work is done
here, on all processors, or with --server by a running service. Ctrl-C cancels it,
also there.
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line.

    What it gives has `command`, None for serving, and the options of it as text.
    """
    parser = argparse.ArgumentParser(
        prog="primesvc",
        description="Serve the primes of any range below 2^64 over HTTP, or find them right here.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"primesvc {version('primesvc')}")
    _add_settings(parser, [item.name for item in fields(Settings)], default=None)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", description=None
    )
    serve = _add(commands, "serve", "serve over HTTP, as without a command")
    _add_settings(serve, [item.name for item in fields(Settings)])
    _add_primes(_add(commands, "primes", "print the primes of a range", _RANGE))
    _add_count(_add(commands, "count", "count the primes of a range", _RANGE))
    _add_nth(_add(commands, "nth", "print the n-th prime", _NTH))
    _add_statistics(_add(commands, "statistics", "tell how the primes of a range lie", _RANGE))
    is_prime = _add(commands, "is-prime", "tell which numbers are primes", _NUMBER)
    _add_number(is_prime, "numbers", nargs="+")
    for name, help_ in (
        ("next", "print the next prime above a number"),
        ("prev", "print the next prime below a number"),
        ("factor", "print the prime factors of a number"),
        ("number", "print all there is to say of one number"),
    ):
        _add_number(_add(commands, name, help_, _NUMBER), "number")
    _add_jobs(_add(commands, "jobs", "list the jobs of a running service"))
    _add_cancel(_add(commands, "cancel", "cancel a job of a running service"))
    return parser


def _add(commands: Any, name: str, help_: str, epilog: str | None = None) -> Any:
    return commands.add_parser(
        name,
        help=help_,
        description=f"{help_[0].upper()}{help_[1:]}.",
        epilog=epilog,
        # What is not given keeps what stands before the command.
        argument_default=argparse.SUPPRESS,
    )


def _add_primes(parser: argparse.ArgumentParser) -> None:
    _add_range(parser)
    _add_selection(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", default=None,
        help="write to a file, which is there once it is complete (default: standard output)",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=["text", *(name for name in FORMATS if name != "text")], default="text",
        help="how the primes are written (default: text, one a line)",
    )  # fmt: skip
    _add_progress(parser)
    _add_server(parser)
    _add_settings(parser, LOCAL_SETTINGS)


def _add_count(parser: argparse.ArgumentParser) -> None:
    _add_range(parser)
    _add_selection(parser)
    _add_progress(parser)
    _add_server(parser)
    _add_settings(parser, LOCAL_SETTINGS)


def _add_nth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "n", metavar="N", type=_number, help="which prime: 1 is the first, -1 the last below START"
    )
    parser.add_argument(
        "--start", type=_number, metavar="NUMBER", default=0,
        help="the number above which primes are counted, or below (default: 0)",
    )  # fmt: skip
    _add_progress(parser)
    _add_server(parser)
    _add_settings(parser, LOCAL_SETTINGS)


def _add_statistics(parser: argparse.ArgumentParser) -> None:
    _add_range(parser)
    parser.add_argument(
        "--modulus", type=_number, metavar="M", default=10,
        help="by what residues primes are told apart, 1 to 10000 (default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--bins", type=_number, metavar="N", default=500,
        help="parts of equal width, 1 to 2000, that --json tells of one by one (default: 500)",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", default=False,
        help="print all of it as JSON, in place of a summary",
    )  # fmt: skip
    _add_progress(parser)
    _add_server(parser)
    _add_settings(parser, LOCAL_SETTINGS)


def _add_number(parser: argparse.ArgumentParser, name: str, nargs: str | None = None) -> None:
    parser.add_argument(
        name, metavar="N", type=_number, nargs=nargs, help="a number from 0 to 2^64 - 1"
    )
    _add_server(parser)
    _add_settings(parser, LOCAL_SETTINGS)


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", choices=[state.value for state in State], default=None,
        help="only the jobs in this state",
    )  # fmt: skip
    _add_server(parser)


def _add_cancel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the job's id, as `primesvc jobs` lists it")
    _add_server(parser)


def _add_range(parser: argparse.ArgumentParser) -> None:
    for name in ("start", "end"):
        parser.add_argument(
            name, metavar=name.upper(), type=_number, help=f"the {name} of the range, included"
        )


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pattern", metavar="PATTERN", default=None,
        help="only the first primes of constellations in the range: "
        f"{', '.join(PATTERNS)}, or offsets such as 0,2,6",
    )  # fmt: skip
    parser.add_argument(
        "--modulus", metavar="NUMBER", type=_number, default=None,
        help=f"only the primes of one residue class, modulo this number, {MAX_MODULUS} at the most",
    )  # fmt: skip
    parser.add_argument(
        "--residue", metavar="NUMBER", type=_number, default=None,
        help="what those primes leave over when they are divided by the modulus",
    )  # fmt: skip


def _number(text: str) -> int:
    try:
        return read_whole_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:60]!r}: {error}") from None


def _add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, default=None,
        help="a progress bar on standard error (default: on a terminal, not beside a pipe)",
    )  # fmt: skip


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server", metavar="URL", default=None,
        help="the running service to use (default: PRIMESVC_SERVER)",
    )  # fmt: skip
    parser.add_argument(
        "--token", metavar="TOKEN",
        help="its bearer token; others can see it here, but not in the variable "
        "(default: PRIMESVC_TOKEN)",
    )  # fmt: skip


def _add_settings(
    parser: argparse.ArgumentParser, names: Iterable[str], *, default: Any = argparse.SUPPRESS
) -> None:
    for item in fields(Settings):
        if item.name in names:
            _add_setting(parser, item, default)


def _add_setting(parser: argparse.ArgumentParser, item: "Field[Any]", default: Any) -> None:
    flag = f"--{item.name.replace('_', '-')}"
    metadata = item.metadata
    if isinstance(item.default, bool):
        parser.add_argument(
            flag, dest=item.name, action=argparse.BooleanOptionalAction, default=default,
            help=f"{metadata['help']} (default: {'yes' if item.default else 'no'})",
        )  # fmt: skip
        return
    parser.add_argument(
        flag, dest=item.name, default=default, choices=metadata["choices"],
        metavar=None if metadata["choices"] else metadata["unit"].upper(),
        help=f"{metadata['help']} (default: {item.default})",
    )  # fmt: skip


def local_settings(
    options: argparse.Namespace, environ: Mapping[str, str] | None = None
) -> Settings:
    """The settings for work in this process: flags, variables, defaults. Raises `InvalidSetting`.

    The variables that only a server has are not looked at.
    """
    environ = os.environ if environ is None else environ
    given = vars(options)
    return Settings.read(
        {name: given.get(name) for name in LOCAL_SETTINGS},
        {
            variable: environ[variable]
            for name in LOCAL_SETTINGS
            if (variable := f"PRIMESVC_{name.upper()}") in environ
        },
    )


def misplaced(options: argparse.Namespace, allowed: Iterable[str]) -> str | None:
    """The name of a setting that was given and is none of those allowed; None if there is none."""
    for item in fields(Settings):
        if item.name not in allowed and getattr(options, item.name, None) is not None:
            return item.name
    return None
