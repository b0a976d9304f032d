"""Finds the libraries of Kim Walisch: libprimesieve and libprimecount.

They come in the wheel `passagemath-primesieve-primecount`, whose file names carry a hash
that changes by release, or are installed in the system. Only the libraries are loaded,
never the wheel's Python modules: those install signal handlers.
"""

import ctypes
import ctypes.util
from collections.abc import Iterator
from importlib import metadata
from typing import Final

from primesvc.errors import EngineUnavailable

_WHEEL: Final = "passagemath-primesieve-primecount"


def load_library(name: str) -> ctypes.CDLL:
    """The library of this name, such as `primesieve`. Raises `EngineUnavailable`."""
    reasons = []
    for path in _candidates(name):
        try:
            return ctypes.CDLL(path, use_errno=True)
        except OSError as error:
            reasons.append(str(error))
    why = "; ".join(reasons) or f"neither the package {_WHEEL} nor a system library is installed"
    raise EngineUnavailable(f"lib{name} cannot be loaded: {why}")


def _candidates(name: str) -> Iterator[str]:
    try:
        files = metadata.files(_WHEEL) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name.startswith(f"lib{name}") and (
            ".so" in file.name or file.name.endswith(".dylib")
        ):
            yield str(file.locate())
    system = ctypes.util.find_library(name)
    if system:
        yield system
