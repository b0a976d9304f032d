"""Numbers one by one: GET /numbers/{n} and POST /numbers."""

import dataclasses
import json
from typing import Final

from aiohttp import web

from primesvc.kinds.parameters import read_number
from primesvc.web.bodies import MAX_BODY_BYTES, read_json
from primesvc.web.context import context_of
from primesvc.web.links import path_of
from primesvc.web.negotiation import as_written, wants_strings

MAX_LIST_BYTES: Final = 2_500_000
"""Bytes of a list at the most: 100,000 numbers of 20 digits, each in quotes, fit."""


async def get_number(request: web.Request) -> web.Response:
    """GET /numbers/{n}: everything about one number, written in any form."""
    strings = wants_strings(request)
    number = read_number("n", request.match_info["n"])
    facts = await context_of(request).service.number(number)
    links = {"self": path_of(request, "number", n=str(number))}
    if facts.index is None:
        links["index"] = f"{path_of(request, 'jobs')}?kind=count&start=0&end={number}"
    document = as_written(dataclasses.asdict(facts), strings=strings) | {"links": links}
    return _answer(json.dumps(document).encode() + b"\n")


async def test_numbers(request: web.Request) -> web.Response:
    """POST /numbers: which of up to 100,000 numbers are primes."""
    wants_strings(request)  # it changes nothing here, but wrong it is an error
    service = context_of(request).service
    large = (request.content_length or MAX_LIST_BYTES) > MAX_BODY_BYTES
    with service.buffers.lease(MAX_LIST_BYTES if large else MAX_BODY_BYTES):
        numbers = await service.read_numbers(await read_json(request, max_bytes=MAX_LIST_BYTES))
        verdicts = bytes(await service.are_prime(numbers))
    # As fast as NumPy: `json.dumps` would hold up the event loop for some milliseconds.
    words = verdicts.replace(b"\0", b"false, ").replace(b"\1", b"true, ")
    return _answer(b'{"prime": [' + words[:-2] + b"]}\n")


def _answer(body: bytes) -> web.Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=body, headers=headers)
