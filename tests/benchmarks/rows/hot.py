"""Repeated requests: what the service adds to the cost of aiohttp itself."""

from statistics import median

from tests.benchmarks.client import Client, range_path
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.load import Target, play
from tests.benchmarks.rows.base import Outcome, Row, Sizes
from tests.benchmarks.samples import duration, spread
from tests.benchmarks.servers import Server, bare, primesvc

_START, _END = 4, 11


def target(server: Server, method: str) -> Target:
    """The request to repeat, and the body with which it is answered once the job is done."""
    with Client(server.port) as client:
        job = client.compute(_START, _END)
        path = range_path(_START, _END) if method == "POST" else f"/result/{job.job_id}"
        answer = client.request(method, path)
    if answer.status != 200:
        raise BenchmarkError(f"{method} {path}: {answer.status}")
    return Target(server.port, method, path, answer.body.decode())


def _measure(method: str, sizes: Sizes) -> Outcome:
    with primesvc() as ours, bare() as theirs:
        servers = (ours, theirs)
        targets = [target(server, method) for server in servers]
        if len({len(target.body) for target in targets}) != 1:
            raise BenchmarkError("the two sides answer with bodies of different lengths")
        before_s = [server.cpu_s() for server in servers]
        played = play(targets, sizes.hot_rounds, sizes.hot_round_s)
        spent_s = [server.cpu_s() - s for server, s in zip(servers, before_s, strict=True)]
    rates = [[one.requests / one.seconds for one in rounds] for rounds in played]
    ratios = [our_rate / their_rate for our_rate, their_rate in zip(*rates, strict=True)]
    # A server that does not play does nothing: the whole is what its requests took.
    our_s, their_s = (
        seconds / sum(one.requests for one in rounds)
        for seconds, rounds in zip(spent_s, played, strict=True)
    )
    cpu = f"{duration(our_s)}, theirs {duration(their_s)}, ratio {their_s / our_s:.3g}"
    return Outcome(
        ours=f"{median(rates[0]):,.0f}/s",
        peer=f"{median(rates[1]):,.0f}/s",
        figure=median(ratios),
        notes=[f"pair by pair {spread(ratios)}", f"processor time a request {cpu}"],
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
