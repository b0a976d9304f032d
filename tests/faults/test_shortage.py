"""Servers that may have few processes, threads or descriptors: what they say, how they recover."""

import os
import re
import resource
import shutil
import signal
import subprocess
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from tests.helpers import WAIT_S
from tests.program import MODULE, SOON_S, Server, ask, eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("prlimit") is None or shutil.which("setpriv") is None,
        reason="needs prlimit and setpriv of util-linux",
    ),
]

NPROC, NOFILE = "nproc", "nofile"

REASONS = {NPROC: "can't start new thread", NOFILE: "Too many open files"}

ALL_FILES = 1000
"""Descriptors that suffice for everything."""


class Short(Server):
    """A server that may have little of something, from its start or since it was said."""

    def __init__(self, *prefix: str) -> None:
        super().__init__("--drain-s", "1", program=[*prefix, *MODULE])
        self.ready()

    def ask(self, path: str, method: str = "GET") -> tuple[int, Any]:
        """The status and the document of an answer."""
        return ask(self.url + path, method)

    def try_to_ask(self) -> int:
        """The status of an answer; 0 if the connection made room for others before it asked."""
        try:
            return self.ask("/health/live")[0]
        except (ConnectionError, urllib.error.URLError):
            return 0

    def problem(self) -> str:
        """Why it is not ready; nothing if it is."""
        status, document = self.ask("/health/ready")
        assert status in (200, 503), document
        return "" if status == 200 else str(document["detail"])

    def count(self) -> dict[str, Any]:
        """The job for a range that workers are needed for, once it has ended."""
        status, job = self.ask("/jobs?kind=count&start=1000000000000&end=1000100000000", "POST")
        assert status in (200, 202), job
        status, job = self.ask(f"/jobs/{job['id']}?wait=30")
        assert status == 200, job
        return dict(job)

    def is_well(self) -> None:
        """It serves what needs no worker, and crowds get an answer, if not the one they want."""
        assert self.fetch("/result/" + self.submit(4, 11)) == '"[5, 7, 11]"\n'
        assert "<h1" in self.fetch("/docs/operation")
        with ThreadPoolExecutor(20) as pool:
            statuses = set(pool.map(lambda _: self.try_to_ask(), range(40)))
        assert 200 in statuses <= {0, 200, 503}

    def stops(self) -> None:
        """It ends as it should, says little, and leaves nothing."""
        self.signal(signal.SIGTERM)
        assert self.ends(within_s=SOON_S + WAIT_S) == 0
        assert not re.search("Traceback|Exception|OpenBLAS", "".join(self.errors)), self.errors
        assert len(self.errors) < 12, self.errors
        eventually(lambda: not group(self.pid))


def group(pid: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE:
            try:
                if os.getpgid(process.info["pid"]) == pid:
                    found.append(process.info["pid"])
            except ProcessLookupError:
                pass
    return found


def somebody_else() -> list[str]:
    """What runs a program as a user who has no other processes: only these are counted.

    That user may read the interpreter, wherever it is. Skips the test where this cannot be done.
    """
    user = str(1_500_000_000 + os.getpid())
    only = "-all,+dac_read_search"
    become = [
        "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
        f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}",
    ]  # fmt: skip
    tried = subprocess.run([*become, *MODULE, "--version"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("needs root, to run a server as somebody else")
    return become


@pytest.fixture
def short(request: pytest.FixtureRequest) -> Iterator[Short]:
    """A server that has had a limit from its start."""
    kind, limit = request.param
    prefix = ["prlimit", f"--{kind}={limit}"]
    if kind == NPROC:
        # That it can be lifted.
        prefix = ["prlimit", f"--nproc={limit}:1000", *somebody_else()]
    server = Short(*prefix)
    try:
        yield server
    finally:
        server.stop()


NO_WORKER = [(NPROC, 4), (NOFILE, 24)]

FEW_WORKERS = [(NPROC, 10), (NOFILE, 36)]


@pytest.mark.parametrize("short", NO_WORKER, indirect=True, ids=str)
def test_without_room_for_any_worker_the_reason_is_told(
    short: Short, request: pytest.FixtureRequest
) -> None:
    """By readiness and by the job that fails; all else goes on; the stop is as it always is."""
    reason = REASONS[request.node.callspec.params["short"][0]]
    eventually(lambda: reason in short.problem())
    job = short.count()
    assert job["state"] == "failed"
    assert job["error"]["type"] == "urn:primesvc:problem:workers-unavailable"
    assert reason in job["error"]["detail"]
    short.is_well()
    assert reason in short.problem()
    short.stops()


@pytest.mark.parametrize("short", FEW_WORKERS, indirect=True, ids=str)
def test_without_room_for_all_workers_those_there_are_work(
    short: Short, request: pytest.FixtureRequest
) -> None:
    """The next one is not started at their cost, and readiness says that it cannot be."""
    reason = REASONS[request.node.callspec.params["short"][0]]
    eventually(lambda: reason in short.problem())
    assert short.count()["state"] == "succeeded"
    short.is_well()
    short.stops()


@pytest.mark.parametrize("short", [(NPROC, 11)], indirect=True, ids=str)
def test_it_recovers_once_there_may_be_more_processes(short: Short) -> None:
    """Within seconds and by itself, though some processes were started under the old limit."""
    eventually(lambda: REASONS[NPROC] in short.problem())
    user = psutil.Process(short.pid).uids().real
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    lift = ["prlimit", f"--pid={short.pid}", "--nproc=1000:1000"]
    subprocess.run([*become, *lift], check=True)
    eventually(lambda: not short.problem())
    assert short.count()["state"] == "succeeded"
    short.stops()


def test_it_recovers_once_there_may_be_more_descriptors() -> None:
    """Workers that die while there are too few come back when there are enough."""
    short = Short("prlimit", f"--nofile={ALL_FILES}")
    try:
        eventually(lambda: not short.problem())
        server, *others = short.family()
        resource.prlimit(short.pid, resource.RLIMIT_NOFILE, (28, ALL_FILES))
        for process in others:
            if process.ppid() != server.pid:
                process.kill()
        eventually(lambda: REASONS[NOFILE] in short.problem())
        assert short.count()["state"] == "failed"
        short.is_well()
        resource.prlimit(short.pid, resource.RLIMIT_NOFILE, (ALL_FILES, ALL_FILES))
        eventually(lambda: not short.problem())
        assert short.count()["state"] == "succeeded"
        short.stops()
    finally:
        short.stop()


def test_it_starts_by_name_without_threads() -> None:
    """Names are looked up without the loop's own threads: where these lack, it would be ended."""
    server = Server(
        "--host", "localhost", program=["prlimit", "--nproc=1:1000", *somebody_else(), *MODULE]
    )
    try:
        assert server.says(r"primesvc serves on http://(127\.0\.0\.1|\[::1\]):\d+ ")
        server.signal(signal.SIGTERM)
        assert server.ends(within_s=SOON_S + WAIT_S) == 0
    finally:
        server.stop()
