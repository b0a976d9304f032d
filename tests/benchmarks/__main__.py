"""The command line: `python -m tests.benchmarks [--only ROW,...] [--quick] [--list]`."""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.rows.base import FULL, QUICK, Row, Sizes
from tests.benchmarks.rows.catalog import ROWS
from tests.benchmarks.table import Entry, header, table

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows and print the report.

    Returns 0 however slow anything was and whatever is not installed, 1 if a row failed.
    """
    options = _parser().parse_args(arguments)
    if options.list:
        for row in ROWS:
            print(f"{row.name:12} {row.work}")
        return 0
    # A polite kill leaves no servers behind, as Ctrl-C does not.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    entries: list[Entry] = []
    code = 0
    print(header(quick=options.quick), end="\n\n", flush=True)
    try:
        for row in options.only:
            entries.append(_entry(row, QUICK if options.quick else FULL))
            code |= entries[-1].problem.startswith("failed")
    except KeyboardInterrupt:
        code = INTERRUPTED
    print(table(entries))
    return code


def _entry(row: Row, sizes: Sizes) -> Entry:
    if missing := row.missing():
        return Entry(row, None, f"missing: {'; '.join(missing)}")
    began = time.monotonic()
    print(f"{row.name} ... ", end="", flush=True, file=sys.stderr)
    try:
        entry = Entry(row, row.measure(sizes))
    except (BenchmarkError, OSError, subprocess.SubprocessError) as error:
        entry = Entry(row, None, f"failed: {error}")
    print(f"{time.monotonic() - began:.1f} s", file=sys.stderr)
    return entry


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=sys.modules[__package__].__doc__
    )
    parser.add_argument(
        "--only",
        type=_rows,
        default=[row for row in ROWS if not row.extra],
        metavar="ROW[,ROW]",
        help="measure these rows alone; some are measured only so",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    return parser


def _rows(names: str) -> list[Row]:
    by_name = {row.name: row for row in ROWS}
    try:
        return [by_name[name.strip()] for name in names.split(",")]
    except KeyError as error:
        raise argparse.ArgumentTypeError(
            f"there is no row {error}; there are {', '.join(by_name)}"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
