"""Memory shared with the workers, for results too large for a pipe.

A pipe moves about 300 MB/s and costs the event loop time; a worker that
writes into shared memory costs it nothing. The memory is an anonymous file
(`memfd_create`) that the workers open through `/proc/<pid>/fd`: it has no
name to clean up, and is gone with the last process that holds it, however
that process ends. Where there is no such thing (macOS, Windows) there are no
slots to lease, and results take the pipe.
"""

import mmap
import os
import weakref
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple


class SlotRef(NamedTuple):
    """What a worker needs to know of a slot; travels with the call."""

    path: str
    arena_bytes: int
    offset: int
    size: int


class Slot:
    """One piece of the arena, leased until `release`."""

    __slots__ = ("_arena", "ref", "view")

    def __init__(self, arena: "Arena", ref: SlotRef, view: memoryview) -> None:
        self._arena = arena
        self.ref = ref
        self.view = view

    def release(self) -> None:
        """Give the slot back. Only when no worker can still write to it."""
        self._arena.give_back(self)


class Arena:
    """A fixed number of equal slots of shared memory, taken with the first lease."""

    def __init__(self, *, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._free: list[Slot] | None = None
        self._closed = False
        self._forget_file: weakref.finalize[..., Arena] | None = None

    def lease(self) -> Slot | None:
        """A free slot, or None if there is none: then the result takes the pipe."""
        if self._free is None:
            self._free = self._open()
        return self._free.pop() if self._free else None

    def _open(self) -> list[Slot]:
        if not hasattr(os, "memfd_create") or not Path("/proc/self/fd").is_dir():
            return []
        size = self.slots * self.slot_bytes
        try:
            fd = os.memfd_create("primesvc", os.MFD_CLOEXEC)
        except OSError:
            return []
        self._forget_file = weakref.finalize(self, os.close, fd)
        try:
            os.ftruncate(fd, size)
            whole = memoryview(mmap.mmap(fd, size))
        except OSError:
            self._forget_file()
            return []
        path = f"/proc/{os.getpid()}/fd/{fd}"
        return [
            Slot(
                self,
                SlotRef(path, size, at, self.slot_bytes),
                whole[at : at + self.slot_bytes],
            )
            for at in range(0, size, self.slot_bytes)
        ]

    def give_back(self, slot: Slot) -> None:
        """What `Slot.release` calls."""
        # Last in, first out: the slot used last is the likeliest to be in a cache,
        # and slots that were never needed never take memory.
        if self._free is not None and not self._closed:
            self._free.append(slot)

    @property
    def free(self) -> int:
        """How many slots are not leased."""
        return self.slots if self._free is None else len(self._free)

    def close(self) -> None:
        """Let go of the memory; the system frees it once nobody looks at it any more."""
        self._closed = True
        self._free = []
        if self._forget_file is not None:
            self._forget_file()

    def __repr__(self) -> str:
        return f"<Arena {self.free} of {self.slots} slots of {self.slot_bytes} bytes free>"


@lru_cache(maxsize=4)
def _attach(path: str, size: int) -> memoryview:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return memoryview(mmap.mmap(fd, size))
    finally:
        os.close(fd)


def attach(ref: SlotRef) -> memoryview:
    """The slot's memory in a worker, mapped once a process.

    Raises `OSError` if it cannot be opened.
    """
    return _attach(ref.path, ref.arena_bytes)[ref.offset : ref.offset + ref.size]
