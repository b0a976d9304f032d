"""Small jobs: a cold one from its POST to its primes."""

from collections.abc import Sequence
from statistics import median

from tests.benchmarks.client import Client
from tests.benchmarks.commands import primesieve
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.rows.base import (
    FLASK_AND_RQ,
    PRIMESIEVE,
    REDIS,
    Outcome,
    Row,
    Sizes,
    places,
)
from tests.benchmarks.samples import duration, p99
from tests.benchmarks.servers import Server, primesvc, rq_service

WIDTH = 1000
"""Numbers of a small range."""

WARM_UP_JOBS = 20
"""Jobs before those that count: they start what starts on demand."""

APART = 2**17
"""A small range has this many numbers to itself, two cells of the fine grid."""


def _times(server: Server, ranges: Sequence[tuple[int, int]]) -> list[float]:
    """Seconds of a job each, one after another, without those that warm up."""
    with Client(server.port) as client:
        times = [client.compute(start, end).seconds for start, end in ranges]
    return times[WARM_UP_JOBS:]


def _measure_cold(sizes: Sizes) -> Outcome:
    jobs = WARM_UP_JOBS + max(sizes.cold_jobs, sizes.cold_peer_jobs)
    ranges = places(jobs, start=0, end=10**9, width=WIDTH, apart=APART)
    with rq_service() as server:
        peer = _times(server, ranges[: WARM_UP_JOBS + sizes.cold_peer_jobs])
    with primesvc() as server:
        with Client(server.port) as client:
            client.warm_up()
        ours = _times(server, ranges[: WARM_UP_JOBS + sizes.cold_jobs])
    return Outcome(
        ours=duration(median(ours)),
        peer=duration(median(peer)),
        figure=median(peer) / median(ours),
        notes=[
            f"medians of {len(ours)} and {len(peer)} jobs",
            f"p99 {duration(p99(ours))}, theirs {duration(p99(peer))}",
        ],
    )


COLD_SMALL = Row(
    name="cold-small",
    work="cold job of 1,000 numbers below 10^9, POST to 200",
    peer="Flask + RQ + Redis",
    target=10,
    needs=(REDIS, *FLASK_AND_RQ),
    measure=_measure_cold,
)

NARROW_WIDTH = 10**4
NARROW_APART = 2**15
"""Two windows are this far from each other: they share no cell."""


def _measure_narrow(sizes: Sizes) -> Outcome:
    count = max(sizes.narrow_jobs, sizes.narrow_peer_jobs)
    ends = [2**64 - 1 - number * NARROW_APART for number in range(count)]
    windows = [(end - NARROW_WIDTH + 1, end) for end in ends]
    with primesvc() as server, Client(server.port) as client:
        client.warm_up()
        jobs = [client.compute(*window) for window in windows[: sizes.narrow_jobs]]
    runs = [primesieve(*window) for window in windows[: sizes.narrow_peer_jobs]]
    for job, run in zip(jobs, runs, strict=False):
        found = job.answer.body.count(b",") + 1
        if found != int(run.output):
            raise BenchmarkError(f"{found} primes, and {run.output} by primesieve")
    ours, peer = [job.seconds for job in jobs], [run.seconds for run in runs]
    return Outcome(
        ours=duration(median(ours)),
        peer=duration(median(peer)),
        figure=median(peer) / median(ours),
        notes=[
            f"medians of {len(ours)} and {len(peer)} neighbouring windows",
            f"{duration(min(ours))} to {duration(max(ours))}, the first {duration(ours[0])}",
        ],
    )


NARROW = Row(
    name="narrow-2^64",
    work="primes in [2^64 - 10^4, 2^64), POST to 200",
    peer="`primesieve`",
    target=50,
    needs=(PRIMESIEVE,),
    measure=_measure_narrow,
)
