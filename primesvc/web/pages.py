"""What browsers are shown: the page, the documentation of the API, and the files they load.

All of it is package data, read once and kept in memory: nothing comes from
anywhere else, so it works with the network off. Every address in it is
relative, so it works under any prefix.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final, NamedTuple

from aiohttp import web
from werkzeug.http import parse_etags

from primesvc.web.links import path_of
from primesvc.web.streams import send_body

_HTML: Final = "text/html; charset=utf-8"

_STATIC: Final = {
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "vendor/swagger-ui/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "vendor/swagger-ui/swagger-ui.css": "text/css; charset=utf-8",
}
"""The files that pages load, with their types; served by the last part of the name."""

# `data:` are the pictures in Swagger UI's style sheet.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class _File(NamedTuple):
    body: bytes
    headers: Mapping[str, str]
    tag: str


def _file(body: bytes, media_type: str) -> _File:
    tag = hashlib.sha256(body).hexdigest()[:32]
    headers = {
        "Content-Type": media_type,
        "ETag": f'"{tag}"',
        # Kept, but asked for again: a new version is seen at once.
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    if media_type == _HTML:
        headers["Content-Security-Policy"] = _POLICY
        headers["Referrer-Policy"] = "same-origin"
    return _File(body, headers, tag)


def _read(name: str) -> bytes:
    return files("primesvc.web").joinpath("static", name).read_bytes()


@cache
def _page(name: str) -> _File:
    return _file(_read(name), _HTML)


@cache
def _static() -> dict[str, _File]:
    return {name.rpartition("/")[2]: _file(_read(name), type_) for name, type_ in _STATIC.items()}


@lru_cache(maxsize=16)
def _openapi(prefix: str) -> _File:
    document = json.loads(_read("openapi.json"))
    document["servers"] = [{"url": prefix or "/"}]
    return _file(json.dumps(document).encode() + b"\n", "application/json")


async def get_page(request: web.Request) -> web.StreamResponse:
    """GET /: the page."""
    return await _answer(request, _page("index.html"))


async def get_docs(request: web.Request) -> web.StreamResponse:
    """GET /docs: the documentation of the API."""
    return await _answer(request, _page("docs.html"))


async def get_openapi(request: web.Request) -> web.StreamResponse:
    """GET /openapi.json: the description of the API, of where it is mounted."""
    prefix = path_of(request, "openapi").removesuffix("/openapi.json")
    return await _answer(request, _openapi(prefix))


async def get_static(request: web.Request) -> web.StreamResponse:
    """GET /static/{name}: a file that a page loads."""
    file = _static().get(request.match_info["name"])
    if file is None:
        raise web.HTTPNotFound
    return await _answer(request, file)


async def add_slash(request: web.Request) -> web.Response:
    """The prefix without a slash: the page is behind it, where its relative addresses are right."""
    # Relative, as nobody knows here what a proxy has cut off.
    location = f"./{request.rel_url.raw_parts[-1]}/"
    if request.rel_url.raw_query_string:
        location += f"?{request.rel_url.raw_query_string}"
    return web.Response(status=308, headers={"Location": location})


async def _answer(request: web.Request, file: _File) -> web.StreamResponse:
    known = parse_etags(", ".join(request.headers.getall("If-None-Match", [])))
    if known.contains_weak(file.tag):
        kept = {name: file.headers[name] for name in ("ETag", "Cache-Control")}
        return web.Response(status=304, headers=kept)
    return await send_body(request, file.body, file.headers, shared=True)
