"""A bare aiohttp handler on uvloop: the same two routes, constant bytes, nothing behind them."""

import asyncio
from typing import Final

import uvloop
from aiohttp import web

_HEADERS: Final = {"Content-Type": "application/json"}
_ID: Final = b'"00000000-0000-5000-8000-000000000000"\n'
_PRIMES: Final = b'"[5, 7, 11]"\n'


async def _submit(_: web.Request) -> web.Response:
    return web.Response(body=_ID, headers=_HEADERS)


async def _get_result(_: web.Request) -> web.Response:
    return web.Response(body=_PRIMES, headers=_HEADERS)


async def _serve() -> None:
    app = web.Application()
    app.add_routes([web.post("/primes", _submit), web.get("/result/{id}", _get_result)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"bare serves on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()  # until a signal ends the process


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _runner.run(_serve())
