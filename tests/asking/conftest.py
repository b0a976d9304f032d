"""Two connections, opened once for a file of tests: to a service of its own, and to a server."""

from collections.abc import Iterator

import pytest
from aiohttp import web
from anyio.from_thread import start_blocking_portal

from primesvc import Connection, RemoteConnection, Settings, connect, create_app

SETTINGS = Settings(workers=2)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the whole application listens: in a thread, for the tests wait for its answers."""
    runner = web.AppRunner(create_app(SETTINGS))

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    with start_blocking_portal() as portal:
        yield portal.call(start)
        portal.call(runner.cleanup)


@pytest.fixture(scope="module")
def remote(address: str) -> Iterator[RemoteConnection]:
    """A connection to a server."""
    with connect(address) as connection:
        yield connection


@pytest.fixture(scope="module", params=["own", "server"])
def primes(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A connection to a service of its own, and one to a server: both are used alike."""
    if request.param == "server":
        yield request.getfixturevalue("remote")
        return
    with connect(settings=SETTINGS) as connection:
        yield connection
