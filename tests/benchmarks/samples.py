"""Figures of samples, and how they are written."""

from collections.abc import Sequence
from math import ceil


def percentile(samples: Sequence[float], percent: float) -> float:
    """The least sample that `percent` per cent of all do not exceed (nearest rank)."""
    return sorted(samples)[max(ceil(len(samples) * percent / 100), 1) - 1]


def p99(samples: Sequence[float]) -> float:
    """The sample that one in a hundred exceeds."""
    return percentile(samples, 99)


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them, three digits."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def spread(ratios: Sequence[float]) -> str:
    """The least and the largest of some ratios."""
    return f"{min(ratios):.3g} to {max(ratios):.3g}"


def megabytes(size: int) -> str:
    """A size in MB of 10^6 bytes."""
    return f"{size / 1e6:,.0f} MB"
