"""Ascending integers as decimal text, written by whole arrays.

`str` and `join` take about 150 ns a value; this takes 3. It rests on the order of the values:

- Values of one number of digits form a run, so their text is a matrix of equal rows.
- Values that share all but their last five digits form a block: with primes, thousands of them.
  A block is written twice, first as copies of one row (`before`, the shared digits, room for
  five, `after`) by `memcpy`, then with the last five digits of every row, looked up in a table.
- NumPy has no fast move of five bytes, only of 1, 2, 4, 8 and 16. So a table entry is a word of
  eight: the five digits and the three bytes that come after them, which reach into the next row
  when `after` is short. They are the same for a whole block, mostly for a whole array.

Values too far apart for that are written four digits at a time.
"""

import functools
from itertools import pairwise
from operator import sub
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["decimal_digits", "encode_decimals", "encoded_size"]

_TAIL_DIGITS: Final = 5
"""Digits of a table entry. Four would make blocks of 430 primes at 10^10, too few to repay the
calls; six would need 8 MB of table, and a look-up then takes 1.7 ns, not 1.0: they fall out
of the level 2 cache."""

_BLOCK_SPAN: Final = 10**_TAIL_DIGITS
"""Width of a block on the number line: all its values share their leading digits."""

_WORD_BYTES: Final = 8
"""Bytes of a table entry, and of one move."""

_MIN_BLOCK_VALUES: Final = 400
"""Mean number of values in a block, below which blocks do not pay: a block costs 3 us and 2 ns a
value, the other way 8 to 16 ns a value. Primes below 2^64 never fall below 2,200."""

_POWERS_OF_TEN: Final = 10 ** np.arange(1, 20, dtype=np.uint64)
"""The first value of each number of digits from 2 to 20."""


def decimal_digits(values: NDArray[np.uint64]) -> int:
    """Count the decimal digits of all ascending uint64 `values`, of shape (n,); 0 has one.

    Costs 19 binary searches, whatever n is.
    """
    shorter = np.searchsorted(values, _POWERS_OF_TEN)
    return (len(_POWERS_OF_TEN) + 1) * len(values) - int(shorter.sum())


def encoded_size(values: NDArray[np.uint64], affix_bytes: int) -> int:
    """Count the bytes of ascending `values` as text, each with `affix_bytes` around its digits.

    Exact, at the cost of `decimal_digits`.
    """
    return decimal_digits(values) + len(values) * affix_bytes


def encode_decimals(
    values: NDArray[np.uint64], before: bytes, after: bytes, out: NDArray[np.uint8]
) -> int:
    """Write `before`, the decimal digits and `after` for each value; return the bytes written.

    `values` is uint64 of shape (n,) in ascending order, equal neighbours allowed, and anything
    from 0 to 2^64 - 1; values out of order give wrong text. `out` is writable, C-contiguous uint8
    of shape (m,); the bytes after the text stay as they are.

    Costs about 3 ns a value for primes, 8 to 16 where values are hundreds apart, and once
    a process a few milliseconds for the tables, which come to 4 MB at most. Raises `ValueError`
    if `out` is shorter than `encoded_size` says, and then writes nothing.
    """
    affix_bytes = len(before) + len(after)
    size = encoded_size(values, affix_bytes)
    if size > len(out):
        raise ValueError(f"the text takes {size} bytes, the buffer has {len(out)}")
    written = 0
    cuts = [0, *np.searchsorted(values, _POWERS_OF_TEN).tolist(), len(values)]
    for digits, (start, stop) in enumerate(pairwise(cuts), start=1):
        if start == stop:
            continue
        run = values[start:stop]
        end = written + len(run) * (digits + affix_bytes)
        if digits > _TAIL_DIGITS and _is_dense(run):
            _encode_dense(run, before, after, out[written:end])
        else:
            _encode_sparse(run, digits, before, after, out[written:end])
        written = end
    return written


def _is_dense(run: NDArray[np.uint64]) -> bool:
    """Tell whether the blocks of `run` hold enough values to be worth a few calls each."""
    blocks = int(run[-1]) // _BLOCK_SPAN - int(run[0]) // _BLOCK_SPAN + 1
    return blocks * _MIN_BLOCK_VALUES <= len(run)


def _encode_dense(
    run: NDArray[np.uint64], before: bytes, after: bytes, text: NDArray[np.uint8]
) -> None:
    """Fill `text` with the rows of `run`, block by block; all values have equally many digits."""
    first, last = int(run[0]) // _BLOCK_SPAN, int(run[-1]) // _BLOCK_SPAN
    bases = np.arange(first, last + 1, dtype=np.uint64) * np.uint64(_BLOCK_SPAN)
    cuts = [*np.searchsorted(run, bases).tolist(), len(run)]
    largest = max(map(sub, cuts[1:], cuts))

    row_bytes = len(text) // len(run)
    tail_at = row_bytes - len(after) - _TAIL_DIGITS
    following = _following(before, first, after)
    same_following = following == _following(before, last, after)
    table = _tail_words(following if same_following else bytes(len(following)))

    tails = np.empty(largest, np.intp)
    words = np.empty(largest, np.uint64)
    text_bytes = text.data
    # Words overlap the row below, so they must be stored from the top down, as a one-dimensional
    # assignment does: the row below, and the copies in the block below, then mend what spilled.
    # The last row has nothing below it and is written whole.
    slots = np.ndarray((len(run) - 1,), np.uint64, text, tail_at, (row_bytes,))

    for index, (start, stop) in enumerate(pairwise(cuts)):
        count = stop - start
        row = b"%b%d%b%b" % (before, first + index, bytes(_TAIL_DIGITS), after)
        text_bytes[start * row_bytes : stop * row_bytes] = row * count
        # A base of no dimensions, not a scalar: NumPy is 0.2 us a call quicker with it.
        np.subtract(run[start:stop], bases[index, ...], out=tails[:count].view(np.uint64))
        # Modes but "raise" write to `out` directly, without a copy.
        table.take(tails[:count], out=words[:count], mode="clip")
        if not same_following:
            words[:count] |= _as_word(_following(before, first + index, after))
        slots[start:stop] = words[: min(stop, len(slots)) - start]
    text_bytes[-row_bytes:] = b"%b%d%b" % (before, int(run[-1]), after)


def _encode_sparse(
    run: NDArray[np.uint64], digits: int, before: bytes, after: bytes, text: NDArray[np.uint8]
) -> None:
    """Fill `text` with the rows of `run`, whose values have `digits` digits, group by group."""
    row_bytes = len(text) // len(run)
    text.data[:] = (before + bytes(digits) + after) * len(run)
    rest = run
    left = digits
    while left:
        table = _numerals(4, 4) if left >= 4 else _numerals(1, 1)
        left -= table.itemsize
        quotient = rest // np.uint64(len(table))
        group = (rest - quotient * np.uint64(len(table))).view(np.int64)
        column = np.ndarray(run.shape, table.dtype, text, len(before) + left, (row_bytes,))
        column[:] = table.take(group, mode="clip")
        rest = quotient


def _following(before: bytes, leading: int, after: bytes) -> bytes:
    """Return the bytes behind the last digit in a block, as many as a word has room for.

    Past the `leading` digits of the next row they do not matter: that row's own word is there.
    """
    room = _WORD_BYTES - _TAIL_DIGITS
    return (b"%b%b%d" % (after, before, leading))[:room].ljust(room, b"\0")


def _as_word(following: bytes) -> np.uint64:
    """Return the word with `following` behind room for the digits."""
    return np.uint64(np.frombuffer(bytes(_TAIL_DIGITS) + following, np.uint64)[0])


# Four tables of 800 kB serve four kinds of text in turn; making one anew takes 50 us, or 0.4 ms in
# memory the process has not touched before.
@functools.lru_cache(maxsize=4)
def _tail_words(following: bytes) -> NDArray[np.uint64]:
    """Return, for each tail, the word of its five digits and of `following`: (100000,) uint64."""
    return np.asarray(_numerals(_TAIL_DIGITS, _WORD_BYTES) | _as_word(following))


@functools.cache
def _numerals(digits: int, item_bytes: int) -> NDArray[np.unsignedinteger]:
    """Return 0 to 10^digits - 1 as text with leading zeros, each an integer of `item_bytes`.

    The shape is (10^digits,); bytes behind the digits are zero.
    """
    numbers = np.arange(10**digits, dtype=np.uint32)
    text = np.zeros((len(numbers), item_bytes), np.uint8)
    for column in range(digits):
        text[:, column] = numbers // 10 ** (digits - 1 - column) % 10 + ord("0")
    return text.view(f"u{item_bytes}").ravel()
