"""Fixtures of the downloads: a client that sees bodies as they are sent, and one from far away."""

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Settings, create_app, service_of
from primesvc.web import negotiation
from tests.web.downloads import Downloads


@pytest.fixture
async def downloads(settings: Settings, aiohttp_client: AiohttpClient) -> Downloads:
    """The downloads of an application on a free port."""
    app = create_app(settings)
    return Downloads(await aiohttp_client(app, auto_decompress=False), service_of(app))


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients count as not on this machine: to those that are, nothing is sent coded."""
    monkeypatch.setattr(negotiation, "_is_local", lambda _: False)
