"""The program as a user has it: a process that starts, answers, drains and leaves nothing."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from primesvc import Settings
from tests.helpers import WAIT_S
from tests.program import (
    FILE,
    MODULE,
    SCRIPT,
    SOON_S,
    WORKERS,
    Here,
    Server,
    SlowReader,
    environ,
    eventually,
    run,
)

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals"),
]

BIG = (0, 10**11)
"""A range that takes many seconds to count."""


def alive(processes: "list[psutil.Process]") -> "list[psutil.Process]":
    """Those of the processes that still run."""
    running = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
        except psutil.NoSuchProcess:
            continue
    return running


@pytest.fixture
def read_slowly() -> Iterator[Callable[[Server], SlowReader]]:
    """Begins downloads, and leaves in the end."""
    with contextlib.ExitStack() as stack:

        def begin(server: Server) -> SlowReader:
            return stack.enter_context(contextlib.closing(SlowReader(server, *FILE)))

        yield begin


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starts servers, and makes sure that they are gone in the end."""
    servers: list[Server] = []

    def start_(*arguments: str, program: list[str] | None = None) -> Server:
        servers.append(Server(*arguments, program=program))
        return servers[-1]

    yield start_
    for server in servers:
        server.stop()


# Serving


@pytest.mark.parametrize(
    "program", [MODULE, [*SCRIPT, "serve"]], ids=["module", "script and command"]
)
def test_it_says_where_it_serves_and_answers_there(
    start: Callable[..., Server], program: list[str]
) -> None:
    """The first line of output is an address at which the two calls work."""
    server = start(program=program).ready()
    job_id = server.submit(4, 11)
    assert server.submit(4, 11) == job_id
    assert server.fetch(f"/result/{job_id}") == '"[5, 7, 11]"\n'
    server.signal(signal.SIGTERM)
    assert server.ends() == 0
    assert server.errors == []


def test_it_listens_on_the_loopback_only(start: Callable[..., Server]) -> None:
    """Unless told otherwise it is reachable from the machine itself, and from nowhere else."""
    server = start().ready()
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(server.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


def test_an_ipv6_address_is_a_url(start: Callable[..., Server]) -> None:
    """An IPv6 address stands in brackets in the line that says where it listens."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("there is no IPv6 on this machine")
    server = start("--host", "::1").ready()
    assert server.url.startswith("http://[::1]:")
    assert server.fetch("/health/live")


def test_requests_are_logged_if_asked_for(start: Callable[..., Server]) -> None:
    """With `--access-log` every request is a line on standard error."""
    server = start("--access-log").ready()
    server.fetch("/health/live")
    server.signal(signal.SIGTERM)
    assert server.ends() == 0
    assert len([line for line in server.errors if "GET /health/live" in line]) == 1


# Stopping


@pytest.mark.parametrize(
    "streams",
    [">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>/dev/full"],
)
def test_it_serves_whatever_its_standard_streams_are(tmp_path: Path, streams: str) -> None:
    """Closed or full, they are no reason to die, neither at the start nor at the stop."""
    path = tmp_path / "socket"
    program = shlex.join([*MODULE, "--workers", "1", "--unix-socket", str(path)])
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {program} {streams}"], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ(), start_new_session=True,
    )  # fmt: skip

    def is_ready() -> bool:
        assert process.poll() is None, process.communicate()
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(WAIT_S)
            client.connect(str(path))
            client.sendall(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return client.recv(64).startswith(b"HTTP/1.1 200 ")
        return False

    try:
        eventually(is_ready)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) == 0
        assert process.communicate()[1] == ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_complaint_without_standard_error_lands_nowhere_else() -> None:
    """The code says it failed; the output is for what was asked for."""
    command = f"{shlex.join([*MODULE, 'count', '9', 'x'])} 2>&-"
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, env=environ(), timeout=WAIT_S,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")


def terminate(server: Server) -> None:
    """What a service manager does."""
    server.signal(signal.SIGTERM)


def interrupt(server: Server) -> None:
    """What a terminal does."""
    server.ctrl_c()


@pytest.mark.parametrize("ask", [terminate, interrupt])
def test_a_signal_stops_it_and_all_it_started(
    start: Callable[..., Server], ask: Callable[[Server], None]
) -> None:
    """SIGTERM and Ctrl-C end it with code 0 and no word on standard error; no process is left."""
    server = start().ready()
    server.fetch(f"/result/{server.submit(*FILE)}")
    family = server.family()
    ask(server)
    server.says("stopping")
    assert server.ends() == 0
    assert server.errors == []
    eventually(lambda: not alive(family), within_s=SOON_S)


def at_once(_: Server) -> bool:
    """As soon as it listens."""
    return True


def fork_server_imports(server: Server, module: str) -> bool:
    """Whether the fork server, which is to start the workers, has come so far."""
    for child in psutil.Process(server.pid).children():
        with contextlib.suppress(OSError):
            if module in Path(f"/proc/{child.pid}/maps").read_text():
                return True
    return False


def its_fork_server_imports_numpy(server: Server) -> bool:
    """As soon as the fork server has begun with NumPy."""
    return fork_server_imports(server, "_multiarray_umath")


def its_fork_server_imports_linalg(server: Server) -> bool:
    """As soon as the fork server is half way through NumPy."""
    return fork_server_imports(server, "_umath_linalg")


def its_workers_start(server: Server) -> bool:
    """As soon as there is a worker besides the fork server and its helper."""
    return len(psutil.Process(server.pid).children(recursive=True)) > 2


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the moment is read from /proc")
@pytest.mark.parametrize(
    ("ask", "moment"),
    [
        (terminate, its_workers_start),
        (interrupt, at_once),
        (interrupt, its_fork_server_imports_numpy),
        pytest.param(terminate, at_once, marks=pytest.mark.slow),
        pytest.param(interrupt, its_fork_server_imports_linalg, marks=pytest.mark.slow),
        pytest.param(interrupt, its_workers_start, marks=pytest.mark.slow),
    ],
)
def test_a_signal_stops_it_while_it_starts(
    start: Callable[..., Server],
    ask: Callable[[Server], None],
    moment: Callable[[Server], bool],
) -> None:
    """A signal at any moment of the start of its processes ends it as quietly as later."""
    server = start().ready()
    eventually(lambda: moment(server))
    ask(server)
    server.says("stopping")
    assert server.ends() == 0
    assert server.errors == []


def test_long_jobs_do_not_hold_up_the_stop(start: Callable[..., Server]) -> None:
    """A job that would not end within the time there is is not waited for at all."""
    server = start("--drain-s", "60").ready()
    server.submit(0, 10**13 - 1)
    family = server.family()
    server.signal(signal.SIGTERM)
    assert server.ends() == 0
    assert server.errors == []
    eventually(lambda: not alive(family), within_s=SOON_S)


def test_a_download_under_way_is_finished_first(
    start: Callable[..., Server], read_slowly: Callable[[Server], SlowReader]
) -> None:
    """After the first signal a client still gets all of its file, and then the server ends."""
    server = start("--drain-s", "60").ready()
    reader = read_slowly(server)
    server.signal(signal.SIGTERM)
    server.says("stopping")
    assert server.process.poll() is None
    reader.read_on()
    assert reader.received == reader.length
    assert server.ends() == 0
    assert server.errors == []


def test_a_signal_for_the_whole_group_does_not_break_a_download(
    start: Callable[..., Server], read_slowly: Callable[[Server], SlowReader]
) -> None:
    """A service manager may send SIGTERM to the workers too: they are replaced while it drains."""
    server = start("--drain-s", "60").ready()
    reader = read_slowly(server)
    server.family()
    os.killpg(server.pid, signal.SIGTERM)
    server.says("stopping")
    reader.read_on()
    assert reader.received == reader.length
    assert server.ends() == 0
    # One that had just begun to start is told of otherwise than one that was up.
    assert [line for line in server.errors if "worker process" not in line] == []


@pytest.mark.parametrize("ask", [terminate, interrupt])
def test_a_second_signal_stops_at_once(
    start: Callable[..., Server],
    read_slowly: Callable[[Server], SlowReader],
    ask: Callable[[Server], None],
) -> None:
    """A client that takes nothing of its file is cut by the second signal, not after `drain_s`."""
    server = start("--drain-s", "60").ready()
    reader = read_slowly(server)
    family = server.family()
    ask(server)
    server.says("stopping")
    assert server.process.poll() is None
    ask(server)
    assert server.ends() == 0
    assert server.errors == []
    reader.read_on()
    assert reader.received < reader.length
    eventually(lambda: not alive(family), within_s=SOON_S)


def test_draining_is_bounded(
    start: Callable[..., Server], read_slowly: Callable[[Server], SlowReader]
) -> None:
    """A client that takes nothing of its file is cut after `drain_s`, without a second signal."""
    server = start("--drain-s", "1").ready()
    reader = read_slowly(server)
    server.signal(signal.SIGTERM)
    began = time.monotonic()
    assert server.ends(within_s=1 + SOON_S) == 0
    assert time.monotonic() - began > 0.9
    assert server.errors == []
    reader.read_on()
    assert reader.received < reader.length


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mappings are read from /proc")
def test_a_killed_server_leaves_nothing_behind(start: Callable[..., Server]) -> None:
    """When the server is killed in the middle of a job all its processes end, and no file stays."""
    server = start().ready()
    server.submit(*BIG)
    family = server.family()
    workers = [process for process in family if process.ppid() not in (os.getpid(), server.pid)]
    assert len(workers) == WORKERS + 1
    eventually(lambda: sum(worker.cpu_times().user for worker in workers) > 0.2)
    maps = Path(f"/proc/{server.pid}/maps").read_text()
    shared = {Path(name) for name in re.findall(r"/dev/shm/\S+", maps)}  # noqa: S108
    server.process.kill()
    assert server.ends() == -signal.SIGKILL
    eventually(lambda: not alive(family), within_s=SOON_S)
    assert [path for path in shared if path.exists()] == []
    assert server.errors == [], "no resource tracker finds anything leaked"


# What the user can put right


def test_a_port_in_use_is_explained(start: Callable[..., Server]) -> None:
    """A port in use ends it with code 2 and one line: the address, and how to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--port", str(port))
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"primesvc: cannot listen on 127.0.0.1 port {port}: ")
    assert "in use" in line
    assert "--port" in line


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_an_address_that_is_not_ours_is_explained(here: Here, host: str) -> None:
    """An address that cannot be listened on ends it with code 2 and one line that names it."""
    code, out, errors = here("--host", host, "--port", "0")
    assert (code, out) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith(f"primesvc: cannot listen on {host} port 0: ")
    assert "--host" in line


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        (["--port", "http"], {}, "--port"),
        (["--port", "65536"], {}, "--port"),
        (["--engine", "steam"], {}, "--engine"),
        (["--colour=red"], {}, "--colour"),
        (["sing"], {}, "sing"),
        ([], {"PRIMESVC_CACHE_BYTES": "lots"}, "PRIMESVC_CACHE_BYTES"),
        ([], {"PRIMESVC_ENGINE": "steam"}, "PRIMESVC_ENGINE"),
        ([], {"PRIMESVC_HOST": ""}, "PRIMESVC_HOST"),
    ],
)
def test_a_wrong_setting_is_named(
    here: Here, arguments: list[str], variables: dict[str, str], named: str
) -> None:
    """A wrong flag or variable ends it with code 2, and the last line says which it is."""
    code, out, errors = here(*arguments, **variables)
    assert (code, out) == (2, "")
    assert named in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_version() -> None:
    """`--version` says the version of the distribution."""
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"primesvc {version('primesvc')}\n",
        "",
    )


def test_help_lists_every_setting(here: Here) -> None:
    """`--help` has every setting with its help and its default."""
    code, out, errors = here("--help", COLUMNS="1000")
    assert (code, errors) == (0, "")
    for item in fields(Settings):
        default = str(item.default)
        if isinstance(item.default, bool):
            default = "yes" if item.default else "no"
        says = f"{item.metadata['help']} (default: {default})"
        flag = f"  --{item.name.replace('_', '-')}"
        assert says in out
        at = out.index(says)
        assert out.rindex(flag, 0, at) > at - 100, item.name


def test_help_needs_no_http() -> None:
    """The command line knows its flags before it has imported aiohttp: workers import it too."""
    code = "import primesvc.cli, sys; print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert done.stdout == "False\n"
