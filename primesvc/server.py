"""Runs the application as a process: listen, say so, wait for a signal, drain, stop."""

import asyncio
import errno
import gc
import os
import shlex
import signal
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from primesvc.app import create_app
from primesvc.connections import Guard, protocol_factory, room_for
from primesvc.errors import WorkersUnavailable
from primesvc.service import PrimeService
from primesvc.settings import Settings
from primesvc.thread import in_thread
from primesvc.web.context import context_in, service_of

KEEPALIVE_S: Final = 75.0
"""Seconds an idle connection is kept."""

LINGER_S: Final = 2.0
"""Seconds for which a body that nobody wanted is read on, so that its sender gets the answer."""

BACKLOG: Final = 1024
"""Connections that wait to be accepted: of more, which a crowd is, some come a second late."""

FETCH_S: Final = 2.0
"""Seconds that those who waited for a job have to come for its result: they ask once a second."""

CUT_S: Final = 5.0
"""Seconds that handlers whose connection was cut have to end."""

START_AGAIN_S: Final = 5.0
"""Seconds until workers that could not be started are started again."""

Address = tuple[socket.AddressFamily, Any]
"""A family, and what `bind` takes."""


class AddressUnusable(Exception):
    """The address, or the path, to listen on cannot be used."""

    def __init__(self, settings: Settings, error: Exception) -> None:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if settings.unix_socket:
            where, instead = settings.unix_socket, "choose another with --unix-socket"
        else:
            where = f"{settings.host} port {settings.port}"
            instead = "choose another with --port (0 picks a free one) or --host"
        super().__init__(f"cannot listen on {where}: {why}; {instead}")


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
    _on_signals(stop, hurry)
    addresses = await _addresses(settings)
    listens_on = [str(address[0]) for _, address in addresses]
    app = create_app(settings, listens_on=listens_on, log_to=sys.stderr)
    guard = Guard(room_for(settings.max_connections), stall_timeout_s=settings.stall_timeout_s)
    runner = web.AppRunner(
        app,
        handler_cancellation=True,  # who leaves is not worked for
        # Later than `_stop` cuts connections: those that aiohttp gives up it forgets,
        # and leaves open if their client takes nothing.
        shutdown_timeout=settings.drain_s + CUT_S,
    )
    listeners: list[asyncio.Server] = []
    with ExitStack() as stack:
        stack.enter_context(guard)
        try:
            if not await _set_up(runner, stop):
                return
            # Where descriptors are short no more are accepted in one go than there are of them.
            is_short = guard.limit < settings.max_connections
            backlog = min(BACKLOG, guard.limit) if is_short else BACKLOG
            await _listen(listeners, _protocols(runner, guard), settings, addresses, backlog)
            if settings.unix_socket:
                stack.callback(_remover(Path(settings.unix_socket)))
            gc.collect()
            gc.freeze()  # what the program itself takes need not be looked through again
            _announce(listeners[0], app, settings)
            warming = asyncio.create_task(_keep_warm(service_of(app)))
            await stop.wait()
            warming.cancel()
            service_of(app).drain()
            _say("stopping: answers under way are finished first; again to stop at once")
        finally:
            await _stop(runner, listeners, app, settings.drain_s, hurry)


async def _set_up(runner: web.AppRunner, stop: asyncio.Event) -> bool:
    """Open the service, unless told to stop meanwhile: a journal's file system may not answer."""
    opening = asyncio.create_task(runner.setup())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({opening, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if opening.done():
        await opening
        return True
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    return False


def _protocols(runner: web.AppRunner, guard: Guard) -> Callable[[], asyncio.Protocol]:
    assert runner.server is not None  # noqa: S101 - it is set up
    return protocol_factory(
        runner.server,
        guard,
        access_log=None,  # aiohttp's own would halve the requests/s
        auto_decompress=False,  # no body is read that is coded
        keepalive_timeout=KEEPALIVE_S,
        lingering_time=LINGER_S,
    )


async def _keep_warm(service: PrimeService) -> None:
    """Start the workers before they are needed, and again whenever they cannot be started."""
    while True:
        with suppress(WorkersUnavailable):  # that is logged
            await service.warm_up()
        await asyncio.sleep(START_AGAIN_S)


async def _addresses(settings: Settings) -> list[Address]:
    """The addresses that the host to listen on stands for; none behind a Unix socket."""
    if settings.unix_socket:
        return []
    # Not the loop's own: libuv ends the process where it cannot start threads for it.
    look_up = partial(socket.getaddrinfo, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        found = await in_thread("resolver", look_up, settings.host, settings.port)
    except (OSError, UnicodeError) as error:  # a name may be no name at all
        raise AddressUnusable(settings, error) from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


async def _listen(
    listeners: list[asyncio.Server],
    protocols: Callable[[], asyncio.Protocol],
    settings: Settings,
    addresses: list[Address],
    backlog: int,
) -> None:
    loop = asyncio.get_running_loop()
    path = settings.unix_socket
    try:
        if path:
            _remove_stale(path)
            listeners.append(await loop.create_unix_server(protocols, path, backlog=backlog))
        for family, address in addresses:
            bound = _bound(family, address)
            listeners.append(await loop.create_server(protocols, sock=bound, backlog=backlog))
    except OSError as error:
        raise AddressUnusable(settings, error) from error


def _bound(family: socket.AddressFamily, address: Any) -> socket.socket:
    """A socket at an address, and at no other: one for IPv6 may stand for IPv4 too."""
    with ExitStack() as stack:
        bound = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        bound.setblocking(False)
        if sys.platform != "win32":  # there it would let others take the address over
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        stack.pop_all()
        return bound


def _remove_stale(path: str) -> None:
    """Remove a socket that a killed server left. Raises `OSError` if somebody answers on it."""
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, "there are no Unix sockets here")
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return  # the bind says what is wrong
    with socket.socket(socket.AF_UNIX) as probe, suppress(BlockingIOError):
        probe.setblocking(False)  # too many may wait there to be let in: somebody listens
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise OSError(errno.EADDRINUSE, "another process listens there")


def _remover(path: Path) -> Callable[[], None]:
    """What removes our socket in the end, unless another one has taken its place by then."""
    ours = path.stat().st_ino

    def remove() -> None:
        with suppress(FileNotFoundError):
            if path.stat().st_ino == ours:
                path.unlink()

    return remove


def _on_signals(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """SIGINT and SIGTERM stop, the second one at once; a terminal that hangs up stops, too."""
    loop = asyncio.get_running_loop()

    def act() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))
        else:
            loop.add_signal_handler(number, act)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # Ignored, as by `nohup`, it stays so. The shell and the kernel may both send one.
        loop.add_signal_handler(signal.SIGHUP, stop.set)


def _announce(listener: asyncio.Server, app: web.Application, settings: Settings) -> None:
    service = service_of(app)
    where, how = settings.unix_socket, ""
    url = "http://localhost"
    if where:
        how = f"--unix-socket {shlex.quote(where)} "
    else:
        where = url = _url(listener.sockets[0].getsockname())
    engine, primecount = service.engine, service.engine.primecount
    engines = [f"{engine.name} {engine.version}"]
    if primecount is not None:
        engines.append(f"{primecount.name} {primecount.version}")
    _say(f"primesvc serves on {where} ({', '.join(engines)}, {service.workers} workers)")
    if settings.token:
        how += '-H "Authorization: Bearer $PRIMESVC_TOKEN" '
    _say(f"try: curl {how}-X POST '{url}/primes?start_num=4&end_num=11'")


def _url(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """The URL of a socket's address; an address that is one of a link alone names it (RFC 6874)."""
    host, port = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    return f"http://[{host.replace('%', '%25')}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say(what: str) -> None:
    try:
        print(what, flush=True)  # noqa: T201 - the command line's own voice
    except OSError:
        # Nobody reads it, which is no reason to stop serving; but Python holds what it could
        # not write, and would try again in the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


async def _stop(
    runner: web.AppRunner,
    listeners: list[asyncio.Server],
    app: web.Application,
    drain_s: float,
    hurry: asyncio.Event,
) -> None:
    """Let answers under way finish for `drain_s` seconds, less if told to hurry, then cut them.

    Until then it listens on: whoever asks whether it is ready is told no, and
    whoever waited for a job that ended meanwhile gets the result.
    """
    clock = asyncio.get_running_loop().time
    until_s = clock() + drain_s
    settled = asyncio.create_task(_settle(app, drain_s))
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait({settled, hurried}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
    settled.cancel()
    for listener in listeners:
        listener.close()
    drained = asyncio.create_task(runner.cleanup())
    await asyncio.wait(
        {drained, hurried}, timeout=max(until_s - clock(), 0), return_when=asyncio.FIRST_COMPLETED
    )
    hurried.cancel()
    if not drained.done() and runner.server is not None:
        for connection in runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
    await drained


async def _settle(app: web.Application, within_s: float) -> None:
    """Until no file is being sent and no job is about to end."""
    if not service_of(app).closed and await service_of(app).settle(within_s):
        await asyncio.sleep(FETCH_S)
    await context_in(app).counters.downloads_ended()
