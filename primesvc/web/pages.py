"""What browsers are shown: the page, the reference of the API, and the files that all pages load.

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

from primesvc.web.access import FROM_HERE, SEC_FETCH_DEST, SEC_FETCH_MODE, SEC_FETCH_SITE
from primesvc.web.links import path_of
from primesvc.web.streams import send_body

_HTML: Final = "text/html; charset=utf-8"

_STATIC: Final = {
    "handbook.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "reference.css": "text/css; charset=utf-8",
    "reference.js": "text/javascript; charset=utf-8",
    "vendor/swagger-ui/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "vendor/swagger-ui/swagger-ui.css": "text/css; charset=utf-8",
}
"""The files that pages load, with their types; served by the last part of the name."""

# `data:` are the pictures in Swagger UI's style sheet.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class File(NamedTuple):
    """A file as it is sent."""

    body: bytes
    headers: Mapping[str, str]
    tag: str


def html_file(text: str) -> File:
    """A page as it is sent: with the policy that lets it load our own files and nothing else."""
    return _file(text.encode(), _HTML)


def _file(body: bytes, media_type: str) -> File:
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
    return File(body, headers, tag)


def read_static(name: str) -> bytes:
    """A file of the package's `web/static`."""
    return files("primesvc.web").joinpath("static", name).read_bytes()


@cache
def _page(name: str) -> File:
    return _file(read_static(name), _HTML)


@cache
def _page_of_range(*, asks: bool) -> File:
    body = read_static("index.html")
    if asks:
        body = body.replace(b"<html ", b"<html data-asks ", 1)
    file = _file(body, _HTML)
    varies = f"Accept, {SEC_FETCH_SITE}, {SEC_FETCH_MODE}, {SEC_FETCH_DEST}"
    return file._replace(headers={**file.headers, "Vary": varies})


@cache
def _static() -> dict[str, File]:
    return {
        name.rpartition("/")[2]: _file(read_static(name), type_) for name, type_ in _STATIC.items()
    }


@lru_cache(maxsize=16)
def _openapi(prefix: str) -> File:
    document = json.loads(read_static("openapi.json"))
    document["servers"] = [{"url": prefix or "/"}]
    return _file(json.dumps(document).encode() + b"\n", "application/json")


async def get_page(request: web.Request) -> web.StreamResponse:
    """GET /: the page."""
    return await answer(request, _page("index.html"))


async def get_page_of_range(request: web.Request) -> web.StreamResponse:
    """The page at the range of the query, filled in.

    If the user asked for it here, and no page of another site, it is asked for at once.
    """
    asks = request.headers.get(SEC_FETCH_SITE) in FROM_HERE
    return await answer(request, _page_of_range(asks=asks))


async def get_reference(request: web.Request) -> web.StreamResponse:
    """GET /docs/api: the reference of the API."""
    return await answer(request, _page("reference.html"))


async def get_openapi(request: web.Request) -> web.StreamResponse:
    """GET /openapi.json: the description of the API, of where it is mounted."""
    prefix = path_of(request, "openapi").removesuffix("/openapi.json")
    return await answer(request, _openapi(prefix))


async def get_static(request: web.Request) -> web.StreamResponse:
    """GET /static/{name}: a file that a page loads."""
    file = _static().get(request.match_info["name"])
    if file is None:
        raise web.HTTPNotFound
    return await answer(request, file)


async def add_slash(request: web.Request) -> web.Response:
    """A path without its slash: the page is behind it, where its relative addresses are right."""
    # Relative, as nobody knows here what a proxy has cut off.
    location = f"./{request.rel_url.raw_parts[-1]}/"
    if request.rel_url.raw_query_string:
        location += f"?{request.rel_url.raw_query_string}"
    return web.Response(status=308, headers={"Location": location})


async def answer(request: web.Request, file: File) -> web.StreamResponse:
    """Answer with a file, or 304 if the client has it already."""
    known = parse_etags(", ".join(request.headers.getall("If-None-Match", [])))
    if known.contains_weak(file.tag):
        kept = {
            name: file.headers[name]
            for name in ("ETag", "Cache-Control", "Vary")
            if name in file.headers
        }
        return web.Response(status=304, headers=kept)
    return await send_body(request, file.body, file.headers, shared=True)
