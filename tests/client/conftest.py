"""Fixtures of the client: a service on a free port, and a client of it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from pytest_aiohttp.plugin import AiohttpServer

from primesvc import PrimeClient, PrimeService, Settings, create_app, service_of


@pytest.fixture
async def server(settings: Settings, aiohttp_server: AiohttpServer) -> TestServer:
    """The whole application on a free port."""
    return await aiohttp_server(create_app(settings))


@pytest.fixture
def there(server: Any) -> PrimeService:
    """The service behind the server."""
    return service_of(server.app)


@pytest.fixture
async def prime_client(server: TestServer) -> AsyncIterator[PrimeClient]:
    """A client of the server."""
    async with PrimeClient(str(server.make_url("/"))) as client:
        yield client
