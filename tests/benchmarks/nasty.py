"""The nastiest requests there are, sent by many clients at a time from a process of its own.

Run as `python -m tests.benchmarks.nasty PLAN`, where PLAN is JSON: the port, the name of the
requests, the number of clients and the seconds. Each client sends its next request as soon as
the last one is answered. Prints how many were answered, by status.
"""

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.benchmarks.servers import ROOT

TOP: Final = 2**64 - 1

LISTED: Final = 10**8
"""The end of the range whose primes are downloaded; its job is finished before."""

_GIVE_UP_S: Final = 5.0
"""Seconds after the last request was sent in which answers are waited for."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Nasty:
    """A kind of requests, and what they are in words."""

    words: str
    requests: Callable[[random.Random, str], Iterator[Request]]
    """All requests of all clients, given the id of the job up to `LISTED`."""


def _repeated(method: str, path: str, **headers: str) -> Callable[..., Iterator[Request]]:
    """One request again and again; `JOB` in its path is the job."""

    def requests(chance: random.Random, job: str) -> Iterator[Request]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return itertools.repeat(Request(method, path.replace("JOB", job), named))

    return requests


def _waiters(chance: random.Random, job: str) -> Iterator[Request]:
    """Fifty at a time wait for one job, and all are woken at once."""
    for number in itertools.count():
        start = 10**12 + number * 10**10
        path = f"/jobs?kind=count&start={start}&end={start + 10**8}"
        yield from itertools.repeat(Request("POST", path, {"Prefer": "wait=10"}), 50)


def _numbers(chance: random.Random, job: str) -> Iterator[Request]:
    numbers = [chance.randrange(2**63, 2**64) for _ in range(100_000)]
    body = json.dumps({"numbers": numbers}).encode()
    return itertools.repeat(Request("POST", "/numbers", {"Content-Type": "application/json"}, body))


def _large_json(chance: random.Random, job: str) -> Iterator[Request]:
    nested = "[" * 4000 + "]" * 4000
    body = f'{{"kind": "count", "start": 0, "end": 100, "what": {nested}, "pad": "{"x" * 8000}"}}'
    request = Request("POST", "/jobs", {"Content-Type": "application/json"}, body.encode())
    return itertools.repeat(request)


def _byte_ranges(chance: random.Random, job: str) -> Iterator[Request]:
    while True:
        firsts = sorted(chance.randrange(5 * 10**7) for _ in range(64))
        ranges = ",".join(f"{first}-{first + 20}" for first in firsts)
        yield Request("GET", f"/jobs/{job}/primes?format=text", {"Range": f"bytes={ranges}"})


def _pages(chance: random.Random, job: str) -> Iterator[Request]:
    while True:
        offset = chance.randrange(5_700_000)
        yield Request("GET", f"/jobs/{job}/primes?format=json&offset={offset}&limit=10000")


def _cold(chance: random.Random, job: str) -> Iterator[Request]:
    while True:
        end = TOP - chance.randrange(2**50)
        yield Request("POST", f"/primes?start_num={end - 10_000}&end_num={end}")


def _cold_wide(chance: random.Random, job: str) -> Iterator[Request]:
    while True:
        end = TOP - chance.randrange(2**60)
        yield Request("POST", f"/primes?start_num={end - 2**28}&end_num={end}")


def _dry_runs(chance: random.Random, job: str) -> Iterator[Request]:
    while True:
        span = 10**13 - chance.randrange(10**6)
        kind = chance.choice(("primes", "count", "nth", "statistics"))
        what = f"n={span}" if kind == "nth" else f"start={chance.randrange(10**12)}&end={span}"
        yield Request("POST", f"/jobs?dry_run=true&kind={kind}&{what}")


def _counts(chance: random.Random, job: str) -> Iterator[Request]:
    while True:
        end = 10**15 + chance.randrange(10**15)
        yield Request("POST", f"/jobs?kind=count&start={chance.randrange(10**15)}&end={end}")


def _statistics(chance: random.Random, job: str) -> Iterator[Request]:
    path = f"/jobs?kind=statistics&start=0&end={10**7}&modulus=30&bins=2000"
    return itertools.repeat(Request("POST", path, {"Prefer": "wait=10"}))


NASTY: Final = {
    "list": Nasty("`GET /jobs?limit=1000`, 4,096 jobs known", _repeated("GET", "/jobs?limit=1000")),
    "waiters": Nasty("`POST /jobs` of one job by all, woken at once", _waiters),
    "numbers": Nasty("`POST /numbers` with 100,000 numbers near 2^64", _numbers),
    "json": Nasty("`POST /jobs` with 16 kB of nested JSON", _large_json),
    "metrics": Nasty("`GET /metrics`", _repeated("GET", "/metrics")),
    "ranges": Nasty("64 byte ranges of the primes up to 10^8", _byte_ranges),
    "pages": Nasty("pages of 10,000 primes anywhere up to 10^8", _pages),
    "gzip": Nasty(
        "the primes up to 10^8 as gzip",
        _repeated("GET", "/jobs/JOB/primes?format=text", Accept_Encoding="gzip"),
    ),
    "zstd": Nasty(
        "the primes up to 10^8 as zstd",
        _repeated("GET", "/jobs/JOB/primes?format=text", Accept_Encoding="zstd"),
    ),
    "plain": Nasty("the primes up to 10^8 as JSON", _repeated("GET", "/result/JOB")),
    "one-call": Nasty(
        "`GET /primes?start=0&end=1e7`", _repeated("GET", "/primes?start=0&end=10000000")
    ),
    "events": Nasty("event streams of a finished job", _repeated("GET", "/jobs/JOB/events")),
    "cold": Nasty("`POST /primes` of 10,000 numbers near 2^64, each another", _cold),
    "cold-wide": Nasty("`POST /primes` of 2^28 numbers near 2^64, each another", _cold_wide),
    "counts": Nasty("`POST /jobs` of counts of 10^15 numbers, each another", _counts),
    "dry-runs": Nasty("dry runs of the widest ranges, of all kinds", _dry_runs),
    "statistics": Nasty("statistics in 2,000 bins", _statistics),
    "docs": Nasty("`GET /docs/http`", _repeated("GET", "/docs/http")),
    "openapi": Nasty("`GET /openapi.json`", _repeated("GET", "/openapi.json")),
}
"""By name."""


def start(port: int, name: str, job: str, clients: int, seconds: float) -> "subprocess.Popen[str]":
    """A process that sends these requests; it prints how many answers had which status."""
    plan = json.dumps([port, name, job, clients, seconds])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.nasty", plan],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


async def _send(port: int, name: str, job: str, clients: int, seconds: float) -> Counter[str]:
    import aiohttp  # who only starts this process needs none

    answered: Counter[str] = Counter()
    requests = NASTY[name].requests(random.Random(1), job)  # noqa: S311 - no secret
    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds

    async def client(session: aiohttp.ClientSession) -> None:
        while loop.time() < until_s:
            one = next(requests)
            url = f"http://127.0.0.1:{port}{one.path}"
            try:
                async with session.request(
                    one.method, url, headers=one.headers, data=one.body
                ) as answer:
                    async for _ in answer.content.iter_any():
                        pass
                    answered[str(answer.status)] += 1
            except (aiohttp.ClientError, OSError) as error:
                answered[type(error).__name__] += 1

    # Of its own, for what a session cannot do: each client has one connection.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        tasks = [asyncio.create_task(client(session)) for _ in range(clients)]
        _, late = await asyncio.wait(tasks, timeout=seconds + _GIVE_UP_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
            answered["unfinished"] += len(late)
    return answered


def _main(plan: str) -> None:
    if hasattr(os, "nice"):
        os.nice(10)  # clients elsewhere would not take processors from the server
    answered = asyncio.run(_send(*json.loads(plan)))
    print(json.dumps(answered))


if __name__ == "__main__":
    _main(sys.argv[1])
