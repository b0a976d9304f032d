"""The processes as a whole: how much memory they take, and how soon they answer."""

import time
from statistics import median

from tests.benchmarks.client import Client
from tests.benchmarks.commands import download
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.known import contract_bytes
from tests.benchmarks.memory import Peak, watched
from tests.benchmarks.rows.base import CURL, SMAPS, Outcome, Row, Sizes
from tests.benchmarks.samples import duration, megabytes
from tests.benchmarks.servers import primesvc

_WATCH_S = 3.0
"""Seconds to watch at least: a small result is downloaded again until then, or its peak would
lie between two samples."""


def _peak(exponent: int) -> Peak:
    """The peak while a fresh service computes and sends the primes up to 10^exponent."""
    with primesvc() as server, watched(server.process.pid) as peak:
        began = time.monotonic()
        with Client(server.port) as client:
            job = client.compute(0, 10**exponent, poll="HEAD", pause_s=0.01)
        while True:
            _, size = download(server.port, f"/result/{job.job_id}")
            if size != contract_bytes(exponent):
                raise BenchmarkError(f"{size} bytes up to 10^{exponent}")
            if time.monotonic() - began > _WATCH_S:
                return peak


def _measure_memory(sizes: Sizes) -> Outcome:
    small_exponent, large_exponent = sizes.memory_exponents
    small, large = _peak(small_exponent), _peak(large_exponent)
    return Outcome(
        ours=f"{megabytes(large.pss)} at 10^{large_exponent}",
        peer=f"{megabytes(small.pss)} at 10^{small_exponent}",
        figure=large.pss / small.pss,
        notes=[
            f"sums of PSS, the largest of {large.samples} and {small.samples} samples",
            f"sums of RSS {megabytes(large.rss)} and {megabytes(small.rss)}",
        ],
    )


MEMORY = Row(
    name="memory",
    work="peak memory of all processes while serving 10^10",
    peer="while serving 10^8",
    target=1.2,
    at_most=True,
    needs=(CURL, SMAPS),
    measure=_measure_memory,
)


def _start() -> float:
    """Seconds from nothing to the first answered POST and GET."""
    began = time.perf_counter()
    with primesvc() as server, Client(server.port) as client:
        client.compute(4, 11)
        return time.perf_counter() - began


def _measure_start(sizes: Sizes) -> Outcome:
    times = [_start() for _ in range(sizes.starts)]
    return Outcome(
        ours=duration(median(times)),
        peer="",
        figure=median(times),
        notes=[f"median of {len(times)}, the best {duration(min(times))}"],
    )


START = Row(
    name="start",
    work="process start to the first answered POST and GET",
    peer="",
    target=0.7,
    at_most=True,
    unit=" s",
    measure=_measure_start,
)
