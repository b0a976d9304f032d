"""Statistics: everything that is counted of the primes of a range, against only listing them."""

from statistics import median

from tests.benchmarks.client import Client
from tests.benchmarks.commands import timed_into_pipe
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.known import PI
from tests.benchmarks.rows.base import PRIMESIEVE, Outcome, Row, Sizes
from tests.benchmarks.samples import duration, spread
from tests.benchmarks.servers import primesvc


def _statistics_s(exponent: int) -> float:
    with primesvc() as server, Client(server.port) as client:
        client.warm_up()
        seconds, document = client.count(0, 10**exponent, "statistics")
    if document["result"]["count"] != PI[exponent]:
        raise BenchmarkError(f"{document['result']['count']} primes up to 10^{exponent}")
    return seconds


def _measure_statistics(sizes: Sizes) -> Outcome:
    exponent = sizes.statistics_exponent
    ours, peer = [], []
    for _ in range(sizes.statistics_pairs):
        ours.append(_statistics_s(exponent))
        peer.append(timed_into_pipe(["primesieve", str(10**exponent), "--print"]))
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    return Outcome(
        ours=duration(median(ours)),
        peer=duration(median(peer)),
        figure=median(ratios),
        notes=[
            f"pair by pair {spread(ratios)}",
            f"0..10^{exponent + 1} in {duration(_statistics_s(exponent + 1))}",
        ],
    )


STATISTICS = Row(
    name="statistics",
    work="statistics of 0..10^10, POST to 200",
    peer="listing the same primes: `primesieve` into a pipe",
    target=7,
    needs=(PRIMESIEVE,),
    measure=_measure_statistics,
)
