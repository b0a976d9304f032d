"""Small jobs beside a large one."""

from dataclasses import dataclass
from statistics import median

from tests.benchmarks.client import Client
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.rows.base import Outcome, Row, Sizes, places
from tests.benchmarks.rows.small import APART, WARM_UP_JOBS, WIDTH
from tests.benchmarks.samples import duration, p99
from tests.benchmarks.servers import primesvc

_MEDIUM_WIDTH = 10**6
_MEDIUM_APART = 2**21


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds of a cold job each."""

    small: list[float]
    medium: list[float]


def _measure(sizes: Sizes) -> Outcome:
    small = places(
        WARM_UP_JOBS + 2 * sizes.fair_small_jobs, start=0, end=10**9, width=WIDTH, apart=APART
    )
    # Elsewhere, so that none of the small ones finds its primes there.
    medium = places(
        2 * sizes.fair_medium_jobs,
        start=10**9,
        end=2 * 10**9,
        width=_MEDIUM_WIDTH,
        apart=_MEDIUM_APART,
    )
    with primesvc() as server, Client(server.port) as client:

        def measured() -> _Times:
            return _Times(
                [client.compute(*small.pop()).seconds for _ in range(sizes.fair_small_jobs)],
                [client.compute(*medium.pop()).seconds for _ in range(sizes.fair_medium_jobs)],
            )

        client.warm_up()
        for _ in range(WARM_UP_JOBS):
            client.compute(*small.pop())
        idle = measured()
        background = client.submit(0, sizes.fair_background)
        busy = measured()
        if client.request("HEAD", f"/result/{background}").status != 204:
            raise BenchmarkError("the large job ended before the small ones did")
    return Outcome(
        ours=f"{duration(p99(busy.small))} beside it",
        peer=f"{duration(p99(idle.small))} idle",
        figure=p99(busy.small) / p99(idle.small),
        notes=[
            f"{len(idle.small)} jobs of 1,000 numbers: {_words(idle.small, busy.small)}",
            f"{len(idle.medium)} jobs of 10^6 numbers: {_words(idle.medium, busy.medium)}",
        ],
    )


def _words(idle: list[float], busy: list[float]) -> str:
    figures = [
        f"{name} {duration(figure(idle))} idle, {duration(figure(busy))} beside it, "
        f"ratio {figure(busy) / figure(idle):.3g}"
        for name, figure in (("median", median), ("p99", p99))
    ]
    return "; ".join(figures)


FAIR = Row(
    name="fair",
    work="p99 of small cold jobs while a 10^12 job runs",
    peer="the same, idle",
    target=4,
    at_most=True,
    measure=_measure,
)
