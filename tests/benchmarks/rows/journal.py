"""What the journal costs: a large job, and requests that are repeated."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmarks.client import Client
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.known import contract_bytes
from tests.benchmarks.load import play
from tests.benchmarks.rows.base import Outcome, Row, Sizes
from tests.benchmarks.rows.hot import target
from tests.benchmarks.samples import duration, spread
from tests.benchmarks.servers import Server, primesvc

_POLL_S = 0.02
"""Seconds between two polls: many would take their share of the processors."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """Seconds of a job, and of processors for it."""

    seconds: float
    cpu_s: float


@contextmanager
def _journaled(on: bool) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="primesvc-bench-") as directory:
        flags = ["--journal", str(Path(directory) / "journal")] if on else []
        with primesvc(*flags) as server:
            yield server


def _job(exponent: int, *, on: bool) -> _Cost:
    with _journaled(on) as server, Client(server.port) as client:
        client.warm_up()
        before_s = server.family_cpu_s()
        job = client.compute(0, 10**exponent, poll="HEAD", pause_s=_POLL_S)
        cpu_s = server.family_cpu_s() - before_s
    if job.answer.length != contract_bytes(exponent):
        raise BenchmarkError(f"{job.answer.length} bytes up to 10^{exponent}")
    return _Cost(job.seconds, cpu_s)


def _repeated(sizes: Sizes) -> list[float]:
    """Repeated POSTs with the journal by those without, pair by pair."""
    with _journaled(True) as with_it, _journaled(False) as without:
        targets = [target(server, "POST") for server in (with_it, without)]
        played = play(targets, sizes.hot_rounds, sizes.hot_round_s)
    rates = [[one.requests / one.seconds for one in rounds] for rounds in played]
    return [a / b for a, b in zip(*rates, strict=True)]


def _measure(sizes: Sizes) -> Outcome:
    jobs: dict[bool, list[_Cost]] = {True: [], False: []}
    for pair in range(sizes.journal_pairs):
        # Who is first is another one every time.
        for on in (True, False) if pair % 2 else (False, True):
            jobs[on].append(_job(sizes.journal_exponent, on=on))
    pairs = list(zip(jobs[True], jobs[False], strict=True))
    ratios = [a.seconds / b.seconds for a, b in pairs]
    cpu_ratios = [a.cpu_s / b.cpu_s for a, b in pairs]
    posts = _repeated(sizes)
    return Outcome(
        ours=f"{duration(median(job.seconds for job in jobs[True]))} with it",
        peer=f"{duration(median(job.seconds for job in jobs[False]))} without",
        figure=median(ratios),
        notes=[
            f"pair by pair {spread(ratios)}",
            f"processor time of all processes {median(cpu_ratios):.3g}, {spread(cpu_ratios)}",
            f"repeated POSTs, requests/s: {median(posts):.3g} of those without",
        ],
    )


JOURNAL = Row(
    name="journal",
    work="count job 0..10^11 with the journal on",
    peer="off",
    target=1.03,
    at_most=True,
    measure=_measure,
)
