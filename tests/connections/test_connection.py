"""A connection of ours, and aiohttp's that it builds upon."""

import asyncio
import inspect

from aiohttp import ClientSession, web

from primesvc.connections import Guard, protocol_factory
from primesvc.connections.connection import Connection
from tests.helpers import eventually


def test_nothing_of_ours_hides_what_is_private_there() -> None:
    """Whatever both classes have has a public name there: a version that adds one fails here."""
    inherited = {name for base in web.RequestHandler.__mro__ for name in vars(base)}
    shared = {name for name in vars(Connection) if name in inherited and not name.startswith("__")}
    assert shared == {
        "connection_lost",
        "connection_made",
        "data_received",
        "eof_received",
        "handle_error",
        "log_access",
        "resume_writing",
    }


def test_what_it_uses_of_aiohttp_is_there() -> None:
    """Named one by one, so that a version that lacks one says so."""
    for name in ("close", "writing_paused", *vars(Connection).keys() & vars(web.RequestHandler)):
        assert hasattr(web.RequestHandler, name), name
    options = inspect.signature(web.RequestHandler).parameters
    for name in ("access_log", "auto_decompress", "keepalive_timeout", "lingering_time", "loop"):
        assert name in options, name
    assert "handler_cancellation" in inspect.signature(web.Server).parameters
    assert "request_factory" in inspect.signature(web.Server).parameters


async def test_it_learns_where_a_request_begins_and_ends() -> None:
    """Without an access log too: aiohttp makes the call all the same that tells of the end."""
    told: list[tuple[Connection, bool]] = []

    async def handle(request: web.Request) -> web.Response:
        connection = request.protocol
        assert isinstance(connection, Connection)
        told.append((connection, connection.request is request))
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", handle)])
    runner = web.AppRunner(app)
    await runner.setup()
    assert runner.server is not None
    with Guard(1, stall_timeout_s=60) as guard:
        protocols = protocol_factory(runner.server, guard, access_log=None)
        listener = await asyncio.get_running_loop().create_server(protocols, "127.0.0.1", 0)
        async with listener, ClientSession() as client:
            host, port = listener.sockets[0].getsockname()
            async with client.get(f"http://{host}:{port}/"):
                pass
            [(connection, begun)] = told
            assert begun
            await eventually(lambda: connection.request is None and connection.ended_s > 0)
    await runner.cleanup()
