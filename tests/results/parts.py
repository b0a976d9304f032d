"""What the tests of virtual files share: what pieces add to a file, and files cut from that."""

from collections.abc import Sequence

from primesvc.formats.base import Format
from primesvc.results.layout import Layout
from primesvc.sieve.grid import SEGMENTS, Grid
from tests.formats.files import encoded


def contributions(
    format_: Format, grid: Grid, first: int, pieces: Sequence[Sequence[int]]
) -> list[bytes]:
    """What each piece adds to the file: the head of a segment with the first that has a value."""
    added = []
    begun: set[int] = set()
    starts = [SEGMENTS.index(grid.piece(first + number).start) for number in range(len(pieces))]
    for start, piece in zip(starts, pieces, strict=True):
        head = b""
        if piece and start not in begun:
            begun.add(start)
            others = zip(starts, pieces, strict=True)
            head = format_.piece_head(sum(len(p) for s, p in others if s == start))
        added.append(head + encoded(format_, piece))
    return added


def read(layout: Layout, added: Sequence[bytes], first: int, stop: int) -> bytes:
    """The bytes [first, stop) of the file, cut from what the pieces add as the layout says."""
    base = layout.result.plan.indices.start
    body = b""
    windows = layout.pieces(first, stop)
    for at in range(len(windows)):
        window = windows[at]
        piece = added[window.index - base]
        assert window.length == len(piece)
        assert window.first >= 0
        assert window.stop <= window.length
        body += piece[window.first : max(window.stop, window.first)]
    return layout.before(first, stop) + body + layout.after(first, stop)
