"""Statistics as a summary that people read."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from primesvc.sieve.range import Range

_MOST_ROWS: Final = 12
"""Gaps and residues at the most that the summary tells of, those that are most frequent."""


def summary(range_: Range, found: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the summary; the bins are left out."""
    count = found["count"]
    yield f"range        {range_}"
    yield f"primes       {count}"
    if not count:
        return
    yield f"first        {found['first']}"
    yield f"last         {found['last']}"
    if (largest := found["largest_gap"]) is not None:
        yield f"largest gap  {largest['gap']} after {largest['after']}"
    for name, pattern in found["patterns"].items():
        yield f"{name:11}  {pattern['count']}"
    residues = found["residues"]
    modulus = residues["modulus"]
    yield from _table(
        (f"{residue} mod {modulus}", many)
        for residue, many in zip(residues["classes"], residues["counts"], strict=True)
    )
    yield from _table((f"gap {gap}", many) for gap, many in found["gaps"])


def _table(rows: Iterable[tuple[str, int]]) -> Iterator[str]:
    """A row for each that is most frequent, in their order, with how often it occurs."""
    counts = dict(rows)
    shown = sorted(counts, key=lambda name: -counts[name])[:_MOST_ROWS]
    width = max((len(str(counts[name])) for name in shown), default=0)
    for name in counts:
        if name in shown:
            share = counts[name] / sum(counts.values())
            yield f"{name:11}  {counts[name]:>{width}}  {share:7.3%}"
    if len(counts) > len(shown):
        yield f"and {len(counts) - len(shown)} more"
