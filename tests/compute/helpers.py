"""What the tests of backends share: calls that are held, and any function as a call."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from primesvc.compute.backend import Backend
from tests.compute import calls
from tests.helpers import eventually


class Gate:
    """Holds calls in worker processes until it is opened."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "gate"
        self.started = directory / "started"
        self.started.mkdir()
        os.mkfifo(self.path)
        self._fd: int | None = None

    @property
    def args(self) -> tuple[Path, Path]:
        """What `calls.hold` takes."""
        return self.path, self.started

    @property
    def pids(self) -> set[int]:
        """The processes that were held so far."""
        return {int(path.name) for path in self.started.iterdir()}

    async def holds(self, count: int) -> None:
        """Wait until so many processes were held."""
        await eventually(lambda: len(self.pids) == count)

    def open(self) -> None:
        """Let all calls pass, those to come too."""
        self._fd = os.open(self.path, os.O_RDWR)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)


async def run(
    backend: Backend,
    function: Callable[..., Any],
    *args: Any,
    deadline_s: float | None = None,
) -> Any:
    """What the function returns, run in a worker of the backend."""
    result = await backend.run(calls.call, function, args, deadline_s=deadline_s)
    return pickle.loads(result.view)  # noqa: S301 - from our own worker


def pids_of(backend: Backend) -> list[int]:
    """The processes of the backend that are up."""
    return list(backend.snapshot().pids)
