"""Runs the application as a process: listen, say so, wait for a signal, drain, stop."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from typing import Final

from aiohttp import web

from primesvc.app import create_app
from primesvc.settings import Settings
from primesvc.web.keys import service_of

KEEPALIVE_S: Final = 75.0
"""Seconds an idle connection, or one slow with its headers, is kept."""

CUT_S: Final = 5.0
"""Seconds that handlers whose connection was cut have to end."""

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class AddressUnusable(Exception):
    """The address to listen on cannot be used."""

    def __init__(self, settings: Settings, error: OSError | UnicodeError) -> None:
        why = getattr(error, "strerror", None) or str(error)
        super().__init__(
            f"cannot listen on {settings.host} port {settings.port}: {why}; "
            "choose another with --port (0 picks a free one) or --host"
        )


def run(settings: Settings) -> None:
    """Serve until a signal says stop.

    Raises `AddressUnusable` and `EngineUnavailable`.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # not on Windows

    return uvloop.new_event_loop


async def _serve(settings: Settings) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    _on_signals(lambda: hurry.set() if stop.is_set() else stop.set())
    app = create_app(settings)
    runner = web.AppRunner(
        app,
        access_log=logging.getLogger("primesvc.access") if settings.access_log else None,
        keepalive_timeout=KEEPALIVE_S,
        # Later than `_stop` cuts connections: those that aiohttp gives up it forgets,
        # and leaves open if their client takes nothing.
        shutdown_timeout=settings.drain_s + CUT_S,
        handler_cancellation=True,
    )
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except (OSError, UnicodeError) as error:  # a name may be no name at all
            raise AddressUnusable(settings, error) from error
        _announce(runner, app, settings)
        warming = asyncio.create_task(service_of(app).warm_up())
        await stop.wait()
        warming.cancel()
        _say("stopping: answers under way are finished first; again to stop at once")
    finally:
        await _stop(runner, settings.drain_s, hurry)


def _on_signals(act: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        try:
            loop.add_signal_handler(number, act)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))


def _announce(runner: web.AppRunner, app: web.Application, settings: Settings) -> None:
    service = service_of(app)
    host, port = runner.addresses[0][:2]
    host = f"[{host}]" if ":" in host else host
    url = f"http://{host}:{port}"
    _say(
        f"primesvc serves on {url} "
        f"({service.engine.name} {service.engine.version}, {service.workers} workers)"
    )
    _say(f"try: curl -X POST '{url}/primes?start_num=4&end_num=11'")


def _say(what: str) -> None:
    print(what, flush=True)  # noqa: T201 - the command line's own voice


async def _stop(runner: web.AppRunner, drain_s: float, hurry: asyncio.Event) -> None:
    """Let answers under way finish for `drain_s` seconds, less if told to hurry, then cut them."""
    drained = asyncio.create_task(runner.cleanup())
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait({drained, hurried}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not drained.done() and runner.server is not None:
        for connection in runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
    await drained
