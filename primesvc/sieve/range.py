"""Closed ranges of whole numbers, the unit in which everything here is asked for."""

from dataclasses import dataclass
from typing import Final

from primesvc.errors import RangeNotAllowed

MAX_NUMBER: Final = 2**64 - 1
"""The largest number of any range: the limit of the field's engines."""


def check_number(number: int) -> None:
    """Raise `RangeNotAllowed` for a number that is not from 0 to 2^64 - 1."""
    if not 0 <= number <= MAX_NUMBER:
        raise RangeNotAllowed(
            f"a number is from 0 to 2^64 - 1 = {MAX_NUMBER}, not {number}",
            limit=0 if number < 0 else MAX_NUMBER,
        )


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """The closed range [start, end] with 0 <= start <= end <= 2^64 - 1.

    Raises `RangeNotAllowed` for anything else, and `TypeError` for numbers
    that are not `int`.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        if type(self.start) is type(self.end) is int and 0 <= self.start <= self.end <= MAX_NUMBER:
            return  # a small job makes dozens
        for number in (self.start, self.end):
            if type(number) is not int:
                raise TypeError(f"a range has int ends, not {type(number).__name__}")
        if self.start < 0:
            raise RangeNotAllowed(f"a range starts at 0 or above, not at {self.start}", limit=0)
        if self.end > MAX_NUMBER:
            raise RangeNotAllowed(
                f"a range ends at 2^64 - 1 = {MAX_NUMBER} at the most, not at {self.end}",
                limit=MAX_NUMBER,
            )
        if self.end < self.start:
            raise RangeNotAllowed(
                f"a range ends at or after its start, {self.start}, not at {self.end}",
                limit=self.start,
            )

    @property
    def span(self) -> int:
        """How many whole numbers the range holds, both ends included."""
        return self.end - self.start + 1

    def covers(self, other: "Range") -> bool:
        """Whether every number of `other` lies in this range."""
        return self.start <= other.start and other.end <= self.end

    def clip(self, other: "Range") -> "Range":
        """The part of this range that lies in `other`; they must overlap."""
        return Range(max(self.start, other.start), min(self.end, other.end))

    def __str__(self) -> str:
        return f"{self.start}..{self.end}"
