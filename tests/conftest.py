"""Fixtures that many tests share, and how the tests are run: in how many processes, how long."""

import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import hypothesis
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pytest_aiohttp.plugin import AiohttpClient, AiohttpServer

from primesvc import PrimeService, Settings, create_app, service_of
from primesvc.cli import main
from tests.program import Here

# A shell that runs the tests in the background has them ignore Ctrl-C, and with them every
# program they start, those that are to be ended by it too.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # which `nohup` does
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes tells what else the machine does, not what is wrong.
# And the same cases are tried each time: to look for others is what the long search is for.
hypothesis.settings.register_profile(
    "unhurried",
    deadline=None,
    derandomize="PRIMESVC_TEST_EXAMPLES" not in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("unhurried")

Client = TestClient[web.Request, web.Application]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `-n auto`: how many processes share the tests.

    Two a processor, as tests wait a lot, but no crowd. None beside this one for what measures
    or takes the whole machine (`-m slow`), and for what is named: it is about to be debugged.
    """
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if named or config.option.markexpr in ("slow", "benchmark"):
        return 0
    return min(2 * (os.cpu_count() or 1), 16)


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
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """Runs the program in this process, where it starts sooner: code, output, errors."""

    def run_here(*arguments: str, **variables: str) -> tuple[int, str, str]:
        for name in os.environ:
            if name.startswith("PRIMESVC_"):
                monkeypatch.delenv(name)
        for name, text in variables.items():
            monkeypatch.setenv(name, text)
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse has its own way
            code = int(end.code or 0)
        return code, *capfd.readouterr()

    return run_here


@pytest.fixture
async def server(settings: Settings, aiohttp_server: AiohttpServer) -> TestServer:
    """The whole application on a free port, without a client."""
    return await aiohttp_server(create_app(settings))


@pytest.fixture
def there(server: Any) -> PrimeService:
    """The service behind the server."""
    return service_of(server.app)
