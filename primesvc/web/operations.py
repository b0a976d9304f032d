"""What those who run the service ask it."""

from aiohttp import web


async def get_live(request: web.Request) -> web.Response:
    """GET /health/live: the process answers."""
    return web.json_response({"status": "live"}, headers={"Cache-Control": "no-store"})
