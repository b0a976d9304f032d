"""Which primes of a range are asked for: all, those of a residue class, or where patterns begin.

A *constellation* is a pattern of distances between primes: twins are p and p + 2. It is told
by its first prime, so a selection is a set of primes, and decides about each one by itself
and the primes up to `reach` above it. That makes pieces of the line independent of one
another: whoever looks at a piece looks `reach` numbers further.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.errors import InvalidParameter
from primesvc.sieve.range import MAX_NUMBER, Range

PATTERNS: Final = {
    "twins": ((0, 2),),
    "cousins": ((0, 4),),
    "sexy": ((0, 6),),
    "triplets": ((0, 2, 6), (0, 4, 6)),
    "quadruplets": ((0, 2, 6, 8),),
    "quintuplets": ((0, 2, 6, 8, 12), (0, 4, 6, 10, 12)),
    "sextuplets": ((0, 4, 6, 10, 12, 16),),
}
"""The constellations that have names, as `primesieve` has them: the forms of each."""

MAX_OFFSET: Final = 1000
"""The largest offset of a pattern: so far are numbers sieved beyond every piece."""

MAX_OFFSETS: Final = 16
"""Offsets of a pattern at the most."""

MAX_MODULUS: Final = 10_000
"""The largest modulus."""

_NAMES: Final = {forms[0]: name for name, forms in PATTERNS.items() if len(forms) == 1}

_PART: Final = 2**16
"""Primes that are looked at in one go: their marks, 3 MB at the most, stay in the cache."""

_STRUCK: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)
"""Primes of which the constant of a pattern is made; what others change is a few percent."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Those primes that are `residue` modulo `modulus` and begin a constellation of `pattern`.

    `pattern` is a name of `PATTERNS`, offsets such as `0,2,6`, or empty for any
    prime; `modulus` 1 for any too. Equal selections are written alike: `0,2` becomes
    `twins`. Raises `InvalidParameter`.
    """

    pattern: str = ""
    modulus: int = 1
    residue: int = 0

    def __post_init__(self) -> None:
        if self.pattern and self.pattern not in PATTERNS:
            offsets = _read_offsets(self.pattern)
            written = _NAMES.get(offsets) or ",".join(map(str, offsets))
            object.__setattr__(self, "pattern", written)
        if not 1 <= self.modulus <= MAX_MODULUS:
            raise InvalidParameter("modulus", f"give a whole number from 1 to {MAX_MODULUS}")
        if not 0 <= self.residue < self.modulus:
            raise InvalidParameter(
                "residue",
                f"give a whole number from 0 to {self.modulus - 1}, one less than the modulus",
            )

    @property
    def parameters(self) -> dict[str, int | str]:
        """What makes it differ from all primes, by name; none for all primes."""
        values: dict[str, int | str] = {"pattern": self.pattern} if self.pattern else {}
        if self.modulus > 1:
            values |= {"modulus": self.modulus, "residue": self.residue}
        return values

    @property
    def forms(self) -> tuple[tuple[int, ...], ...]:
        """The offsets of each form of the pattern from its first prime on; all reach as far."""
        if not self.pattern:
            return ((0,),)
        return PATTERNS.get(self.pattern) or (tuple(map(int, self.pattern.split(","))),)

    @property
    def reach(self) -> int:
        """How far above a prime the numbers lie that decide about it."""
        return self.forms[0][-1]

    def __bool__(self) -> bool:
        """Whether it is a selection, and not all primes."""
        return bool(self.pattern) or self.modulus > 1

    def __str__(self) -> str:
        """Its values, joined by colons; different for every selection, empty for all primes."""
        return ":".join(map(str, self.parameters.values()))

    @classmethod
    def parse(cls, text: str) -> "Selection":
        """The selection that is written so by `str`. Raises `ValueError` for other texts."""
        pattern, *rest = text.split(":")
        if pattern.isdigit():
            pattern, rest = "", [pattern, *rest]
        modulus, residue = map(int, rest) if rest else (1, 0)
        selection = cls(pattern, modulus, residue)
        if str(selection) != text:
            raise ValueError(f"{text!r} is no selection")
        return selection

    def searched(self, range_: Range) -> Range:
        """Where the selected primes lie if all primes of a constellation are to be in the range.

        Where none can be it is 0..0, for 0 is no prime.
        """
        if range_.end - self.reach < range_.start:
            return Range(0, 0)
        return Range(range_.start, range_.end - self.reach)

    def needed(self, range_: Range) -> Range:
        """The numbers that decide about the primes of the range, as far as there are any."""
        if not self.pattern:
            return range_
        return Range(range_.start, min(range_.end + self.reach, MAX_NUMBER))

    def pick(self, primes: NDArray[np.uint64], end: int) -> NDArray[np.uint64]:
        """The selected ones up to `end` of ascending primes, which go up to `end` + `reach`.

        About 7 ns a prime, and 6 for a residue class.
        """
        count = int(np.searchsorted(primes, np.uint64(end), side="right"))
        if not self.pattern:
            return self._of_class(primes[:count])
        parts = []
        for first in range(0, count, _PART):
            stop = min(first + _PART, count)
            beyond = int(primes[stop - 1]) + self.reach
            until = int(np.searchsorted(primes, np.uint64(min(beyond, MAX_NUMBER)), side="right"))
            found = _begins(primes[first:until], stop - first, self.forms, self.reach)
            parts.append(self._of_class(primes[first:stop][found]))
        return np.concatenate([np.empty(0, np.uint64), *parts])

    def _of_class(self, primes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        if self.modulus == 1:
            return primes
        modulus = np.uint64(self.modulus)
        # Not `%`: this is five times as fast, for NumPy divides by a constant with SIMD.
        left: NDArray[np.uint64] = primes - primes // modulus * modulus
        chosen: NDArray[np.uint64] = primes[left == np.uint64(self.residue)]
        return chosen

    def share(self, number: int) -> float:
        """About which share of the primes near a number are selected.

        By Dirichlet's theorem, and Hardy and Littlewood's conjecture B (1923).
        """
        logarithm = math.log(max(number, 20))
        shares = [
            _constant(form) * _class_share(form, self.modulus, self.residue) for form in self.forms
        ]
        return min(sum(shares) / logarithm ** (len(self.forms[0]) - 1), 1.0)


ALL: Final = Selection()
"""All primes."""


def _read_offsets(text: str) -> tuple[int, ...]:
    names = ", ".join(PATTERNS)
    form = f"give one of {names}, or offsets such as 0,2,6"
    parts = [part.strip() for part in text[:1000].split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) <= 20 for part in parts):
        raise InvalidParameter("pattern", f"{text[:60]!r} is no pattern: {form}")
    offsets = tuple(map(int, parts))
    if not 2 <= len(offsets) <= MAX_OFFSETS:
        raise InvalidParameter(
            "pattern", f"it has from 2 to {MAX_OFFSETS} offsets, not {len(offsets)}"
        )
    if offsets[0] != 0 or any(b <= a for a, b in pairwise(offsets)):
        raise InvalidParameter("pattern", f"its offsets begin with 0 and ascend; {form}")
    if offsets[-1] > MAX_OFFSET:
        raise InvalidParameter("pattern", f"its offsets go up to {MAX_OFFSET}")
    return offsets


def _begins(
    primes: NDArray[np.uint64], count: int, forms: tuple[tuple[int, ...], ...], reach: int
) -> NDArray[np.bool_]:
    """Whether each of the first `count` primes begins one of the forms; shape (count,)."""
    places = (primes - primes[0]).astype(np.intp)
    marks = np.zeros(int(places[-1]) + reach + 1, np.bool_)
    marks[places] = True
    begins = np.zeros(count, np.bool_)
    for form in forms:
        left = places[:count]
        for offset in form[1:]:
            # Few are left after the first of them.
            left = left[marks[left + offset]]
        begins[np.searchsorted(places, left)] = True
    return begins


@lru_cache(256)
def _constant(form: tuple[int, ...]) -> float:
    """How much more often the form occurs than if primes were random; 0 if finitely often."""
    constant = 1.0
    for prime in _STRUCK:
        free = prime - len({offset % prime for offset in form})
        constant *= free / prime / (1 - 1 / prime) ** len(form)
    return constant


@lru_cache(256)
def _class_share(form: tuple[int, ...], modulus: int, residue: int) -> float:
    """Which share of the constellations of a form begin in the class, of a large height."""

    def possible(first: int) -> bool:
        return all(math.gcd(first + offset, modulus) == 1 for offset in form)

    return possible(residue) / max(sum(map(possible, range(modulus))), 1)
