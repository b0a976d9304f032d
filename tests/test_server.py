"""The program as a process that is run by others: sockets, readiness, logs, secrets."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.helpers import WAIT_S
from tests.program import (
    FILE,
    MODULE,
    SOON_S,
    Here,
    Server,
    SlowReader,
    ask,
    environ,
    eventually,
    run,
)

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals"),
]

Start = Callable[..., Server]

TOKEN = "correct-horse-battery"  # noqa: S105 - not one of anything


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers, and makes sure that they are gone in the end."""
    with contextlib.ExitStack() as stack:

        def start_(*arguments: str, **variables: str) -> Server:
            server = Server(*arguments, program=MODULE, **variables)
            stack.callback(server.stop)
            return server

        yield start_


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a Unix socket can be; with a blank, as some paths have."""
    return tmp_path / "a socket"


def ask_socket(path: Path, target: str, host: str = "localhost") -> tuple[int, bytes]:
    """Status and body of the answer to a GET through a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT_S)
        client.connect(str(path))
        client.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        data = b""
        while part := client.recv(2**16):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def terminated(server: Server) -> int:
    """The exit code after SIGTERM."""
    server.signal(signal.SIGTERM)
    return server.ends()


# --- readiness -----------------------------------------------------------------------------------


def ready(server: Server) -> bool:
    """Whether it says that it is ready."""
    return ask(f"{server.url}/health/ready")[0] == 200


def test_it_is_ready_once_its_workers_are_up(start: Start) -> None:
    """It answers before, and says that it is starting or ready."""
    server = start().ready()
    status, document = ask(f"{server.url}/health/ready")
    assert (status, document["phase"]) in [(503, "starting"), (200, "ready")]
    eventually(lambda: ready(server))
    assert terminated(server) == 0
    assert server.errors == []


def test_ready_ends_when_the_signal_comes(start: Start) -> None:
    """While a client still gets its file, others are told to go elsewhere, and old jobs read."""
    server = start("--drain-s", "60").ready()
    job_id = server.submit(4, 11)
    eventually(lambda: ready(server))
    with contextlib.closing(SlowReader(server, *FILE)) as reader:
        server.signal(signal.SIGTERM)
        server.says("stopping")
        status, document = ask(f"{server.url}/health/ready")
        assert (status, document["phase"]) == (503, "draining")
        assert document["type"] == "urn:primesvc:problem:not-ready"
        assert ask(f"{server.url}/health/live")[0] == 200
        status, document = ask(f"{server.url}/primes?start_num=4&end_num=12", "POST")
        assert (status, document["type"]) == (503, "urn:primesvc:problem:service-closed")
        assert server.submit(4, 11) == job_id
        assert server.fetch(f"/result/{job_id}") == '"[5, 7, 11]"\n'
        assert server.process.poll() is None
        reader.read_on()
        assert reader.received == reader.length
    assert server.ends() == 0
    assert server.errors == []


def test_jobs_that_end_soon_are_waited_for(start: Start) -> None:
    """What takes a moment more is finished first; who waited is told, and can get the result."""
    server = start("--drain-s", "60").ready()
    eventually(lambda: ready(server))
    job_id = server.submit(10**9, 10**10)
    document = ask(f"{server.url}/jobs/{job_id}")[1]
    assert document["state"] in ("queued", "running")
    server.signal(signal.SIGTERM)
    server.says("stopping")
    status, document = ask(f"{server.url}/jobs/{job_id}?wait=60")
    assert (status, document["state"], document["count"]) == (200, "succeeded", 404_204_977)
    first = server.fetch(f"/jobs/{job_id}/primes?offset=0&limit=1&format=text")
    assert first == "1000000007\n"
    assert server.ends() == 0
    assert server.errors == []


# --- Unix sockets --------------------------------------------------------------------------------


def test_it_listens_on_a_unix_socket(start: Start, path: Path) -> None:
    """On it and nowhere else; it says how to ask there, and takes it away in the end."""
    server = start("--unix-socket", str(path), "--access-log")
    server.says(rf"^primesvc serves on {re.escape(str(path))} \((\w+ [\w.]+, )+2 workers\)$")
    command = server.says("^try: (.*)$")[1]
    assert ask_socket(path, "/health/live") == (200, b'{"status": "live"}')
    assert stat.S_ISSOCK(path.stat().st_mode)
    if shutil.which("curl"):
        done = subprocess.run(
            shlex.split(command), capture_output=True, text=True, timeout=WAIT_S, check=True
        )
        assert done.stdout == '"fa406b46-00c5-559f-acd0-89e1e40bb04f"\n'
    # Whoever can reach the socket was let through by its permissions: names mean nothing there.
    assert ask_socket(path, "/health/live", host="primes.example")[0] == 200
    assert terminated(server) == 0
    assert not path.exists()
    # Clients have no address there.
    assert server.errors
    assert all(re.search(r' INFO unix "(GET|POST) ', line) for line in server.errors)


def test_a_socket_that_a_killed_server_left_is_replaced(start: Start, path: Path) -> None:
    """Nobody answers on it any more."""
    first = start("--unix-socket", str(path))
    first.says("serves on")
    first.signal(signal.SIGKILL)
    first.ends()
    assert path.exists()
    second = start("--unix-socket", str(path))
    second.says("serves on")
    assert ask_socket(path, "/health/live")[0] == 200
    assert terminated(second) == 0
    assert not path.exists()


def test_a_socket_in_use_is_left_alone(start: Start, path: Path) -> None:
    """The second server says so, with code 2, and the first serves on."""
    first = start("--unix-socket", str(path))
    first.says("serves on")
    done = run("--unix-socket", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"primesvc: cannot listen on {path}: ")
    assert "--unix-socket" in line
    assert ask_socket(path, "/health/live")[0] == 200
    assert terminated(first) == 0


def test_a_file_is_no_socket(here: Here, path: Path) -> None:
    """What stands at the path and is something else is neither replaced nor removed."""
    path.write_text("precious")
    code, out, errors = here("--unix-socket", str(path))
    assert (code, out) == (2, "")
    assert errors.startswith(f"primesvc: cannot listen on {path}: ")
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["no/such/directory", "x" * 200])
def test_a_path_that_can_be_none_is_explained(here: Here, tmp_path: Path, name: str) -> None:
    """A directory that is not there, and a path that is too long."""
    code, out, errors = here("--unix-socket", str(tmp_path / name))
    assert (code, out) == (2, "")
    assert "Traceback" not in errors
    assert errors.startswith("primesvc: cannot listen on ")


def test_a_socket_that_was_replaced_is_left_alone(start: Start, path: Path) -> None:
    """What another server put in its place is not ours to remove."""
    server = start("--unix-socket", str(path))
    server.says("serves on")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert terminated(server) == 0
        assert path.exists()


def test_a_busy_socket_is_in_use(path: Path) -> None:
    """A server that lets nobody in for now is not waited for."""
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as stack:
        busy.bind(str(path))
        busy.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        done = run("--unix-socket", str(path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"primesvc: cannot listen on {path}: ")
        assert path.exists()


# --- hangups -------------------------------------------------------------------------------------


def test_a_hangup_stops_as_sigterm_does(start: Start, path: Path) -> None:
    """What is under way is finished, and the socket goes; a second hangup hurries nothing."""
    server = start("--unix-socket", str(path), "--drain-s", "60")
    server.says("serves on")
    server.says("try: ")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT_S)
        client.connect(str(path))
        client.sendall(
            b"POST /jobs?start=1000000000000&end=1005000000000&kind=count HTTP/1.1\r\n"
            b"Host: localhost\r\nPrefer: wait=60\r\nConnection: close\r\n\r\n"
        )
        eventually(lambda: json.loads(ask_socket(path, "/jobs")[1])["total"] == 1)
        server.signal(signal.SIGHUP)
        server.says("stopping")
        server.signal(signal.SIGHUP)
        answer = b"".join(iter(lambda: client.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"state": "succeeded"' in answer
    assert server.ends(within_s=WAIT_S) == 0
    assert not path.exists()


def test_without_its_terminal_it_still_stops_well(path: Path) -> None:
    """What it says can be written nowhere then."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*MODULE, "--unix-socket", str(path), "--workers", "2"],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environ(), start_new_session=True,
    )  # fmt: skip
    try:
        os.close(theirs)
        eventually(path.exists)
        assert b"primesvc" in os.read(ours, 8)
        os.close(ours)  # the rest of what it says has nowhere to go
        assert ask_socket(path, "/health/live")[0] == 200
        process.send_signal(signal.SIGHUP)
        assert process.wait(WAIT_S) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait()


def test_a_hangup_that_is_ignored_stops_nothing() -> None:
    """As `nohup` starts it."""
    program = ["/bin/sh", "-c", "trap '' HUP && exec \"$@\"", "sh", *MODULE]
    with contextlib.ExitStack() as stack:
        server = Server(program=program)
        stack.callback(server.stop)
        server.ready()
        server.signal(signal.SIGHUP)
        assert server.submit(4, 11)
        assert ask(f"{server.url}/health/live")[0] == 200
        assert terminated(server) == 0


# --- addresses -----------------------------------------------------------------------------------


def link_local() -> str | None:
    """An address of this machine that is one of a link alone, which it names."""
    for name, addresses in psutil.net_if_addrs().items():
        for each in addresses:
            if each.family == socket.AF_INET6 and each.address.startswith("fe80:"):
                return f"{each.address.partition('%')[0]}%{name}"
    return None


def test_the_url_names_the_link_of_its_address(start: Start) -> None:
    """Without it nobody could connect."""
    host = link_local()
    if host is None:
        pytest.skip("no address of this machine is one of a link alone")
    server = start("--host", host)
    url = urlsplit(server.says(r"serves on (http://\S+)")[1])
    assert url.netloc.startswith(f"[{host.replace('%', '%25')}]:")
    assert url.port is not None
    with socket.create_connection((host, url.port), WAIT_S):
        pass
    assert terminated(server) == 0


# --- closed by default ---------------------------------------------------------------------------


def test_it_is_closed_to_foreign_names_and_pages(start: Start) -> None:
    """As a process too: the address it listens on decides."""
    server = start().ready()
    status, document = ask(f"{server.url}/jobs", Host="evil.example")
    assert (status, document["type"]) == (421, "urn:primesvc:problem:host-not-allowed")
    post = f"{server.url}/primes?start_num=4&end_num=11"
    status, document = ask(post, "POST", Origin="https://evil.example")
    assert (status, document["type"]) == (403, "urn:primesvc:problem:origin-not-allowed")
    assert ask(post, "POST", Host="localhost")[0] == 200
    assert ask(f"{server.url}/jobs")[1]["total"] == 1


def test_it_can_be_opened(start: Start) -> None:
    """With lists of hosts and sites."""
    server = start(
        "--allow-host", "primes.example, other.example", "--allow-origin", "https://app.example"
    ).ready()
    post = f"{server.url}/primes?start_num=4&end_num=11"
    assert ask(post, "POST", Host="other.example", Origin="https://app.example")[0] == 200
    assert ask(post, "POST", Host="third.example")[0] == 421


@pytest.mark.parametrize("host", ["localhost", pytest.param("127.1", marks=pytest.mark.slow)])
def test_every_name_of_the_loopback_is_closed(start: Start, host: str) -> None:
    """What the host to listen on stands for decides, not how it is written."""
    server = start("--host", host).ready()
    assert ask(f"{server.url}/jobs", Host="evil.example")[0] == 421


def test_on_every_address_any_name_will_do(start: Start) -> None:
    """A server for others is called as they like; their pages still change nothing."""
    server = start("--host", "0.0.0.0").ready()  # noqa: S104 - the point of the test
    url = server.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    assert ask(f"{url}/jobs", Host="primes.example")[0] == 200
    assert ask(f"{url}/jobs", "POST", Origin="https://evil.example")[0] == 403


# --- the token -----------------------------------------------------------------------------------


def test_the_token_is_asked_for_and_never_told(start: Start) -> None:
    """Given as a variable it is neither in what it says nor in what it logs, in any form."""
    server = start("--access-log", PRIMESVC_TOKEN=TOKEN)
    server.url = server.says(r"serves on (http://\S+)")[1]
    told = server.says("^try: (.*)$")[0]
    assert '-H "Authorization: Bearer $PRIMESVC_TOKEN"' in told
    for header in ("Bearer wrong-horse", f"Bearer {TOKEN}"):
        status, _ = ask(f"{server.url}/jobs", Authorization=header)
        assert status == (200 if TOKEN in header else 401)
    assert ask(f"{server.url}/jobs")[0] == 401
    assert ask(f"{server.url}/health/live")[0] == 200
    assert terminated(server) == 0
    assert len(server.errors) == 4
    assert "horse" not in told + "".join(server.errors)


@pytest.mark.parametrize("token", ["", " ", "correct horse", "cörrect-horse"])
def test_a_token_that_is_none_is_refused(here: Here, token: str) -> None:
    """An empty secret is a mistake somewhere, and would leave all open; what it is is not told."""
    code, out, errors = here("--port", "0", PRIMESVC_TOKEN=token)
    assert (code, out) == (2, "")
    assert errors.startswith("primesvc: PRIMESVC_TOKEN: ")
    assert "horse" not in errors


def test_help_does_not_tell_the_token(here: Here) -> None:
    """Its default is none, whatever the variable says."""
    code, out, errors = here("--help", PRIMESVC_TOKEN=TOKEN)
    assert (code, errors) == (0, "")
    assert "horse" not in out


def test_a_journal_that_is_no_file_is_refused(here: Here, tmp_path: Path) -> None:
    """A FIFO, whose open would wait for a writer; with a line, and the exit code of wrong use."""
    path = tmp_path / "journal"
    os.mkfifo(path)
    code, out, errors = here("--port", "0", "--journal", str(path))
    assert (code, out) == (2, "")
    assert errors == f"primesvc: the journal {path} cannot be used: it is not a regular file\n"


# --- logs ----------------------------------------------------------------------------------------


def test_a_stop_loses_no_line(start: Start) -> None:
    """What is collected is written in the end, as objects if so asked for."""
    server = start("--access-log", "--log-format", "json").ready()
    server.fetch("/health/live")
    assert terminated(server) == 0
    (line,) = server.errors
    assert json.loads(line)["path"] == "/health/live"


def test_lines_come_soon(start: Start) -> None:
    """They are collected for a moment only."""
    server = start("--access-log").ready()
    server.fetch("/health/live")
    began = time.monotonic()
    eventually(lambda: len(server.errors) == 1)
    assert time.monotonic() - began < SOON_S
