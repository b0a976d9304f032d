"""Connection: a service for programs without an event loop."""

import atexit
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from primesvc.asking.asker import Asker
from primesvc.asking.portal import Portal
from primesvc.errors import InvalidParameter
from primesvc.formats.catalog import FORMATS
from primesvc.numbers import NumberFacts, whole
from primesvc.sieve.range import Range
from primesvc.sieve.selection import Selection

Number = SupportsIndex | float
"""A whole number: `int`, a NumPy integer, or a float up to 2^53 such as `1e9`."""


class Connection:
    """Asks a service, and waits for each answer; made and opened by `primesvc.connect`.

    Every method may be called from several threads at a time, and also where an event loop
    runs, as in a notebook: the connection has one of its own. Ctrl-C (`KeyboardInterrupt`)
    cancels what is waited for, in the service too and for everybody who waits for the same.

    Ranges are closed, [start, end]. With `pattern`, which is a name such as `twins` or offsets such
    as `0,2,6`, it is the first primes of constellations that are asked for; with `modulus` and
    `residue` those of one residue class; else all. A number is an `int`, a NumPy integer, or a
    whole float up to 2^53; up to 2^64 - 1 all answers are exact.

    Every method raises `InvalidParameter` and `RangeNotAllowed` for what cannot be asked,
    `ServiceClosed` once the connection is closed, and else what the service raises: all of them
    a `PrimesvcError`.

    Close it, with `close` or at the end of a `with`: otherwise it stays open until the
    program ends.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._portal = Portal()
        try:
            self._portal.call(asker.__aenter__)
        except BaseException:
            self.close()
            raise
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what runs, and close all that was opened; may be called again. Bounded in time.

        Threads that wait for an answer get a `ServiceClosed`.
        """
        atexit.unregister(self.close)
        self._portal.close(self._asker.close)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or belongs to the process that this one was forked from."""
        return self._portal.closed

    def count(
        self,
        start: Number,
        end: Number,
        *,
        pattern: str | None = None,
        modulus: Number | None = None,
        residue: Number | None = None,
    ) -> int:
        """How many primes the range holds; of constellations, those that it holds all of."""
        range_, selection = whole_range(start, end), selected(pattern, modulus, residue)
        return self._portal.call(lambda: self._asker.count(range_, selection))

    def nth(self, n: Number, start: Number = 0) -> int:
        """The n-th prime above `start`, or for a negative n below it."""
        whole_n, whole_start = whole("n", n), whole("start", start)
        return self._portal.call(lambda: self._asker.nth(whole_n, whole_start))

    def statistics(
        self, start: Number, end: Number, *, modulus: Number = 10, bins: Number = 500
    ) -> Mapping[str, Any]:
        """The statistics of the primes of the range, as the `result` of a job's document has them.

        How many lie in each of up to 2,000 bins, which gaps, residues by a modulus of up to
        10,000 and constellations there are, and how often.
        """
        range_ = whole_range(start, end)
        whole_modulus, whole_bins = whole("modulus", modulus), whole("bins", bins)
        return self._portal.call(lambda: self._asker.statistics(range_, whole_modulus, whole_bins))

    def primes(
        self,
        start: Number,
        end: Number,
        *,
        pattern: str | None = None,
        modulus: Number | None = None,
        residue: Number | None = None,
    ) -> NDArray[np.uint64]:
        """The primes of the range, ascending, in one array: 8 bytes of memory for each."""
        range_, selection = whole_range(start, end), selected(pattern, modulus, residue)
        return self._portal.call(lambda: self._asker.primes(range_, selection))

    def arrays(
        self,
        start: Number,
        end: Number,
        *,
        pattern: str | None = None,
        modulus: Number | None = None,
        residue: Number | None = None,
    ) -> Iterator[NDArray[np.uint64]]:
        """The primes of the range, ascending, in many arrays of any length but 0.

        Memory is constant, however many there are. The work begins with the first array.
        """
        range_, selection = whole_range(start, end), selected(pattern, modulus, residue)
        return self._portal.iterate(lambda: self._asker.arrays(range_, selection))

    def download(
        self,
        start: Number,
        end: Number,
        to: str | os.PathLike[str] | BinaryIO,
        format: str = "json",  # noqa: A002 - the API's own word
        *,
        pattern: str | None = None,
        modulus: Number | None = None,
        residue: Number | None = None,
    ) -> None:
        """Write the primes of the range to a file, at constant memory.

        `to` is its path, or a file that is open for writing bytes. A path is there once all is
        written, and after an error what was there before. `format` is `json`, `ndjson`,
        `text`, `csv`, `npy` or `arrow`. Raises `OSError` if it cannot be written.
        """
        range_, selection = whole_range(start, end), selected(pattern, modulus, residue)
        if format not in FORMATS:
            raise InvalidParameter("format", f"{format!r} is none of {', '.join(FORMATS)}")
        parts = self._portal.iterate(lambda: self._asker.read(range_, selection, format))
        target = _complete(Path(to)) if isinstance(to, str | os.PathLike) else nullcontext(to)
        with closing(parts), target as file:
            file.writelines(parts)

    def is_prime(self, number: Number) -> bool:
        """Whether the number is a prime."""
        return self.are_prime([number])[0]

    def are_prime(self, numbers: Iterable[Number]) -> list[bool]:
        """Whether each number, of a list or an array of any length, is a prime."""
        asked = [whole("numbers", number) for number in numbers]
        return self._portal.call(lambda: self._asker.are_prime(asked))

    def number(self, number: Number) -> NumberFacts:
        """Everything about a number: whether it is a prime, its factors, its neighbours."""
        asked = whole("number", number)
        return self._portal.call(lambda: self._asker.number(asked))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._asker} {'closed' if self.closed else 'open'}>"


def whole_range(start: Number, end: Number) -> Range:
    """The closed range. Raises `InvalidParameter` and `RangeNotAllowed`."""
    return Range(whole("start", start), whole("end", end))


def selected(pattern: str | None, modulus: Number | None, residue: Number | None) -> Selection:
    """Which primes are asked for. Raises `InvalidParameter`."""
    if (modulus is None) != (residue is None):
        missing = "modulus" if modulus is None else "residue"
        raise InvalidParameter(missing, "modulus and residue go together; give both")
    if modulus is None or residue is None:
        return Selection(pattern or "")
    return Selection(pattern or "", whole("modulus", modulus), whole("residue", residue))


@contextmanager
def _complete(path: Path) -> Iterator[BinaryIO]:
    """A file that has its name once it is written; after an error nothing is left of it."""
    path = path.resolve()  # of a link, the file that it names is the one to replace
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("xb") as file:
        try:
            yield file
            file.close()
            part.replace(path)
        except BaseException:
            file.close()
            part.unlink()
            raise
