"""Counts without a sieve: against sieving, and against the library that counts, called directly."""

import sys
from statistics import median
from typing import Final

from tests.benchmarks.client import Client
from tests.benchmarks.commands import primesieve, timed
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.known import PI as KNOWN
from tests.benchmarks.rows.base import PRIMECOUNT, PRIMESIEVE, Outcome, Row, Sizes
from tests.benchmarks.samples import duration, spread
from tests.benchmarks.servers import Server, primesvc

_PART: Final = 100
"""The peer sieves one part in so many, the first and cheapest one: all would take an hour."""


def _count(server: Server, end: int, start: int = 0) -> tuple[float, int]:
    """Seconds from POST to the count, and the count. Raises `BenchmarkError` if it is sieved."""
    with Client(server.port) as client:
        client.warm_up()
        seconds, document = client.count(start, end)
    if document["method"] != "primecount":
        raise BenchmarkError(f"the count of {start}..{end} was sieved")
    return seconds, document["count"]


def _measure_far(sizes: Sizes) -> Outcome:
    ours, peer = [], []
    for start, width in ((0, 10**13), (10**15, 10**12)):
        with primesvc() as server:
            seconds, count = _count(server, start + width, start)
            threads = f"--threads={server.workers}"
        if start == 0 and count != KNOWN[13]:
            raise BenchmarkError(f"{count} primes up to 10^13, not {KNOWN[13]}")
        ours.append(seconds)
        part = _PART * sizes.far_divisor
        peer.append(primesieve(start, start + width // part, threads).seconds * part)
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    return Outcome(
        ours=" and ".join(map(duration, ours)),
        peer=" and ".join(map(duration, peer)),
        figure=min(ratios),
        notes=[
            f"range by range {spread(ratios)}; `primesieve {threads}`",
            f"of which the first of {part} parts was run, and taken for all",
        ],
    )


FAR_COUNTS = Row(
    name="far-counts",
    work="counts of 0..10^13 and [10^15, 10^15 + 10^12]",
    peer="`primesieve`, same threads",
    target=100,
    needs=(PRIMESIEVE, PRIMECOUNT),
    measure=_measure_far,
)

_DIRECT: Final = """
import sys, time
from primesvc.sieve.primecount import Primecount
primecount = Primecount()
began = time.perf_counter()
primecount.pi(int(sys.argv[1]), threads=int(sys.argv[2]))
print(time.perf_counter() - began)
"""


def _measure_pi(sizes: Sizes) -> Outcome:
    end = 10**sizes.pi_exponent
    ours, peer = [], []
    for _ in range(sizes.pi_pairs):
        with primesvc() as server:
            seconds, count = _count(server, end)
            workers = str(server.workers)
        if count != KNOWN[sizes.pi_exponent]:
            raise BenchmarkError(f"{count} primes up to {end}")
        ours.append(seconds)
        peer.append(float(timed([sys.executable, "-c", _DIRECT, str(end), workers]).output))
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    return Outcome(
        ours=duration(median(ours)),
        peer=duration(median(peer)),
        figure=median(ratios),
        notes=[f"pair by pair {spread(ratios)}; {workers} threads"],
    )


PI = Row(
    name="pi-1e15",
    work="count of 0..10^15, POST to 200",
    peer="libprimecount called directly, same threads",
    target=0.9,
    needs=(PRIMECOUNT,),
    measure=_measure_pi,
)
