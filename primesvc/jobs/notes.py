"""What a journal has yet to write: the newest state of each job and piece, no list of events."""

from typing import Final

from primesvc.jobs.records import Piece, Row

MOST_PIECES: Final = 100_000
"""Pieces that wait to be written at the most: 30 MB, and more than come in ten minutes. Of
others nothing is noted; a restart sieves them again."""

MOST_DROPS: Final = 10_000
"""Notes that pieces are not needed that wait at the most. A restart drops those of the others."""


class Notes:
    """What is to be written: no more than there are jobs, and the bounds above."""

    __slots__ = ("dropped", "jobs", "pieces", "since_s")

    def __init__(self) -> None:
        self.jobs: dict[str, Row | None] = {}
        """The newest state of each job by its id; None for those that are forgotten."""
        self.pieces: dict[tuple[str, int], Piece] = {}
        self.dropped: list[tuple[str, int, int]] = []
        """Grid, first and stop of pieces to delete, before those above are written."""
        self.since_s: float | None = None
        """When the first of them was noted, on the loop's clock."""

    def drop(self, grid: str, indices: range) -> None:
        """Note that these pieces are to be deleted."""
        if len(indices) < len(self.pieces):
            for index in indices:
                self.pieces.pop((grid, index), None)
        else:
            for key in [key for key in self.pieces if key[0] == grid and key[1] in indices]:
                del self.pieces[key]
        if len(self.dropped) < MOST_DROPS:
            self.dropped.append((grid, indices.start, indices.stop))

    def update(self, newer: "Notes") -> None:
        """Add what was noted since."""
        for grid, start, stop in newer.dropped:
            self.drop(grid, range(start, stop))
        self.pieces.update(newer.pieces)
        self.jobs.update(newer.jobs)
        if self.since_s is None:
            self.since_s = newer.since_s

    def forget_what_never_was(self, known: set[str]) -> None:
        """Drop the notes that jobs are forgotten which the file, with these ids, does not have."""
        self.jobs = {id_: row for id_, row in self.jobs.items() if row is not None or id_ in known}

    def __len__(self) -> int:
        return len(self.jobs) + len(self.pieces)

    def __bool__(self) -> bool:
        return bool(self.jobs or self.pieces or self.dropped)
