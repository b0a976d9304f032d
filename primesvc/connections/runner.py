"""Runs an application as aiohttp's runner does, with guarded connections."""

from typing import Any

from aiohttp import web

from primesvc.connections.connection import Connection
from primesvc.connections.guard import Guard


class GuardedServer(web.Server):
    """Makes the connections: `options` are those of `web.RequestHandler`."""

    def __init__(self, server: web.Server, guard: Guard, options: dict[str, Any]) -> None:
        super().__init__(
            server.request_handler,
            request_factory=server.request_factory,
            # Who leaves is not worked for.
            handler_cancellation=True,
        )
        self._guard = guard
        self._options = options

    def __call__(self) -> Connection:
        """A connection that is about to be made."""
        return Connection(self, self._guard, loop=self._loop, **self._options)


class GuardedRunner(web.AppRunner):
    """`web.AppRunner` with a guard."""

    __slots__ = ("_guard", "_options")

    def __init__(
        self, app: web.Application, guard: Guard, *, shutdown_timeout: float, **options: Any
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._guard = guard
        self._options = options

    async def _make_server(self) -> web.Server:
        # What aiohttp makes holds nothing yet, and knows how to handle a request.
        return GuardedServer(await super()._make_server(), self._guard, self._options)
