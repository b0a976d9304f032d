"""primesvc: the primes of any range below 2^64, over HTTP or embedded, in one process."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from primesvc.app import create_app
    from primesvc.asking.connect import connect
    from primesvc.asking.connection import Connection
    from primesvc.asking.remote_connection import RemoteConnection
    from primesvc.client.client import PrimeClient
    from primesvc.client.documents import RemoteJob
    from primesvc.errors import PrimesvcError
    from primesvc.jobs.job import Job
    from primesvc.numbers import NumberFacts
    from primesvc.service import PrimeService
    from primesvc.settings import Settings
    from primesvc.sieve.range import Range
    from primesvc.sieve.selection import Selection
    from primesvc.states import State
    from primesvc.web.context import service_of

_HOMES = {
    "Connection": "primesvc.asking.connection",
    "Job": "primesvc.jobs.job",
    "NumberFacts": "primesvc.numbers",
    "PrimeClient": "primesvc.client.client",
    "PrimeService": "primesvc.service",
    "PrimesvcError": "primesvc.errors",
    "Range": "primesvc.sieve.range",
    "RemoteConnection": "primesvc.asking.remote_connection",
    "RemoteJob": "primesvc.client.documents",
    "Selection": "primesvc.sieve.selection",
    "Settings": "primesvc.settings",
    "State": "primesvc.states",
    "connect": "primesvc.asking.connect",
    "create_app": "primesvc.app",
    "service_of": "primesvc.web.context",
}

__all__ = [
    "Connection",
    "Job",
    "NumberFacts",
    "PrimeClient",
    "PrimeService",
    "PrimesvcError",
    "Range",
    "RemoteConnection",
    "RemoteJob",
    "Selection",
    "Settings",
    "State",
    "connect",
    "create_app",
    "service_of",
]


def __getattr__(name: str) -> object:
    # On demand: worker processes import this package too, and neither aiohttp nor the service.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
