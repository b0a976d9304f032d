"""`connect`: the same answers from a service of its own and from a server, without `await`."""

import asyncio
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from primesvc import Connection, NumberFacts, RemoteConnection, State, connect
from primesvc.errors import (
    ApiError,
    InvalidParameter,
    InvalidSetting,
    RangeNotAllowed,
    ServerUnreachable,
    ServiceClosed,
)
from primesvc.settings import Settings
from tests.asking.conftest import SETTINGS
from tests.helpers import WAIT_S, naive_primes
from tests.oracles import PI_OF_POWERS, statistics_of
from tests.program import eventually
from tests.test_embedding import open_files

pytestmark = pytest.mark.process

LONG = (10**12, 10**12 + 10**12)
"""A range that takes minutes to sieve."""


# What it gives


def test_answers_are_plain(primes: Connection) -> None:
    """Counts, primes and verdicts are ints and bools, whatever the service is."""
    assert primes.count(0, 10**6) == PI_OF_POWERS[6]
    assert primes.nth(1000) == 7919
    assert primes.nth(-1, 100) == 97
    assert primes.is_prime(2**61 - 1) is True
    assert primes.are_prime([7, 9, 2**64 - 1]) == [True, False, False]
    assert primes.statistics(0, 1e3, modulus=4, bins=3) == statistics_of(0, 1000, 4, 3)
    assert primes.number(360) == NumberFacts(360, False, ((2, 3), (3, 2), (5, 1)), 359, 367, 72)


def test_numbers_of_any_type(primes: Connection) -> None:
    """NumPy's integers and whole floats are numbers too: notebooks are full of them."""
    assert primes.count(0, 1e6) == PI_OF_POWERS[6]
    assert primes.count(np.uint64(0), np.int32(1000)) == 168
    assert primes.are_prime(np.arange(10)) == [n in (2, 3, 5, 7) for n in range(10)]
    assert primes.is_prime(np.uint64(2**64 - 59))


def test_primes_are_one_array(primes: Connection) -> None:
    """All primes of a range, exact up to the end of the line; an array also if there are none."""
    for start, end in ((0, 10_000), (2**64 - 1000, 2**64 - 1), (24, 28)):
        found = primes.primes(start, end)
        assert found.dtype == np.uint64
        assert found.tolist() == [n for n in map(int, found) if start <= n <= end]
        assert len(found) == primes.count(start, end)
    assert primes.primes(0, 1000).tolist() == naive_primes(0, 1000)


def test_arrays_come_one_by_one(primes: Connection) -> None:
    """Many primes come as several arrays, which give what one array does."""
    arrays = list(primes.arrays(0, 5 * 10**6))
    assert len(arrays) > 1
    assert all(len(array) for array in arrays)
    assert np.array_equal(np.concatenate(arrays), primes.primes(0, 5 * 10**6))
    assert list(primes.arrays(24, 28)) == []


def test_arrays_that_are_not_read_to_the_end(primes: Connection) -> None:
    """Whoever has enough leaves nothing behind."""
    for array in primes.arrays(0, 5 * 10**6):
        assert array[0] == 2
        break
    assert not primes._portal._generators


def test_some_of_the_primes(primes: Connection) -> None:
    """Constellations and residue classes, in every form of an answer."""
    all_ = naive_primes(0, 1000)
    twins = [n for n in all_ if n + 2 in all_]
    assert primes.count(0, 1000, pattern="twins") == len(twins)
    assert primes.primes(0, 1000, pattern="0,2").tolist() == twins
    ones = [n for n in all_ if n % 4 == 1]
    assert np.concatenate(list(primes.arrays(0, 1000, modulus=4, residue=1))).tolist() == ones
    file = io.BytesIO()
    primes.download(0, 1000, file, "ndjson", modulus=4, residue=np.int8(1))
    assert file.getvalue().split() == [b"%d" % n for n in ones]


@pytest.mark.parametrize("format_", ["text", "npy"])
def test_a_file_by_its_path(primes: Connection, format_: str, tmp_path: Path) -> None:
    """A download replaces what was there, once it is complete."""
    path = tmp_path / "primes"
    path.write_text("old")
    primes.download(0, 1000, path, format_)
    read = np.load(path) if format_ == "npy" else np.loadtxt(path, np.uint64)
    assert read.tolist() == naive_primes(0, 1000)
    assert [file.name for file in tmp_path.iterdir()] == ["primes"]


def test_a_file_that_is_open(primes: Connection) -> None:
    """What is open for bytes is written to, and stays open."""
    file = io.BytesIO()
    primes.download(0, 12, file)
    primes.download(0, 3, file, "text")
    assert file.getvalue() == b"[2,3,5,7,11]\n2\n3\n"


def test_several_threads(primes: Connection) -> None:
    """One connection answers several threads at a time."""
    ends = [10**4 + n for n in range(40)]
    with ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(lambda end: primes.count(0, end), ends, timeout=WAIT_S))
    assert counts == [PI_OF_POWERS[4] + len(naive_primes(10**4, end)) for end in ends]


async def test_where_an_event_loop_runs() -> None:
    """In a notebook the main thread has a loop already, which is left alone."""
    assert asyncio.get_running_loop().is_running()
    with connect(settings=SETTINGS) as primes:
        assert primes.count(0, 1000) == 168
        assert primes.primes(10**15, 10**15 + 100).tolist() == [10**15 + 37, 10**15 + 91]


# What it refuses


def test_a_file_that_cannot_be_written(primes: Connection, tmp_path: Path) -> None:
    """The error is the system's, and nothing is left of the file."""
    with pytest.raises(FileNotFoundError):
        primes.download(0, 1000, tmp_path / "no" / "primes")
    closed = io.BytesIO()
    closed.close()
    with pytest.raises(ValueError, match="closed file"):
        primes.download(0, 1000, closed)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        primes.download(0, 1000, tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]
    assert primes.count(0, 1000) == 168


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda p: p.count(0, 1.5), InvalidParameter, "end: 1.5 is not whole"),
        (lambda p: p.count(0, 1e18), InvalidParameter, r"above 2\^53.*give an int"),
        (lambda p: p.count(0, float("inf")), InvalidParameter, "not whole"),
        (lambda p: p.count("0", 10), TypeError, "str"),
        (lambda p: p.arrays(11, 4), RangeNotAllowed, "at or after its start"),
        (lambda p: p.primes(0, 2**64), RangeNotAllowed, "at the most"),
        (lambda p: p.download(0, 9, io.BytesIO(), "xml"), InvalidParameter, "none of json"),
        (lambda p: p.count(0, 9, pattern="aunts"), InvalidParameter, "pattern"),
        (lambda p: p.count(0, 9, modulus=4), InvalidParameter, "residue: .* give both"),
        (lambda p: p.primes(0, 9, residue=4), InvalidParameter, "modulus: .* give both"),
        (lambda p: p.is_prime(2**64), (ApiError, RangeNotAllowed), "18446744073709551616"),
        (lambda p: p.statistics(0, 9, bins=0), (ApiError, InvalidParameter), "from 1 to 2000"),
        (lambda p: p.nth(0), (ApiError, InvalidParameter), "0th"),
        (lambda p: p.primes(0, 10**14), (ApiError, RangeNotAllowed), "limit"),
    ],
)
def test_what_cannot_be_asked(
    primes: Connection,
    call: Callable[[Connection], object],
    error: type[Exception] | tuple[type[Exception], ...],
    says: str,
) -> None:
    """An error names what was wrong, whatever the service is."""
    with pytest.raises(error, match=says):
        call(primes)


def test_how_it_is_not_opened() -> None:
    """What belongs to the other kind of service is refused, and so is what is no address."""
    with pytest.raises(TypeError, match="its own settings"):
        connect("http://127.0.0.1:1", settings=SETTINGS)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="address"):
        connect(token="secret")  # type: ignore[call-overload]  # noqa: S106 - none
    with pytest.raises(ValueError, match="http"):
        connect("localhost:8080")
    before = threading.active_count()
    with pytest.raises(InvalidSetting):
        connect(settings=Settings(workers=2, journal="/", engine="no"))
    assert threading.active_count() == before


def test_a_service_that_does_not_answer() -> None:
    """It is noticed with the first question."""
    with (
        connect("http://127.0.0.1:1", retries=0) as primes,
        pytest.raises(ServerUnreachable),
    ):
        primes.count(0, 10)


# How it ends


def states(connection: Connection, remote: RemoteConnection | None) -> list[State]:
    """The states of the jobs of the long range."""
    if remote is not None:
        return [job.state for job in remote.jobs() if job.start == LONG[0]]
    jobs = connection._asker._service.jobs  # type: ignore[attr-defined]
    return [job.state for job in list(jobs) if dict(job.question.parameters)["start"] == LONG[0]]


def interrupt_once(condition: Callable[[], bool]) -> threading.Thread:
    """Do what Ctrl-C does, to the main thread, as soon as the condition holds."""

    def interrupt() -> None:
        eventually(condition)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.primes(*LONG),
        lambda p: list(p.arrays(*LONG)),
        lambda p: p.download(*LONG, io.BytesIO()),
        lambda p: p.nth(10**13, LONG[0]),
    ],
    ids=["primes", "arrays", "download", "nth"],
)
def test_ctrl_c_cancels(
    primes: Connection,
    request: pytest.FixtureRequest,
    call: Callable[[Connection], object],
) -> None:
    """Who is interrupted stops waiting, the job is cancelled, and the connection goes on."""
    other = None
    if isinstance(primes, RemoteConnection):
        other = request.getfixturevalue("remote")
    thread = interrupt_once(lambda: State.RUNNING in states(primes, other))
    with pytest.raises(KeyboardInterrupt):
        call(primes)
    thread.join(WAIT_S)
    assert set(states(primes, other)) == {State.CANCELLED}
    assert primes.count(0, 1000) == 168


def test_ctrl_c_leaves_a_job_that_was_submitted(remote: RemoteConnection) -> None:
    """What was started to go on by itself goes on when nobody waits any more."""
    job = remote.submit(*LONG)
    assert remote.job(job.id).id == job.id
    thread = interrupt_once(lambda: remote.job(job.id).state is State.RUNNING)
    with pytest.raises(KeyboardInterrupt):
        remote.wait(job)
    thread.join(WAIT_S)
    assert remote.job(job.id).state is State.RUNNING
    assert remote.cancel(job).state is State.CANCELLED
    remote.delete(job.id)
    assert job.id not in {known.id for known in remote.jobs()}


def test_jobs_that_are_waited_for(remote: RemoteConnection) -> None:
    """A job can be started now and asked about later."""
    job = remote.submit(0, 1000, "count", modulus=4, residue=1)
    assert remote.wait(job.id).count == 80
    assert remote.wait(job).state is State.SUCCEEDED


@pytest.mark.parametrize("where", ["own", "server"])
def test_closing_ends_what_runs(address: str, remote: RemoteConnection, where: str) -> None:
    """A thread that waits gets an error, and its job is cancelled; it can be closed twice."""
    primes = opened(address, where)
    other = remote if where == "server" else None
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(primes.primes, *LONG)
        eventually(lambda: State.RUNNING in states(primes, other))
        primes.close()
        primes.close()
        with pytest.raises(ServiceClosed, match="before the answer"):
            waiting.result(WAIT_S)
    if other is not None:
        assert State.RUNNING not in states(primes, other)


@pytest.mark.parametrize("where", ["own", "server"])
def test_a_closed_connection_says_so(address: str, where: str) -> None:
    """Nothing can be asked of it, also not by arrays that were being read; nothing is left."""
    primes = opened(address, where)
    assert repr(primes).endswith("open>")
    arrays = read_and_close(primes)
    for call in (lambda: primes.count(0, 10), lambda: next(arrays)):
        with pytest.raises(ServiceClosed, match="connect"):
            call()
    assert repr(primes).endswith("closed>")
    # The first one left the fork server behind, for the next ones.
    threads, files = threading.active_count(), open_files()
    read_and_close(opened(address, where))
    eventually(lambda: (threading.active_count(), open_files()) <= (threads, files))


def opened(address: str, where: str) -> Connection:
    """A new connection."""
    return connect(address) if where == "server" else connect(settings=SETTINGS)


def read_and_close(primes: Connection) -> Iterator[NDArray[np.uint64]]:
    """Arrays of which one was read before their connection was closed."""
    with primes:
        arrays = primes.arrays(0, 5 * 10**6)
        assert next(arrays)[0] == 2
    return arrays


@pytest.mark.slow
def test_a_forgotten_connection_is_closed_at_the_end(tmp_path: Path) -> None:
    """A script that never closes it ends all the same, and without a word."""
    script = tmp_path / "script.py"
    script.write_text(
        "from primesvc import Settings, connect\n"
        "if __name__ == '__main__':\n"
        "    primes = connect(settings=Settings(workers=2))\n"
        "    print(primes.count(0, 10**9))\n"
    )
    program = psutil.Popen(
        [sys.executable, "-W", "error", str(script)], stdout=-1, stderr=-1, text=True
    )
    out, errors = program.communicate(timeout=WAIT_S)
    assert (program.returncode, out, errors) == (0, f"{PI_OF_POWERS[9]}\n", "")
