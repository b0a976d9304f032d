"""Statistics as bytes that outlive the process, read again only if they may be true.

The first and the last prime, the largest gap and the prime that it follows, 0 where there are
none, then all counts; 8 bytes each, little-endian, compressed by zlib.
"""

import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.collect.records import may_count
from primesvc.sieve.narrow import are_prime
from primesvc.sieve.statistics import PATTERNS, Frame, Tally

_HEAD: Final = 4


def write(tally: Tally) -> bytes:
    """The record of the statistics of a whole range; takes a few milliseconds at the most."""
    ends = (tally.head[0], tally.tail[-1]) if tally.head else (0, 0)
    head = [*ends, *(tally.largest_gap or (0, 0))]
    arrays = [np.array(head, "<u8"), *(array.astype("<u8").ravel() for array in _arrays(tally))]
    return zlib.compress(np.concatenate(arrays).tobytes(), 1)


def read(record: bytes, frame: Frame) -> Tally:
    """The statistics as they were written. Raises `ValueError` for what cannot be true.

    They are complete: no primes can be counted further.
    """
    tally = Tally(frame)
    numbers = _unpack(record, 8 * _HEAD + tally.size_bytes)
    if numbers is None:
        raise ValueError(f"the statistics of {frame.range} are missing or damaged")
    first, last, gap, after = numbers[:_HEAD].tolist()
    if first:
        tally.head, tally.tail = (first,), (last,)
    tally.largest_gap = (gap, after) if gap else None
    at = _HEAD
    for array in _arrays(tally):
        array[...] = numbers[at : at + array.size].reshape(array.shape)
        at += array.size
    if not all(_may_be(tally)):
        raise ValueError(f"the statistics of {frame.range} cannot be true")
    return tally


def _arrays(tally: Tally) -> tuple[NDArray[np.int64], ...]:
    return tally.by_bin, tally.patterns, tally.gaps, tally.pairs


def _unpack(record: bytes, size: int) -> NDArray[np.uint64] | None:
    """The numbers in a record of so many bytes, None if it is no such record."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(record, size + 1)
    except zlib.error:
        return None
    if len(data) != size or not unpacker.eof or unpacker.unused_data:
        return None
    return np.frombuffer(data, "<u8")


def _may_be(tally: Tally) -> Iterator[bool]:
    """What holds of true statistics, one after another; what follows may rest on it."""
    range_ = tally.frame.range
    arrays = _arrays(tally)
    # Their sums do not overflow.
    yield all(int(array.min(initial=0)) >= 0 for array in arrays)
    yield all(float(array.sum(dtype=np.float64)) < 2**62 for array in arrays)
    yield may_count(range_, tally.count)
    yield bool(tally.head) == bool(tally.count)
    known = [*tally.head, *tally.tail, *(tally.largest_gap or ())[1:]]
    yield all(range_.start <= prime <= range_.end for prime in known)
    yield bool(are_prime(np.array(known, np.uint64)).all())
    yield from _may_be_gaps(tally)
    yield from _may_be_residues(tally)
    # Only of 3 and 7 there is a prime between cousins.
    cousins = int(tally.gaps[4]) + (range_.start <= 3 and range_.end >= 7)
    found = dict(zip(PATTERNS, tally.patterns.sum(axis=1).tolist(), strict=True))
    yield found["twins"] == tally.gaps[2] and found["cousins"] == cousins
    yield found["sexy"] >= tally.gaps[6]
    yield bool((tally.patterns <= tally.by_bin.sum(axis=1)).all())


def _may_be_gaps(tally: Tally) -> Iterator[bool]:
    gaps, count = tally.gaps, tally.count
    present = np.flatnonzero(gaps).tolist()
    yield int(gaps.sum()) == max(count - 1, 0)
    if count:
        yield sum(gap * int(gaps[gap]) for gap in present) == tally.tail[-1] - tally.head[0]
    # One gap is odd: from 2 to 3.
    yield not gaps[3::2].any() and gaps[1] == (tally.head == (2,) and count > 1)
    largest = tally.largest_gap
    yield (largest is None) == (count < 2)
    if largest is not None:
        yield largest[0] == present[-1]
        yield tally.head[0] <= largest[1] <= tally.tail[-1] - largest[0]


def _may_be_residues(tally: Tally) -> Iterator[bool]:
    frame, counts = tally.frame, tally.by_bin.sum(axis=0)
    classes = np.array(frame.classes)
    # Of the primes that divide the modulus each is one of its own class.
    yield bool((counts[np.gcd(classes, frame.modulus) > 1] <= 1).all())
    if frame.is_paired and tally.head:
        first, last = (
            frame.classes.index(prime % frame.modulus) for prime in (tally.head[0], tally.tail[-1])
        )
        # Each prime but the last is followed, each but the first follows one.
        before, after = counts.copy(), counts.copy()
        before[last] -= 1
        after[first] -= 1
        yield bool((tally.pairs.sum(axis=1) == before).all())
        yield bool((tally.pairs.sum(axis=0) == after).all())
