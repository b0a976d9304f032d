"""Fixtures that many tests share: a service, and its application behind a real server."""

import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pytest_aiohttp.plugin import AiohttpClient, AiohttpServer

from primesvc import PrimeService, Settings, create_app, service_of

# A shell that runs the tests in the background has them ignore Ctrl-C, and with them every
# program they start, those that are to be ended by it too.
signal.signal(signal.SIGINT, signal.default_int_handler)

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def settings() -> Settings:
    """Defaults but for two workers, so that a test means the same on every machine."""
    return Settings(workers=2)


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[PrimeService]:
    """A service that is open during the test, with real worker processes."""
    async with PrimeService(settings) as service:
        yield service


@pytest.fixture
async def client(settings: Settings, aiohttp_client: AiohttpClient) -> TestClient[Any, Any]:
    """A client of the whole application on a free port."""
    return await aiohttp_client(create_app(settings))


@pytest.fixture
async def server(settings: Settings, aiohttp_server: AiohttpServer) -> TestServer:
    """The whole application on a free port, without a client."""
    return await aiohttp_server(create_app(settings))


@pytest.fixture
def there(server: Any) -> PrimeService:
    """The service behind the server."""
    return service_of(server.app)
