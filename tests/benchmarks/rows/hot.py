"""Repeated requests: what the service adds to the cost of aiohttp itself."""

from statistics import median

from tests.benchmarks.client import Client, range_path
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.load import run_load
from tests.benchmarks.rows.base import Outcome, Row, Sizes
from tests.benchmarks.samples import duration, spread
from tests.benchmarks.servers import Server, bare, primesvc

_PATH = range_path(4, 11)


class _Side:
    """One of the two servers, and what it did so far."""

    def __init__(self, server: Server, method: str) -> None:
        self._server = server
        self._method = method
        with Client(server.port) as client:
            job = client.compute(4, 11)
            self._path = _PATH if method == "POST" else f"/result/{job.job_id}"
            answer = client.request(method, self._path)
        if answer.status != 200:
            raise BenchmarkError(f"{method} {self._path}: {answer.status}")
        self.body = answer.body
        self.rates: list[float] = []
        self.cpu_s: list[float] = []
        """Processor time a request, by round."""

    def play(self, seconds: float) -> None:
        """One round."""
        before_s = self._server.cpu_s()
        load = run_load(self._server.port, self._method, self._path, self.body, seconds)
        self.rates.append(load.requests / load.seconds)
        self.cpu_s.append((self._server.cpu_s() - before_s) / load.requests)


def _measure(method: str, sizes: Sizes) -> Outcome:
    with primesvc() as our_server, bare() as bare_server:
        ours, peer = _Side(our_server, method), _Side(bare_server, method)
        if len(ours.body) != len(peer.body):
            raise BenchmarkError("the two sides answer with bodies of different lengths")
        for number in range(sizes.hot_pairs):
            # Whoever plays first is another one every time.
            for side in (ours, peer) if number % 2 else (peer, ours):
                side.play(sizes.hot_round_s)
    ratios = [a / b for a, b in zip(ours.rates, peer.rates, strict=True)]
    cpu_ratios = [b / a for a, b in zip(ours.cpu_s, peer.cpu_s, strict=True)]
    return Outcome(
        ours=f"{median(ours.rates):,.0f}/s",
        peer=f"{median(peer.rates):,.0f}/s",
        figure=median(ratios),
        notes=[
            f"pair by pair {spread(ratios)}",
            (
                f"processor time a request {duration(median(ours.cpu_s))}, theirs "
                f"{duration(median(peer.cpu_s))}, ratio {median(cpu_ratios):.3g}, pair by pair "
                f"{spread(cpu_ratios)}"
            ),
        ],
    )


def _measure_post(sizes: Sizes) -> Outcome:
    return _measure("POST", sizes)


def _measure_get(sizes: Sizes) -> Outcome:
    return _measure("GET", sizes)


HOT_POST = Row(
    name="hot-post",
    work="repeated POST, requests/s",
    peer="bare aiohttp handler",
    target=0.9,
    measure=_measure_post,
)

HOT_GET = Row(
    name="hot-get",
    work="GET of a small result, requests/s",
    peer="bare aiohttp handler",
    target=0.9,
    measure=_measure_get,
)
