"""The report in Markdown: where it was measured, the table, and what else was seen."""

import datetime
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from primesvc.compute.cpus import usable_cpus
from primesvc.sieve.engine import load_engine
from tests.benchmarks.rows.base import Outcome, Row

_COLUMNS: Final = ("row", "work", "ours", "against", "theirs", "ratio", "target", "met")


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a row: its outcome, or in words why it has none."""

    row: Row
    outcome: Outcome | None
    problem: str = ""

    def cells(self) -> list[str]:
        """The cells of its line in the table."""
        row, outcome = self.row, self.outcome
        target = f"{'at most' if row.at_most else 'at least'} {row.target:g}{row.unit}"
        against = row.peer or "-"
        if outcome is None:
            problem = " ".join(self.problem.split()).replace("|", "\\|")  # one cell of one line
            return [row.name, row.work, "-", against, problem, "-", target, "-"]
        return [
            row.name,
            row.work,
            outcome.ours,
            against,
            outcome.peer or "-",
            f"{outcome.figure:.3g}{row.unit}",
            target,
            "yes" if row.met(outcome.figure) else "**no**",
        ]


def header(*, quick: bool) -> str:
    """When, on what, with what."""
    engine = load_engine("auto")
    today = datetime.datetime.now(datetime.UTC).date()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    facts = [
        str(today),
        f"Python {platform.python_version()}",
        _processor(),
        f"{usable_cpus()} cores",
        f"engine {engine.name} {engine.version}",
        f"load before the run {load:.1f}",
    ]
    if quick:
        facts.append("**quick, with small sizes: the ratios mean little**")
    return ", ".join(facts)


def _processor() -> str:
    """The model of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def table(entries: Sequence[Entry]) -> str:
    """The table, and a list of the notes behind it."""
    lines = [_COLUMNS, ["---"] * len(_COLUMNS), *(entry.cells() for entry in entries)]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    notes = "\n".join(
        f"- {entry.row.name}: {note}"
        for entry in entries
        if entry.outcome is not None
        for note in entry.outcome.notes
    )
    return f"{text}\n\n{notes}" if notes else text
