"""The command line."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from importlib.metadata import version
from typing import Any

from primesvc.errors import EngineUnavailable, InvalidSetting, JournalUnusable
from primesvc.settings import Settings

USAGE_ERROR = 2
"""Exit code for what the user can put right: a wrong flag, a port in use."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="primesvc",
        description="Serve the primes of any range below 2^64 over HTTP.",
        epilog="Every flag can also be given as a variable: --cache-bytes as PRIMESVC_CACHE_BYTES.",
    )
    parser.add_argument("--version", action="version", version=f"primesvc {version('primesvc')}")
    for item in fields(Settings):
        _add_flag(parser, item)
    return parser


def _add_flag(parser: argparse.ArgumentParser, item: "Field[Any]") -> None:
    flag = f"--{item.name.replace('_', '-')}"
    metadata = item.metadata
    if isinstance(item.default, bool):
        parser.add_argument(
            flag, dest=item.name, action=argparse.BooleanOptionalAction, default=None,
            help=f"{metadata['help']} (default: {'yes' if item.default else 'no'})",
        )  # fmt: skip
        return
    parser.add_argument(
        flag, dest=item.name, default=None, choices=metadata["choices"],
        metavar=None if metadata["choices"] else metadata["unit"].upper(),
        help=f"{metadata['help']} (default: {item.default})",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 after an orderly stop, 2 for what the user can put right.
    """
    flags = vars(_parser().parse_args(arguments))
    try:
        settings = Settings.read(flags)
    except InvalidSetting as error:
        return _complain(str(error))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # Imported here: `--help` and the worker processes, which import the main
    # module again, need no HTTP.
    from primesvc.server import AddressUnusable, run

    try:
        run(settings)
    except (AddressUnusable, EngineUnavailable, JournalUnusable) as error:
        return _complain(str(error))
    return 0


def _complain(what: str) -> int:
    print(f"primesvc: {what}", file=sys.stderr)  # noqa: T201 - the command line's own voice
    return USAGE_ERROR
