"""The load of the hot rows: as many requests as a server answers, from a process of its own.

Run as `python -m tests.benchmarks.load PORT METHOD PATH BODY SECONDS`; prints how many were
answered with 200 and BODY, and in how many seconds.
"""

import asyncio
import json
import subprocess
import sys
from typing import Final, NamedTuple, cast

from tests.benchmarks.client import request_bytes
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.servers import ROOT, START_S

CONNECTIONS: Final = 8
"""Kept connections, each with one request at a time under way: enough that the server always
has a next one waiting."""


class Load(NamedTuple):
    """What a server was able to answer."""

    requests: int
    seconds: float


def run_load(port: int, method: str, path: str, body: bytes, seconds: float) -> Load:
    """Load a server for so many seconds. Raises `BenchmarkError` if it answers anything else."""
    command = [sys.executable, "-m", "tests.benchmarks.load"]
    arguments = [str(port), method, path, body.decode(), str(seconds)]
    done = subprocess.run(
        command + arguments, cwd=ROOT, capture_output=True, text=True, timeout=seconds + START_S
    )
    if done.returncode != 0:
        raise BenchmarkError(f"the load client failed: {done.stderr.strip().splitlines()[-1]}")
    return Load(*json.loads(done.stdout))


class _Caller(asyncio.Protocol):
    """One connection; sends the same request again as soon as it is answered.

    Parses nothing: an answer is over when the expected body has come.
    """

    def __init__(self, request: bytes, body: bytes) -> None:
        self._request = request
        self._body = body
        self._begun = b""
        self.answered = 0
        self.wrong: bytes | None = None
        """What came that was not expected."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._begun:
            data = self._begun + data
        if not data.startswith(b"HTTP/1.1 200 "):
            self.wrong = data
            self._transport.close()
        elif data.endswith(self._body):
            self._begun = b""
            self.answered += 1
            self._transport.write(self._request)
        else:
            self._begun = data

    def connection_lost(self, exc: Exception | None) -> None:
        if self.wrong is None:
            self.wrong = b"the connection was closed"


async def _load(port: int, request: bytes, body: bytes, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    callers = []
    began = loop.time()
    for _ in range(CONNECTIONS):
        _, caller = await loop.create_connection(lambda: _Caller(request, body), "127.0.0.1", port)
        callers.append(caller)
    await asyncio.sleep(seconds)
    elapsed = loop.time() - began
    for caller in callers:
        if caller.wrong is not None or caller.answered == 0:
            raise BenchmarkError(f"expected {body!r}, not {caller.wrong!r}")
    return Load(sum(caller.answered for caller in callers), elapsed)


def _main(port: str, method: str, path: str, body: str, seconds: str) -> None:
    import uvloop  # the rows that start this process need none

    request = request_bytes(method, path, int(port))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load = runner.run(_load(int(port), request, body.encode(), float(seconds)))
    print(json.dumps(load))


if __name__ == "__main__":
    _main(*sys.argv[1:])
