"""The client, of the service that `server` is."""

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer

from primesvc import PrimeClient


@pytest.fixture
async def prime_client(server: TestServer) -> AsyncIterator[PrimeClient]:
    """A client of the server."""
    async with PrimeClient(str(server.make_url("/"))) as client:
        yield client
