"""How long a cheap request waits while many clients send the nastiest ones there are."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final, NamedTuple

from tests.benchmarks import nasty
from tests.benchmarks.client import Client, range_path
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.rows.base import Outcome, Row, Sizes
from tests.benchmarks.samples import duration, p99, percentile
from tests.benchmarks.servers import primesvc

CLIENTS: Final = 50

EVERY_S: Final = 0.01
"""Seconds from one cheap request to the next, due whether the last one was answered or not."""

_PROBES: Final = 64
"""Cheap requests that may wait at a time."""

_KNOWN_JOBS: Final = 4096

_WARM_UP_S: Final = 0.5
"""Seconds until the nasty clients are there."""


class _Waits(NamedTuple):
    """What came of one kind of requests."""

    words: str
    seconds: list[float]
    answers: str

    def __str__(self) -> str:
        figures = (duration(percentile(self.seconds, 50)), duration(p99(self.seconds)))
        cells = (self.words, duration(max(self.seconds)), *figures[::-1], self.answers)
        return f"| {' | '.join(cells)} |"


def _probe(port: int, seconds: float) -> list[float]:
    """Seconds that cheap requests wait, each from when it was due, on a connection of its own."""
    path = range_path(4, 11)
    mine = threading.local()
    with ExitStack() as stack, ThreadPoolExecutor(_PROBES) as pool:

        def ask(due: float) -> float:
            if not hasattr(mine, "client"):
                mine.client = stack.enter_context(Client(port))
            if mine.client.request("POST", path).status != 200:
                raise BenchmarkError(f"POST {path} was refused")
            return time.perf_counter() - due

        ask(time.perf_counter())
        due = began = time.perf_counter()
        asked = []
        while due < began + seconds:
            time.sleep(max(due - time.perf_counter(), 0.0))
            asked.append(pool.submit(ask, due))
            due += EVERY_S
        return [one.result() for one in asked]


def _measure_one(name: str, seconds: float) -> _Waits:
    """With a fresh service each: what one leaves behind is not to be another's."""
    with primesvc() as server, Client(server.port) as client:
        job = client.compute(0, nasty.LISTED, poll="HEAD", pause_s=0.01).job_id
        if name == "list":
            for number in range(_KNOWN_JOBS):
                client.submit(2**40 + number * 2**10, 2**40 + number * 2**10 + 100)
        if name == "nothing":
            return _Waits("nothing", _probe(server.port, seconds), "")
        with nasty.start(server.port, name, job, CLIENTS, seconds + _WARM_UP_S) as sender:
            time.sleep(_WARM_UP_S)
            waits = _probe(server.port, seconds)
            said, _ = sender.communicate()
        if sender.returncode:
            raise BenchmarkError(f"the clients of {name} failed")
    answers = ", ".join(f"{count:,} of {status}" for status, count in json.loads(said).items())
    return _Waits(nasty.NASTY[name].words, waits, answers)


def _measure(sizes: Sizes) -> Outcome:
    waits = [_measure_one(name, sizes.nasty_s) for name in ("nothing", *nasty.NASTY)]
    worst = max(waits, key=lambda one: max(one.seconds))
    return Outcome(
        ours=f"{duration(max(worst.seconds))} beside {worst.words}",
        peer=f"{duration(max(waits[0].seconds))}",
        figure=max(worst.seconds),
        notes=["| beside | worst | p99 | median | answers |", *map(str, waits)],
    )


WORST_WAITS = Row(
    name="worst-waits",
    work=f"a cheap request every 10 ms while {CLIENTS} clients send the nastiest",
    peer="beside nothing",
    target=1.0,
    at_most=True,
    unit=" s",
    extra=True,
    measure=_measure,
)
