"""The load of the hot rows: as many requests as servers answer, from a process of its own.

Run as `python -m tests.benchmarks.load PLAN`, where PLAN is JSON: the servers that are to play,
the number of rounds of each, and the seconds of a round. The servers play in turn, over kept
connections. Prints the rounds of each.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from tests.benchmarks.client import request_bytes
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.servers import ROOT, START_S

CONNECTIONS: Final = 8
"""Kept connections to a server, each with one request at a time under way: enough that it
always has a next one waiting."""

LAST_ANSWER_S: Final = 10.0
"""Seconds after a round in which its last requests must be answered."""


class Target(NamedTuple):
    """A request that is repeated, and the body it must be answered with."""

    port: int
    method: str
    path: str
    body: str


class Round(NamedTuple):
    """What a server answered in a round."""

    requests: int
    seconds: float


def play(targets: Sequence[Target], rounds: int, round_s: float) -> list[list[Round]]:
    """The rounds of each target, played in turn. Raises `BenchmarkError` for a wrong answer."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load", json.dumps([targets, rounds, round_s])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=START_S + rounds * len(targets) * (round_s + LAST_ANSWER_S),
    )
    if done.returncode != 0:
        raise BenchmarkError(f"the load client failed: {done.stderr.strip().splitlines()[-1]}")
    return [[Round(*one) for one in played] for played in json.loads(done.stdout)]


class _Caller(asyncio.Protocol):
    """A connection that, between `begin` and `end`, repeats its request as soon as it is answered.

    Parses nothing, to be cheap: an answer is over when the expected body has come.
    """

    def __init__(self, request: bytes, body: bytes) -> None:
        self._request = request
        self._body = body
        self._received = b""
        self._going = False
        self._idle: asyncio.Future[None]
        self._transport: asyncio.Transport
        self.answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def begin(self) -> None:
        """Send the first request."""
        self._idle = asyncio.get_running_loop().create_future()
        self._going = True
        self._transport.write(self._request)

    def end(self) -> "asyncio.Future[None]":
        """Send no more; done when the last request is answered. Raises `BenchmarkError`."""
        self._going = False
        return self._idle

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        if not data.startswith(b"HTTP/1.1 200 "):
            self._fail(f"expected {self._body!r}, not {data!r}")
        elif not data.endswith(self._body):
            self._received = data
        else:
            self._received = b""
            self.answered += 1
            if self._going:
                self._transport.write(self._request)
            else:
                self._idle.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("a connection was closed")

    def _fail(self, why: str) -> None:
        if not self._idle.done():
            self._idle.set_exception(BenchmarkError(why))


async def _connect(target: Target) -> list[_Caller]:
    loop = asyncio.get_running_loop()
    request = request_bytes(target.method, target.path, target.port)
    return [
        (
            await loop.create_connection(
                lambda: _Caller(request, target.body.encode()), "127.0.0.1", target.port
            )
        )[1]
        for _ in range(CONNECTIONS)
    ]


async def _round(callers: Sequence[_Caller], round_s: float) -> Round:
    loop = asyncio.get_running_loop()
    before = sum(caller.answered for caller in callers)
    began = loop.time()
    for caller in callers:
        caller.begin()
    await asyncio.sleep(round_s)
    async with asyncio.timeout(LAST_ANSWER_S):
        await asyncio.gather(*(caller.end() for caller in callers))
    return Round(sum(caller.answered for caller in callers) - before, loop.time() - began)


async def _play(targets: Sequence[Target], rounds: int, round_s: float) -> list[list[Round]]:
    sides = [await _connect(target) for target in targets]
    played: list[list[Round]] = [[] for _ in sides]
    turn = list(range(len(sides)))
    for _ in range(rounds):
        for side in turn:
            played[side].append(await _round(sides[side], round_s))
        # Who plays first is another one every time.
        turn.append(turn.pop(0))
    return played


def _main(plan: str) -> None:
    import uvloop  # who only starts this process needs none

    targets, rounds, round_s = json.loads(plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        played = runner.run(_play([Target(*target) for target in targets], rounds, round_s))
    print(json.dumps(played))


if __name__ == "__main__":
    _main(sys.argv[1])
