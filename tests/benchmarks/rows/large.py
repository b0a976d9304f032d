"""Large jobs: counted, downloaded, and overlapping."""

from statistics import median

from tests.benchmarks.client import Client
from tests.benchmarks.commands import download, primesieve, timed_into_pipe
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.known import PI, contract_bytes
from tests.benchmarks.rows.base import CURL, PRIMESIEVE, Outcome, Row, Sizes
from tests.benchmarks.samples import duration, megabytes, spread
from tests.benchmarks.servers import primesvc

_POLL_S = 0.004
"""Seconds between two polls, about 1 % of the shortest job here; a poll takes the server 50 µs."""

_COUNT_POLL_S = 0.02
"""The same for the longest: many polls would take their share of the processors."""


def _check_length(length: int, exponent: int) -> None:
    if length != contract_bytes(exponent):
        raise BenchmarkError(f"{length} bytes up to 10^{exponent}, not {contract_bytes(exponent)}")


def _measure_count(sizes: Sizes) -> Outcome:
    exponent = sizes.count_exponent
    ours, peer = [], []
    for _ in range(sizes.count_pairs):
        with primesvc() as server, Client(server.port) as client:
            client.warm_up()
            job = client.compute(0, 10**exponent, poll="HEAD", pause_s=_COUNT_POLL_S)
            threads = f"--threads={server.workers}"
        _check_length(job.answer.length, exponent)
        ours.append(job.seconds)
        run = primesieve(0, 10**exponent, threads)
        if int(run.output) != PI[exponent]:
            raise BenchmarkError(f"primesieve finds {run.output} primes up to 10^{exponent}")
        peer.append(run.seconds)
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    return Outcome(
        ours=duration(median(ours)),
        peer=duration(median(peer)),
        figure=median(ratios),
        notes=[f"pair by pair {spread(ratios)}; `primesieve {threads}`"],
    )


COUNT = Row(
    name="count-1e11",
    work="count job 0..10^11",
    peer="`primesieve`, same threads",
    target=0.95,
    needs=(PRIMESIEVE,),
    measure=_measure_count,
)


def _measure_download(sizes: Sizes) -> Outcome:
    end = 10**sizes.download_exponent
    ours, jobs, npy, peer = [], [], [], []
    for _ in range(sizes.download_pairs):
        with primesvc() as server, Client(server.port) as client:
            client.warm_up()
            job = client.compute(0, end, poll="HEAD", pause_s=_POLL_S)
            seconds, size = download(server.port, f"/result/{job.job_id}")
            _check_length(size, sizes.download_exponent)
            jobs.append(job.seconds)
            ours.append(job.seconds + seconds)
            npy.append(download(server.port, f"/jobs/{job.job_id}/primes?format=npy"))
        peer.append(timed_into_pipe(["primesieve", str(end), "--print"]))
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    npy_s, npy_size = min(npy)
    return Outcome(
        ours=duration(median(ours)),
        peer=duration(median(peer)),
        figure=median(ratios),
        notes=[
            f"pair by pair {spread(ratios)}",
            f"{megabytes(size)}; until the 200, {duration(median(jobs))}",
            f"then as npy, {megabytes(npy_size)} in {duration(npy_s)}",
        ],
    )


DOWNLOAD = Row(
    name="download-1e9",
    work="all primes up to 10^9 as JSON through curl, POST to the end",
    peer="`primesieve 1e9 -p` into a pipe",
    target=3.5,
    needs=(CURL, PRIMESIEVE),
    measure=_measure_download,
)


def _measure_overlap(sizes: Sizes) -> Outcome:
    width = sizes.overlap_width
    cold: list[float] = []
    overlapping: list[float] = []
    with primesvc() as server, Client(server.port) as client:
        client.warm_up()
        for place in range(sizes.overlap_places):
            start = 10**15 + place * 10**12
            for times, at in ((cold, start), (overlapping, start + width // 10)):
                job = client.compute(at, at + width - 1, poll="HEAD", pause_s=_POLL_S)
                times.append(job.seconds)
    ratios = [b / a for a, b in zip(cold, overlapping, strict=True)]
    return Outcome(
        ours=f"{duration(median(overlapping))} the second",
        peer=f"{duration(median(cold))} the first",
        figure=median(ratios),
        notes=[f"{width:.0e} numbers each; place by place {spread(ratios)}"],
    )


OVERLAP = Row(
    name="overlap",
    work="request that overlaps a finished one by 90 %, at 10^15",
    peer="cold",
    target=0.15,
    at_most=True,
    measure=_measure_overlap,
)
