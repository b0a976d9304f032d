"""One line a request, as text or as JSON.

aiohttp's own access log costs 34 µs a request, a record of `logging` alone 3 µs;
a line here costs 2 µs. Where a stream is given, lines go to it as they are,
a batch at a time; else each is handed to the logger `primesvc.access`.
"""

import asyncio
import contextlib
import logging
import re
from json.encoder import encode_basestring_ascii as quoted
from time import perf_counter, time
from typing import Final, TextIO

from aiohttp import web

from primesvc.logs import iso_second
from primesvc.web.forwarded import UNIX, client_address

log = logging.getLogger("primesvc.access")

FLUSH_S: Final = 0.1
"""Seconds for which lines are collected: a write for each would cost as much as
all the rest of it."""

_TOKEN: Final = re.compile("([?&](?:access_)?token=)[^&]*", re.IGNORECASE)
"""A token in the query: not read from there (RFC 6750, 2.3), but some send it so."""

_MILLIS: Final = tuple(f".{millis:03d}Z" for millis in range(1001))


class AccessLog:
    """The log of one application's requests, in the form `text` or `json`. Close it in the end."""

    def __init__(self, form: str, stream: TextIO | None, *, trust_forwarded: bool = False) -> None:
        self._json = form == "json"
        self._stream = stream
        self._trust_forwarded = trust_forwarded
        self._lines: list[str] = []
        # Unix time is `perf_counter` and this; looked at anew with every batch.
        self._offset_s = time() - perf_counter()
        self._second = 0
        self._stamp = ""

    def note(
        self,
        request: web.Request,
        method: str,
        status: int,
        sent_bytes: int,
        began_s: float,
        request_id: str,
    ) -> None:
        """Log a request that began at `began_s` on `perf_counter`; `sent_bytes` are of the body.

        What clients chose is quoted, so that none of it reads as another line.
        """
        ended_s = perf_counter()
        micros = int((ended_s - began_s) * 1e6)
        now_s = ended_s + self._offset_s
        second = int(now_s)
        if second != self._second:
            self._second, self._stamp = second, iso_second(second)
        stamp = self._stamp + _MILLIS[int((now_s - second) * 1e3)]
        if self._trust_forwarded:
            client = client_address(request, trust_forwarded=True)
        else:
            peer = request.protocol.peername
            client = peer[0] if type(peer) is tuple else UNIX
        raw_path = request.raw_path
        if "oken=" in raw_path or "OKEN=" in raw_path:
            raw_path = _TOKEN.sub(r"\1***", raw_path)
        path = quoted(raw_path)
        if self._json:
            line = (
                f'{{"time":"{stamp}","level":"INFO","logger":"primesvc.access",'
                f'"client":"{client}","method":"{method}","path":{path},"status":{status},'
                f'"sent_bytes":{sent_bytes},"duration_us":{micros},"request_id":"{request_id}"}}\n'
            )
        else:
            line = (
                f'{stamp} INFO {client} "{method} {path[1:]} {status} '
                f"{sent_bytes}B {micros}us {request_id}\n"
            )
        if self._stream is None:
            # In text the time and the level are the record's.
            log.info("%s", line[:-1] if self._json else line[:-1].split(" ", 2)[2])
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)
        self._lines.append(line)

    def _flush(self) -> None:
        self._offset_s = time() - perf_counter()
        lines, self._lines = self._lines, []
        # Nobody may read it any more: that is no reason to stop serving.
        with contextlib.suppress(OSError, ValueError):
            if self._stream is not None and lines:
                self._stream.write("".join(lines))
                self._stream.flush()

    def close(self) -> None:
        """Write what is collected."""
        self._flush()
