"""Watches the memory of a process and all its descendants."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

SAMPLE_S: Final = 0.05
"""Seconds between two looks."""

_PSS: Final = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
_RSS: Final = re.compile(rb"^Rss:\s+(\d+) kB", re.MULTILINE)


class Peak:
    """The largest sums over all processes at one time so far, in bytes.

    `pss` counts a shared page once, `rss` once for each process that has it.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.pss = 0
        self.rss = 0
        self.samples = 0

    def look(self) -> None:
        """Take a sample."""
        pss = rss = 0
        for pid in (self._pid, *_descendants(self._pid)):
            try:
                memory = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
            except OSError:  # it has ended
                continue
            pss += _kilobytes(_PSS, memory)
            rss += _kilobytes(_RSS, memory)
        self.pss = max(self.pss, pss * 1024)
        self.rss = max(self.rss, rss * 1024)
        self.samples += 1


def _descendants(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:  # one ended while they were listed
        return []


def _kilobytes(pattern: re.Pattern[bytes], memory: bytes) -> int:
    match = pattern.search(memory)
    return int(match[1]) if match else 0


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """The peak of the process and its descendants while the context is open."""
    peak = Peak(pid)
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(SAMPLE_S):
            peak.look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()
