"""libprimesieve through ctypes: the fastest sieve there is.

https://github.com/kimwalisch/primesieve, C API in `primesieve.h`; see `libraries` for
where it is found.
"""

import ctypes
import errno
import weakref
from typing import Final

import numpy as np
from numpy.typing import NDArray

from primesvc.errors import EngineOutOfMemory
from primesvc.sieve.cost import PRIMESIEVE
from primesvc.sieve.libraries import load_library
from primesvc.sieve.primecount import Primecount, find_primecount
from primesvc.sieve.selection import ALL, Selection

_UINT64_PRIMES: Final = 13  # primesieve.h: enum { ..., UINT64_PRIMES = 13 }
_COUNT_ERROR: Final = 2**64 - 1  # primesieve.h: PRIMESIEVE_ERROR

_COUNTED: Final = ("twins", "triplets", "quadruplets", "quintuplets", "sextuplets")
"""The constellations that the library counts."""


def _load() -> ctypes.CDLL:
    library = load_library("primesieve")
    library.primesieve_generate_primes.restype = ctypes.c_void_p
    library.primesieve_generate_primes.argtypes = [
        ctypes.c_uint64,
        ctypes.c_uint64,
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.c_int,
    ]
    for counted in ("primes", *_COUNTED):
        counter = getattr(library, f"primesieve_count_{counted}")
        counter.restype = ctypes.c_uint64
        counter.argtypes = [ctypes.c_uint64, ctypes.c_uint64]
    library.primesieve_free.restype = None
    library.primesieve_free.argtypes = [ctypes.c_void_p]
    library.primesieve_set_num_threads.restype = None
    library.primesieve_set_num_threads.argtypes = [ctypes.c_int]
    library.primesieve_version.restype = ctypes.c_char_p
    library.primesieve_version.argtypes = []
    return library


class PrimesieveEngine:
    """The engine on libprimesieve, one thread a call; ctypes releases the GIL meanwhile.

    Within [0, 2^64 - 1] nothing but a want of memory makes it fail: `EngineOutOfMemory`.

    Raises `EngineUnavailable` where the library cannot be loaded.
    """

    name = "primesieve"
    cost = PRIMESIEVE

    def __init__(self) -> None:
        self._library = _load()
        # The pool of worker processes is the parallelism; the setting is process-wide.
        self._library.primesieve_set_num_threads(1)
        self.version: str = self._library.primesieve_version().decode()
        self.primecount: Primecount | None = find_primecount()

    def primes(self, start: int, end: int) -> NDArray[np.uint64]:
        """The primes of the closed range [start, end], ascending, shape (n,).

        Ask for pieces of a few million numbers: 10^9 at once takes 1.0 s on one
        core, most of it page faults, in pieces of 2^22 0.26 s.
        """
        size = ctypes.c_size_t()
        ctypes.set_errno(0)
        address = self._library.primesieve_generate_primes(
            start, end, ctypes.byref(size), _UINT64_PRIMES
        )
        # NULL is also the answer for a range without primes; errno tells them apart.
        if ctypes.get_errno() == errno.EDOM:
            raise EngineOutOfMemory(f"libprimesieve could not list the primes of {start}..{end}")
        if not address:
            return np.empty(0, np.uint64)
        # Not copied, which would take as much memory again: freed with the last array of it.
        source = (ctypes.c_uint64 * size.value).from_address(address)
        weakref.finalize(source, self._library.primesieve_free, address).atexit = False
        return np.frombuffer(memoryview(source), np.uint64)

    def count(self, start: int, end: int) -> int:
        """How many primes the closed range [start, end] holds."""
        return self.count_selected(ALL, start, end)

    def counts(self, selection: Selection) -> bool:
        """Whether the library counts them: all primes, and named constellations."""
        return selection.modulus == 1 and selection.pattern in ("", *_COUNTED)

    def count_selected(self, selection: Selection, start: int, end: int) -> int:
        """How many primes, or constellations, lie in the closed range [start, end]."""
        return self._count(selection.pattern or "primes", start, end)

    def _count(self, what: str, start: int, end: int) -> int:
        ctypes.set_errno(0)
        found: int = getattr(self._library, f"primesieve_count_{what}")(start, end)
        if found == _COUNT_ERROR or ctypes.get_errno() == errno.EDOM:
            raise EngineOutOfMemory(f"libprimesieve could not count the {what} of {start}..{end}")
        return found

    def __repr__(self) -> str:
        return f"<PrimesieveEngine {self.version}>"
