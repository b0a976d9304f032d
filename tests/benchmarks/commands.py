"""Runs command line programs and takes the time."""

import subprocess
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.benchmarks.errors import BenchmarkError

COMMAND_S: Final = 120.0
"""Seconds a command may take."""


class Ran(NamedTuple):
    """How long a command took, and what it printed."""

    seconds: float
    output: str


def timed(command: Sequence[str]) -> Ran:
    """Run a command. Raises `BenchmarkError` if it fails or takes too long."""
    began = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{command[0]} took longer than {COMMAND_S} s") from None
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise BenchmarkError(f"{command[0]} failed: {done.returncode} {done.stderr.strip()}")
    return Ran(seconds, done.stdout.strip())


def timed_into_pipe(command: Sequence[str]) -> float:
    """Seconds a command takes to write into a pipe that a reader drains.

    Raises `BenchmarkError` if it fails or takes too long.
    """
    began = time.perf_counter()
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    reader = subprocess.Popen(["cat"], stdin=writer.stdout, stdout=subprocess.DEVNULL)
    try:
        assert writer.stdout is not None
        writer.stdout.close()  # the reader has it
        if reader.wait(COMMAND_S) or writer.wait(COMMAND_S):
            raise BenchmarkError(f"{command[0]} failed: {writer.returncode}")
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{command[0]} took longer than {COMMAND_S} s") from None
    finally:
        for process in (writer, reader):
            process.kill()
            process.wait()
    return time.perf_counter() - began


def download(port: int, path: str) -> tuple[float, int]:
    """Seconds and bytes of a download through curl."""
    url = f"http://127.0.0.1:{port}{path}"
    ran = timed(["curl", "-s", "--fail", "-o", "/dev/null", "-w", "%{size_download}", url])
    return ran.seconds, int(ran.output)


def primesieve(start: int, end: int, *options: str) -> Ran:
    """Count the primes of the closed range by the primesieve command."""
    return timed(["primesieve", str(start), str(end), "--quiet", *options])
