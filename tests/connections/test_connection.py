"""A connection of ours, and aiohttp's that it builds upon."""

import inspect

from aiohttp import web

from primesvc.connections.connection import Connection


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
