"""What the tests of the compute side run in worker processes; imports little, as workers do."""

import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from primesvc.compute.arena import SlotRef, attach
from primesvc.compute.worker import Payload
from primesvc.errors import EngineFailed


def call(function: Callable[..., Any], args: tuple[Any, ...], slot: SlotRef | None) -> Payload:
    """Run any function as a call of the service: what it returns travels as bytes."""
    value = pickle.dumps(function(*args))
    return Payload(len(value), value)


def die() -> None:
    """Kill the worker that runs this."""
    os.kill(os.getpid(), signal.SIGKILL)


def hold(gate: Path, started: Path) -> int:
    """Leave a file that tells the process id, wait until the gate is opened, return the id."""
    (started / str(os.getpid())).touch()
    os.close(os.open(gate, os.O_RDONLY))
    return os.getpid()


def send(size: int, started: Path) -> bytes:
    """Leave a file that tells the process id, return so many bytes."""
    (started / str(os.getpid())).touch()
    return bytes(size)


def leave() -> None:
    """End the worker that runs this without a word."""
    os._exit(3)


def run_out_of_memory() -> None:
    """Ask for more memory than there is."""
    bytearray(2**62)


def die_at_first(deaths: int, diary: Path, gate: Path, started: Path) -> int:
    """Kill the worker the first times, noting them in the diary; after that hold."""
    with diary.open("a") as lines:
        lines.write("called\n")
    if len(diary.read_text().splitlines()) <= deaths:
        die()
    return hold(gate, started)


def fail(what: str) -> None:
    """Raise an error of our own."""
    raise EngineFailed(what)


def time_out(what: str) -> None:
    """Raise a TimeoutError."""
    raise TimeoutError(what)


def unpicklable(slot: SlotRef | None) -> object:
    """Return what no pipe takes."""
    return lambda: None


def sigint_handler() -> str:
    """How the worker takes SIGINT."""
    return str(signal.getsignal(signal.SIGINT))


def imported(*names: str) -> list[str]:
    """Which of the modules the worker has imported."""
    return [name for name in names if name in sys.modules]


def fill(text: bytes, slot: SlotRef | None) -> Payload:
    """Write the text into the slot, as a worker does with a result."""
    assert slot is not None
    attach(slot)[: len(text)] = text
    return Payload(len(text), None)


def read(size: int, slot: SlotRef) -> bytes:
    """The first bytes of the slot as this process sees them."""
    return bytes(attach(slot)[:size])
