"""The commands that do one thing and end, as users have them: real processes, pipes, terminals."""

import asyncio
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has no annotations
import psutil
import pyarrow.ipc  # type: ignore[import-untyped]  # it has no annotations
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pytest_aiohttp.plugin import AiohttpServer

from primesvc import PrimeService, Range, Settings, create_app
from primesvc.cli.exits import Exit
from primesvc.cli.progress import DELAY_S
from tests.helpers import WAIT_S, eventually, naive_primes
from tests.oracles import PI_OF_POWERS, primes_between, statistics_of
from tests.program import Here, environ

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals"),
]

PROGRAM = [sys.executable, "-W", "error", "-m", "primesvc"]

HUGE = ("0", "1e12")

DEAR = ("1e18", "10**18+40000000000")
"""A range that is counted by sieving, for a minute."""
"""A range that takes minutes to count."""

FORMATS = ["text", "json", "ndjson", "csv", "npy", "arrow"]
NO_JOB = "00000000-0000-4000-8000-000000000000"


def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    """The program run to its end."""
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, env=environ(**variables), timeout=WAIT_S,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def shell(command: str) -> "subprocess.CompletedProcess[bytes]":
    """A command line of the shell, run to its end."""
    return subprocess.run(
        ["/bin/bash", "-c", command], capture_output=True, env=environ(), timeout=WAIT_S,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def output(*arguments: str, **variables: str) -> str:
    """What the program prints, asserted to end well and without a word on standard error."""
    done = run(*arguments, **variables)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode()


def complaint(done: "subprocess.CompletedProcess[bytes]", code: int) -> str:
    """The one line that the program says with an exit code of failure, and prints nothing else."""
    assert done.returncode == code, done.stderr
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("primesvc: ")
    return line


@contextmanager
def started(*arguments: str, **options: Any) -> "Iterator[subprocess.Popen[bytes]]":
    """The program, running; killed in the end if it still does."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [*PROGRAM, *arguments], env=environ(), start_new_session=True, **{**pipes, **options}
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.005)


def works(process: "subprocess.Popen[bytes]") -> bool:
    """Whether its workers work."""
    return bool(sum(child.cpu_times().user for child in family(process)) > 0.3)


def family(process: "subprocess.Popen[bytes]") -> "list[psutil.Process]":
    """All processes it started."""
    found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return found


def lasts(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Whether it runs for so long already."""
    return bool(time.time() - psutil.Process(process.pid).create_time() > seconds)


def all_gone(processes: "list[psutil.Process]") -> bool:
    """Whether none of them runs any more."""
    _, alive = psutil.wait_procs(processes, timeout=0)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


class Terminal:
    """A terminal of its own for a program's standard error, or for all it writes."""

    def __init__(self, columns: int) -> None:
        import pty  # not on Windows, nor is the next
        import termios

        self._mine, self.theirs = pty.openpty()
        termios.tcsetwinsize(self.theirs, (24, columns))
        self.text = ""

    def shows(self, pattern: str) -> bool:
        """Whether what came so far, and what comes now, holds the pattern."""
        os.set_blocking(self._mine, False)
        try:
            while data := os.read(self._mine, 2**16):
                self.text += data.decode()
        except OSError:  # there is nothing, or nobody, now
            pass
        return re.search(pattern, self.text) is not None

    def close(self) -> None:
        """Take it away."""
        os.close(self._mine)
        os.close(self.theirs)


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A terminal, as wide as its parameter says, or as usual."""
    terminal = Terminal(getattr(request, "param", 100))
    yield terminal
    terminal.close()


# primes


def test_primes_of_a_range_are_lines() -> None:
    """Both ends belong to the range, and each prime is a line."""
    assert output("primes", "5", "11") == "5\n7\n11\n"
    assert output("primes", "24", "28") == ""


@pytest.mark.parametrize(
    ("start", "end"),
    [("999_900", "10**6"), ("9.999e5", "1e6"), ("10^6-100", "1000000")],
)
def test_numbers_may_be_written_in_any_form(here: Here, start: str, end: str) -> None:
    """Powers, exponents and underscores are read, and exactly."""
    code, out, _ = here("primes", start, end)
    assert code == 0
    assert list(map(int, out.split())) == naive_primes(999_900, 10**6)


@pytest.mark.parametrize(
    ("arguments", "primes"),
    [
        (["--pattern", "twins"], [3, 5, 11, 17, 29, 41]),
        (["--pattern", "0,2,6"], [5, 11, 17, 41]),
        (["--modulus", "10", "--residue", "1"], [11, 31, 41]),
    ],
)
def test_some_of_the_primes(here: Here, arguments: list[str], primes: list[int]) -> None:
    """Constellations and residue classes are listed and counted."""
    code, out, _ = here("primes", "0", "49", *arguments)
    assert (code, list(map(int, out.split()))) == (0, primes)
    assert here("count", "0", "49", *arguments) == (0, f"{len(primes)}\n", "")


def test_primes_up_to_the_end_of_the_line(here: Here) -> None:
    """The last primes below 2^64 come out exact, and soon."""
    code, out, _ = here("primes", "2^64-1000", "2^64-1")
    assert code == 0
    assert list(map(int, out.split())) == primes_between(2**64 - 1000, 2**64 - 1)


@pytest.fixture(scope="module")
def sieved() -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """The primes up to 10^7, by a sieve that is three lines long."""
    prime = np.ones(10**7 + 1, bool)
    prime[:2] = False
    for n in range(2, 3163):
        if prime[n]:
            prime[n * n :: n] = False
    return np.flatnonzero(prime).astype(np.uint64)


def decode(name: str, data: bytes) -> Any:
    """The primes in a file, read with what is usual for its format."""
    if name == "npy":
        return np.load(io.BytesIO(data))
    if name == "arrow":
        return pyarrow.ipc.open_stream(data).read_all()["prime"].to_numpy()
    if name == "json":
        return np.array(json.loads(data), np.uint64)
    if name == "csv":
        return pd.read_csv(io.BytesIO(data))["prime"].to_numpy(np.uint64)
    return np.array(data.split(), np.uint64)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_primes(
    here: Here, tmp_path: Path, name: str, sieved: "np.ndarray[Any, np.dtype[np.uint64]]"
) -> None:
    """Over several segments, written while they are sieved, every format is what its readers take.

    The count it begins with, its separators and its end fit, also where the job was not finished.
    """
    file = tmp_path / "primes"
    assert here("primes", "0", "1e7", "--format", name, "-o", str(file)) == (0, "", "")
    assert np.array_equal(decode(name, file.read_bytes()), sieved)


def test_the_first_primes_of_a_huge_range_come_at_once() -> None:
    """Nobody has to wait for the last prime to see the first; and who has enough may go.

    A closed pipe ends it quietly and well.
    """
    with started("primes", *HUGE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert [process.stdout.readline() for _ in range(3)] == [b"2\n", b"3\n", b"5\n"]
        children = family(process)
        process.stdout.close()
        assert process.wait(WAIT_S) == Exit.OK
        assert process.stderr.read() == b""
    wait_until(lambda: all_gone(children))


@pytest.mark.parametrize(
    "command",
    [
        "{} primes 0 1e9 | head -n 2 && test ${{PIPESTATUS[0]}} = 0",
        "set -o pipefail; {} primes 0 1e9 --format npy | head -c 0",
        "{} count 0 100 | true; test ${{PIPESTATUS[0]}} = 0",
    ],
)
def test_a_pipe_that_is_closed(command: str) -> None:
    """`| head` ends it with 0 and without a word, whether much or little is left to print."""
    done = shell(command.format(shlex.join(PROGRAM)))
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert done.stdout in (b"", b"2\n3\n")


# count


def test_count() -> None:
    """The number of primes, on a line."""
    assert output("count", "0", "1e8") == f"{PI_OF_POWERS[8]}\n"


# nth


def test_nth(here: Here) -> None:
    """The prime, on a line; near and far, above and below."""
    assert here("nth", "1e6") == (0, "15485863\n", "")
    assert here("nth", "1e11") == (0, "2760727302517\n", "")
    assert here("nth", "-1", "--start", "100") == (0, "97\n", "")


async def test_nth_of_a_running_service(server: TestServer, there: PrimeService) -> None:
    """The service finds it, and lists its job without an end and a count."""
    where = ("--server", address(server))
    assert await ask("nth", "2", "--start", "10", *where) == (Exit.OK, b"13\n", "")
    assert [job.kind for job in there.jobs] == ["nth"]
    code, out, _ = await ask("jobs", *where)
    assert (code, out.decode().splitlines()[1].split()[1:]) == (
        Exit.OK, ["succeeded", "nth", "10", "100%"],
    )  # fmt: skip
    code, out, errors = await ask("nth", "0", *where)
    assert (code, out) == (Exit.USAGE, b"")
    assert "0th" in errors


# statistics


def test_statistics(here: Here) -> None:
    """A summary to be read, or all of it as JSON; a range without primes has little to say."""

    def output(*arguments: str) -> str:
        code, out, errors = here("statistics", *arguments)
        assert (code, errors) == (0, "")
        return out

    lines = output("0", "100", "--modulus", "4").splitlines()
    assert [line.split() for line in lines] == [
        ["range", "0..100"], ["primes", "25"], ["first", "2"], ["last", "97"],
        ["largest", "gap", "8", "after", "89"], ["twins", "8"], ["cousins", "8"], ["sexy", "15"],
        ["1", "mod", "4", "11", "44.000%"], ["2", "mod", "4", "1", "4.000%"],
        ["3", "mod", "4", "13", "52.000%"], ["gap", "1", "1", "4.167%"],
        ["gap", "2", "8", "33.333%"], ["gap", "4", "7", "29.167%"], ["gap", "6", "7", "29.167%"],
        ["gap", "8", "1", "4.167%"],
    ]  # fmt: skip
    assert output("90", "96") == "range        90..96\nprimes       0\n"
    assert output("7", "7").endswith("7 mod 10     1  100.000%\n")
    assert output("0", "1e6").splitlines()[-1] == "and 40 more"
    found = json.loads(output("0", "1000", "--json", "--bins", "4"))
    assert found == statistics_of(0, 1000, 10, 4)


async def test_statistics_of_a_running_service(server: TestServer) -> None:
    """The service counts, and says what it does not."""
    where = ("--server", address(server))
    code, out, _ = await ask("statistics", "0", "1000", "--json", "--bins", "4", *where)
    assert (code, json.loads(out)) == (Exit.OK, statistics_of(0, 1000, 10, 4))
    code, out, errors = await ask("statistics", "0", "1000", "--modulus", "10001", *where)
    assert (code, out) == (Exit.USAGE, b"")
    assert "modulus: it must be from 1 to 10000" in errors
    code, out, _ = await ask("jobs", *where)
    assert out.decode().splitlines()[1].split()[1:] == [
        "succeeded", "statistics", "0", "1000", "100%", "168",
    ]  # fmt: skip


# Files


def test_a_file_is_complete_when_it_is_there(tmp_path: Path) -> None:
    """`-o` writes the primes to a file, with the rights that files have, and prints nothing."""
    file = tmp_path / "primes.txt"
    assert output("primes", "0", "1e6", "-o", str(file)) == ""
    assert len(file.read_text().split()) == PI_OF_POWERS[6]
    (tmp_path / "other").touch()
    assert file.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert {path.name for path in tmp_path.iterdir()} == {"primes.txt", "other"}


def test_a_file_that_was_interrupted_is_not_there(tmp_path: Path) -> None:
    """While it is written it has another name; after Ctrl-C that is gone, the old file stays."""
    file = tmp_path / "primes.txt"
    file.write_text("old")
    with started("primes", *HUGE, "-o", str(file)) as process:
        part = tmp_path / f"primes.txt.{process.pid}.part"
        wait_until(lambda: part.exists() and part.stat().st_size > 0)
        assert file.read_text() == "old"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(WAIT_S) == Exit.INTERRUPTED
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What a link names is replaced, not the link."""
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(file)
    output("primes", "4", "11", "-o", str(link))
    assert link.is_symlink()
    assert file.read_text() == "5\n7\n11\n"


def test_what_is_no_regular_file_is_written_to_as_it_is() -> None:
    """`-o /dev/null` does not replace the device; `-o -` is standard output."""
    assert output("primes", "4", "11", "-o", os.devnull) == ""
    assert not Path(os.devnull).is_file()
    assert output("primes", "4", "11", "-o", "-") == "5\n7\n11\n"


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    """A file that cannot be made, a full disk and a closed output are failures that are named."""
    missing = tmp_path / "missing" / "file"
    line = complaint(run("primes", "0", "1e12", "-o", str(missing)), Exit.FAILED)
    assert line.endswith(f"cannot write {missing}: No such file or directory")
    line = complaint(run("primes", "0", "1e12", "-o", str(tmp_path)), Exit.FAILED)
    assert str(tmp_path) in line
    if Path("/dev/full").exists():
        line = complaint(run("primes", "4", "11", "-o", "/dev/full"), Exit.FAILED)
        assert line.endswith("cannot write /dev/full: No space left on device")
        command = f"{shlex.join(PROGRAM)} count 4 11 >/dev/full"
        assert complaint(shell(command), Exit.FAILED) == line.replace(
            "/dev/full", "standard output"
        )
    command = f"{shlex.join(PROGRAM)} primes 4 11 >&-"
    assert "standard output" in complaint(shell(command), Exit.FAILED)


# Ctrl-C and SIGTERM


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)]
)
def test_a_signal_ends_it_and_all_it_started(number: signal.Signals, code: Exit) -> None:
    """Ctrl-C and SIGTERM end it soon, without a word, with their codes, and no process stays."""
    with started("count", *DEAR) as process:
        wait_until(lambda: works(process))
        children = family(process)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        out, errors = process.communicate(timeout=WAIT_S)
        assert (process.returncode, out, errors) == (code, b"", b"")
    wait_until(lambda: all_gone(children))


def test_ctrl_c_while_nobody_empties_the_pipe() -> None:
    """A pipe that is full does not keep it from ending."""
    with started("primes", *HUGE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        wait_until(lambda: works(process))
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(WAIT_S) == Exit.INTERRUPTED
        assert process.stderr.read() == b""


# The progress bar


@pytest.mark.parametrize(
    ("terminal", "arguments", "shows"),
    [
        (100, ["count", *DEAR], r"sieving: +[0-9]+%\|.*\| [0-9.]+[kMG]/40\.0G \["),
        # Some terminals do not say how wide they are.
        (
            0,
            ["primes", *HUGE, "-o", os.devnull],
            r"writing: +[0-9]+%\|.*[kMG]/[0-9]+G \[.*B/s\]",
        ),
    ],
    indirect=["terminal"],
)
def test_a_terminal_gets_a_progress_bar(
    terminal: Terminal, arguments: list[str], shows: str
) -> None:
    """On a terminal a bar shows how far the work is, and is gone in the end."""
    with started(*arguments, stderr=terminal.theirs) as process:
        wait_until(lambda: terminal.shows(shows))
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(WAIT_S) == Exit.INTERRUPTED
        assert terminal.shows(r"\r *\r$")
        assert "Traceback" not in terminal.text


def test_there_is_no_bar_beside_a_pipe(terminal: Terminal) -> None:
    """Primes that go to another program, which may use the terminal itself, come without a bar."""
    with started("primes", *HUGE, stderr=terminal.theirs) as process:
        assert process.stdout is not None
        while not lasts(process, 3 * DELAY_S):
            assert process.stdout.read(2**20)
        process.stdout.close()
        assert process.wait(WAIT_S) == Exit.OK
    assert not terminal.shows(".")


def test_a_bar_can_be_asked_for_and_refused(terminal: Terminal) -> None:
    """`--progress` shows it where it would not be, `--no-progress` does not where it would."""
    with started("count", *DEAR, "--progress") as process:
        assert process.stderr is not None
        assert b"sieving" in process.stderr.read(10)
    with started("count", *DEAR, "--no-progress", stderr=terminal.theirs) as process:
        # By then there would be one.
        wait_until(lambda: works(process) and lasts(process, 2 * DELAY_S))
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(WAIT_S) == Exit.INTERRUPTED
    assert not terminal.shows(".")


def test_no_bytes_for_a_screen(terminal: Terminal) -> None:
    """NumPy and Arrow files are not written to a terminal."""
    with started("primes", "4", "11", "--format", "npy", stdout=terminal.theirs) as process:
        assert process.wait(WAIT_S) == Exit.USAGE
        assert process.stderr is not None
        assert b"npy is not for terminals: use -o FILE" in process.stderr.read()
    assert not terminal.shows(".")


# Numbers one by one

NUMBERS: list[tuple[list[str], int, str, str]] = [
    (["is-prime", "7"], 0, "7 is prime\n", ""),
    (["is-prime", "2", "9", "2^61-1"], 1,
     "2 is prime\n9 is not prime\n2305843009213693951 is prime\n", ""),
    (["next", "1e15"], 0, "1000000000000037\n", ""),
    (["next", "2^64-59"], 1, "", "there is no prime above 18446744073709551557 below 2^64"),
    (["prev", "2^64-1"], 0, "18446744073709551557\n", ""),
    (["prev", "2"], 1, "", "there is no prime below 2"),
    (["factor", "360"], 0, "360: 2 2 2 3 3 5\n", ""),
    (["factor", "1"], 0, "1:\n", ""),
    (["factor", "18446743979220271189"], 0, "18446743979220271189: 4294967279 4294967291\n", ""),
    (["number", "2^64-1"], 0,
     ("number    18446744073709551615\nis prime  no\n"
     "factors   3 * 5 * 17 * 257 * 641 * 65537 * 6700417\nprevious  18446744073709551557\n"
     "next      none below 2^64\n"
     "index     not counted: primesvc count 0 18446744073709551615\n"), ""),
    (["number", "0"], 0,
     "number    0\nis prime  no\nfactors   none\nprevious  none\nnext      2\nindex     0\n", ""),
]  # fmt: skip
"""Commands, their exit codes, what they print, and what they complain of."""


@pytest.mark.parametrize(
    ("arguments", "code", "printed", "says"), NUMBERS, ids=lambda value: str(value)[:30]
)
def test_numbers_one_by_one(
    here: Here, arguments: list[str], code: int, printed: str, says: str
) -> None:
    """Verdicts, neighbours and factors are printed; the exit code of `is-prime` is its verdict."""
    found, out, errors = here(*arguments)
    assert (found, out) == (code, printed)
    assert errors == (f"primesvc: {says}\n" if says else "")


# What the user can put right


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["primes", "4"], {}, "END"),
        (["primes", "four", "11"], {}, "START: 'four': it is not a whole number such as"),
        (["primes", "1.5", "11"], {}, "START"),
        (["count", "0", "1e99"], {}, "40 digits"),
        (["primes", "4", "11", "--format", "clay"], {}, "clay"),
        (["primes", "4", "11", "--colour"], {}, "--colour"),
        (["primes", "11", "4"], {}, "ends at or after its start, 11, not at 4"),
        (["count", "-5", "4"], {}, "starts at 0 or above, not at -5"),
        (["count", "0", "2^64"], {}, "2^64 - 1"),
        (["count", "0", "2^64-1", "--engine", "numpy"], {}, "the limit is 10000000000000"),
        (["count", "0", "1e6", "--max-span", "1e5"], {}, "the limit is 100000"),
        (["count", "0", "1e6"], {"PRIMESVC_MAX_SPAN": "1e5"}, "the limit is 100000"),
        (["count", "0", "1e6", "--workers", "many"], {}, "--workers"),
        (["--port", "1", "count", "4", "11"], {}, "--port is for serving, not for count"),
        (["jobs"], {}, "--server URL or PRIMESVC_SERVER"),
        (["cancel", NO_JOB], {}, "--server URL or PRIMESVC_SERVER"),
        (["count", "0", "9", "--modulus", "4"], {}, "--modulus and --residue go together"),
        (["count", "0", "9", "--modulus", "0", "--residue", "0"], {}, "modulus: give a whole"),
        (["primes", "0", "9", "--pattern", "0,2000"], {}, "pattern: its offsets go up to 1000"),
        (["is-prime"], {}, "N"),
        (["is-prime", "7", "many"], {}, "N: 'many': it is not a whole number such as"),
        (["is-prime", "7", "-7"], {}, "from 0 to 2^64 - 1 = 18446744073709551615, not -7"),
        (["number", "2^64"], {}, "18446744073709551615, not 18446744073709551616"),
        (["next", "1", "2"], {}, "unrecognized arguments: 2"),
        (["--port", "1", "factor", "4"], {}, "--port is for serving, not for factor"),
        (["cancel"], {"PRIMESVC_SERVER": "http://127.0.0.1"}, "ID"),
        (["jobs", "--state", "happy"], {}, "happy"),
        (["jobs", "--server", "localhost:8080"], {}, "'localhost:8080' is no http:// or https://"),
        (["jobs"], {"PRIMESVC_SERVER": "nowhere"}, "'nowhere' is no http"),
        (
            ["count", "4", "11", "--workers", "1", "--server", "http://127.0.0.1"], {},
            "--workers is for work done here",
        ),
    ],
)  # fmt: skip
def test_wrong_usage_is_explained(
    here: Here, arguments: list[str], variables: dict[str, str], says: str
) -> None:
    """What the user can put right ends it with 2, and the last line says what it is."""
    code, out, errors = here(*arguments, **variables)
    assert (code, out) == (Exit.USAGE, "")
    assert says in errors.splitlines()[-1]


def test_variables_of_the_server_do_not_disturb(here: Here) -> None:
    """A wrong variable of the server is none of a command that works here."""
    assert here("count", "4", "11", PRIMESVC_PORT="http", PRIMESVC_HOST="") == (0, "3\n", "")
    assert here("count", "4", "11", PRIMESVC_SERVER="", PRIMESVC_ENGINE="numpy") == (0, "3\n", "")


# With a running service


@asynccontextmanager
async def begun(*arguments: str, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program, running, while this process serves; killed in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *arguments, env=environ(**variables), start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ask(*arguments: str, **variables: str) -> tuple[int | None, bytes, str]:
    """Run the program to its end while this process serves: exit code, output, errors."""
    async with begun(*arguments, **variables) as process:
        out, errors = await asyncio.wait_for(process.communicate(), WAIT_S)
        return process.returncode, out, errors.decode()


def address(server: TestServer) -> str:
    """Where it listens."""
    return str(server.make_url("/"))


@pytest.mark.parametrize("name", [pytest.param("text", marks=pytest.mark.slow), "npy"])
async def test_a_service_gives_the_same_bytes(
    server: TestServer, there: PrimeService, name: str
) -> None:
    """With `--server` the work is done there, and the output is the same."""
    arguments = ("primes", "1000", "6e6", "--format", name, "--modulus", "4", "--residue", "1")
    code, out, errors = await ask(*arguments, "--server", address(server))
    assert (code, errors) == (0, "")
    assert len(there.jobs) == 1
    assert out == (await asyncio.to_thread(run, *arguments)).stdout


async def test_the_service_may_be_named_by_a_variable(
    server: TestServer, there: PrimeService
) -> None:
    """`PRIMESVC_SERVER` stands for `--server`."""
    answer = await ask("count", "0", "1e6", PRIMESVC_SERVER=address(server))
    assert answer == (0, b"78498\n", "")
    assert len(there.jobs) == 1


async def test_jobs_are_listed_and_cancelled(server: TestServer, there: PrimeService) -> None:
    """`jobs` lists what the service knows, `cancel` ends one of them."""
    here = {"PRIMESVC_SERVER": address(server)}
    async with asyncio.timeout(WAIT_S):
        done = await (await there.submit(Range(4, 11))).wait()
        job = await there.submit(Range(0, 10**12))
        code, out, errors = await ask("jobs", **here)
        assert (code, errors) == (0, "")
        head, first, second = out.decode().splitlines()
        assert head.split() == ["ID", "STATE", "KIND", "START", "END", "DONE", "PRIMES"]
        assert first.split()[:5] == [job.id, "running", "primes", "0", "1000000000000"]
        assert second.split() == [done.id, "succeeded", "primes", "4", "11", "100%", "3"]
        assert await ask("cancel", job.id, **here) == (0, f"cancelled {job.id}\n".encode(), "")
        assert job.state == "cancelled"
        code, out, errors = await ask("jobs", "--state", "running", **here)
        assert (code, out.splitlines()[1:], errors) == (0, [], "")


async def test_what_cannot_be_cancelled(server: TestServer, there: PrimeService) -> None:
    """An id without a job, and a job that is finished, are failures."""
    async with asyncio.timeout(WAIT_S):
        job = await (await there.submit(Range(4, 11))).wait()
    for job_id, says in ((NO_JOB, "404"), (job.id, "409")):
        code, out, errors = await ask("cancel", job_id, "--server", address(server))
        assert (code, out) == (Exit.FAILED, b"")
        assert f"primesvc: the service answers {says}: " in errors


async def test_a_range_that_the_service_does_not_take(aiohttp_server: AiohttpServer) -> None:
    """What the service does not allow is the user's to put right, as it is without a service."""
    server = await aiohttp_server(create_app(Settings(workers=1, max_span=1000)))
    code, out, errors = await ask("count", "0", "1e6", "--server", address(server))
    assert (code, out) == (Exit.USAGE, b"")
    assert "the limit is 1000" in errors


@pytest.mark.parametrize("command", ["count", "primes"])
async def test_ctrl_c_cancels_the_job_there(
    server: TestServer, there: PrimeService, command: str
) -> None:
    """Ctrl-C ends the program with 130, and the job that it waited for."""
    async with begun(
        command, *(DEAR if command == "count" else HUGE), "--server", address(server)
    ) as process:
        await eventually(lambda: any(job.state == "running" for job in there.jobs))
        (job,) = there.jobs
        os.killpg(process.pid, signal.SIGINT)
        out, errors = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert (process.returncode, out, errors) == (Exit.INTERRUPTED, b"", b"")
    assert job.state == "cancelled"


async def test_a_job_that_somebody_else_cancels(server: TestServer, there: PrimeService) -> None:
    """Who waits for a job that is cancelled is told so, and fails."""
    async with begun("count", *DEAR, "--server", address(server)) as process:
        await eventually(lambda: any(job.state == "running" for job in there.jobs))
        (job,) = there.jobs
        there.cancel(job)
        out, errors = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert (process.returncode, out) == (Exit.FAILED, b"")
    assert "was cancelled" in errors.decode()


async def test_the_progress_of_a_service_is_shown(server: TestServer) -> None:
    """A bar shows how far the work is there."""
    async with begun("count", *DEAR, "--server", address(server), "--progress") as process:
        assert process.stderr is not None
        shown = await asyncio.wait_for(process.stderr.readuntil(b"/40.0G"), WAIT_S)
        assert b"sieving" in shown


async def test_the_token_of_a_variable_or_a_flag(aiohttp_server: AiohttpServer) -> None:
    """A service that wants a token gets that of the flag, or of the variable."""

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer secret":
            raise web.HTTPUnauthorized
        answer: web.StreamResponse = await handler(request)
        return answer

    parent = web.Application(middlewares=[guard])
    parent.add_subapp("/primes/", create_app(Settings(workers=1)))
    server = await aiohttp_server(parent)
    here = str(server.make_url("/primes"))
    arguments = ["count", "4", "11", "--server", here]
    variable = {"PRIMESVC_TOKEN": "secret"}
    code, _, errors = await ask(*arguments)
    assert code == Exit.FAILED
    assert errors == "primesvc: the service answers 401: Unauthorized\n"
    assert await ask(*arguments, "--token", "secret") == (0, b"3\n", "")
    assert await ask(*arguments, **variable) == (0, b"3\n", "")


async def test_a_service_tells_the_same_of_numbers(server: TestServer) -> None:
    """With `--server` the answers about numbers come from there, and are the same."""
    for arguments, expected, printed, says in NUMBERS[1::3]:
        code, out, errors = await ask(*arguments, "--server", address(server))
        assert (code, out.decode()) == (expected, printed)
        assert errors == (f"primesvc: {says}\n" if says else "")
    code, out, errors = await ask("is-prime", "2^64", "--server", address(server))
    assert (code, out) == (Exit.USAGE, b"")
    assert "the service answers 422: a number is from 0 to 2^64 - 1" in errors


def test_a_service_that_is_not_there(here: Here, unused_tcp_port: int) -> None:
    """Without a server at the address it fails soon, and names the address."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    code, out, errors = here("count", "4", "11", "--server", url)
    assert (code, out) == (Exit.FAILED, "")
    assert f"no answer from {url}/jobs: " in errors


# What is written about it


def test_exit_codes_are_documented(here: Here) -> None:
    """`--help` names every exit code; the handbook's table is made from it."""
    _, help_, _ = here("--help")
    for code in Exit:
        assert re.search(rf"\b{code.value}\b", help_.partition("exit codes:")[2]), code


@pytest.mark.parametrize(
    "command",
    [
        "serve", "primes", "count", "nth", "statistics", "is-prime", "next", "prev", "factor",
        "number", "jobs", "cancel",
    ],
)  # fmt: skip
def test_every_command_has_help(here: Here, command: str) -> None:
    """`primesvc --help` lists the commands, and each has help of its own."""
    assert re.search(rf"^    {command} ", here("--help")[1], re.MULTILINE)
    assert here(command, "--help")[1].startswith(f"usage: primesvc {command} ")


def test_starting_it_loads_nothing() -> None:
    """Worker processes import the program's main module again: it loads nothing of what they don't.

    What a command needs is loaded when it runs.
    """
    code = "import sys; before = set(sys.modules); import primesvc.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=True
    ).stdout.split()
    ours = {name for name in loaded if name.startswith("primesvc.")}
    assert ours == {"primesvc.cli", "primesvc.cli.program", "primesvc.cli.exits"}
    assert not {"numpy", "aiohttp", "argparse", "tqdm", "asyncio"} & set(loaded)
