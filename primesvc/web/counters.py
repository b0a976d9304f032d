"""What the HTTP face counts: plain numbers, which `metrics` reads when somebody scrapes it.

Every request passes here, so a count takes nanoseconds.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

UNMATCHED: Final = "none"
"""The route of requests for what does not exist: their paths are the clients' own inventions."""

Counts = defaultdict[int, int]
"""How many requests were answered, by status."""


class Counters:
    """The counts of one application."""

    __slots__ = ("_none_open", "_routes", "downloads", "sent_bytes")

    def __init__(self) -> None:
        self._routes: list[tuple[web.AbstractRoute | None, Counts]] = []
        self.sent_bytes = 0
        """Bytes of bodies, as they were handed to the transport."""
        self.downloads = 0
        """How many files are being sent."""
        self._none_open = asyncio.Event()
        self._none_open.set()

    def watch(self, counts: Counts, route: web.AbstractRoute | None) -> None:
        """Report these counts as those of a route; None for requests that no route takes."""
        self._routes.append((route, counts))

    def requests(self) -> Iterator[tuple[str, str, int, int]]:
        """Method, canonical path of the route, status, and how many requests were answered so.

        HEAD is counted with GET.
        """
        for (method, path), counts in self._by_route().items():
            for status, number in counts.items():
                yield method, path, status, number

    def _by_route(self) -> dict[tuple[str, str], Counts]:
        # Only now: an application that is mounted has its prefix since then.
        merged: dict[tuple[str, str], Counts] = {}
        for route, counts in self._routes:
            key = ("", UNMATCHED)
            if route is not None and route.resource is not None:
                key = (route.method, route.resource.canonical)
            into = merged.setdefault(key, Counts(int))
            for status, number in counts.items():
                into[status] += number
        return merged

    @contextmanager
    def download(self) -> Iterator[None]:
        """Count a file as being sent meanwhile."""
        self.downloads += 1
        self._none_open.clear()
        try:
            yield
        finally:
            self.downloads -= 1
            if not self.downloads:
                self._none_open.set()

    async def downloads_ended(self) -> None:
        """Wait until no file is being sent."""
        await self._none_open.wait()
