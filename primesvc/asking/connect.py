"""connect: the one call with which a script or a notebook begins."""

from typing import TYPE_CHECKING, overload

from primesvc.asking.connection import Connection
from primesvc.asking.progress import Progress
from primesvc.settings import Settings

if TYPE_CHECKING:
    from primesvc.asking.remote_connection import RemoteConnection


@overload
def connect(
    base_url: str,
    *,
    token: str | None = None,
    timeout_s: float = 60.0,
    connect_timeout_s: float = 10.0,
    retries: int = 4,
) -> "RemoteConnection": ...


@overload
def connect(*, settings: Settings | None = None) -> Connection: ...


def connect(
    base_url: str | None = None,
    *,
    settings: Settings | None = None,
    token: str | None = None,
    timeout_s: float = 60.0,
    connect_timeout_s: float = 10.0,
    retries: int = 4,
) -> "RemoteConnection | Connection":
    """An open connection to a service: the one at an address, or without one a service of its own.

    The other arguments are those of `PrimeClient`; a service of its own has `settings`
    instead, and no HTTP. It runs in this process, with worker processes, which
    import the main module of a script again: that needs `if __name__ == "__main__":`.

    Use it in a `with`, or `close` it. Nothing is asked of a service elsewhere yet. Raises
    `ValueError` for an address that is no http or https URL, and `SetupError` if the settings
    cannot be used.
    """
    # Imported here, both: the one needs no workers, the other no HTTP.
    if base_url is None:
        if token is not None:
            raise TypeError("a token is for a service elsewhere: give its address too")
        from primesvc.asking.local import LocalService

        return Connection(LocalService(settings or Settings(), Progress()))
    if settings is not None:
        raise TypeError(f"{base_url} has its own settings: they are for a service of your own")
    from primesvc.asking.remote_connection import RemoteConnection
    from primesvc.client.client import PrimeClient

    client = PrimeClient(
        base_url,
        token=token,
        timeout_s=timeout_s,
        connect_timeout_s=connect_timeout_s,
        retries=retries,
    )
    return RemoteConnection(client)
