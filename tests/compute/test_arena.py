"""The shared memory: how its slots are leased, that it is shared, and that it goes away."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from primesvc.compute.arena import Arena, Slot, attach
from primesvc.compute.local import LocalBackend
from primesvc.compute.worker import Payload
from tests.compute import calls
from tests.compute.helpers import run

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"),
        reason="there is shared memory of this kind on Linux only",
    ),
]

SLOTS = 3
SLOT_BYTES = 8192


def held() -> int:
    """How many descriptors and mappings of shared memory of ours this process has."""
    gc.collect()
    links = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links += "memfd:primesvc" in str(entry.readlink())
        except FileNotFoundError:  # the one that lists the directory
            continue
    return links + Path("/proc/self/maps").read_text().count("memfd:primesvc")


@pytest.fixture
def arena() -> Iterator[Arena]:
    """An arena of three slots that nobody has leased yet."""
    arena = Arena(slots=SLOTS, slot_bytes=SLOT_BYTES)
    yield arena
    arena.close()


def lease(arena: Arena) -> Slot:
    """A slot that must be there."""
    slot = arena.lease()
    assert slot is not None
    return slot


def test_no_memory_is_taken_before_the_first_lease(arena: Arena) -> None:
    """An arena holds no descriptor and no mapping until a slot is leased."""
    before = held()
    assert held() == before
    assert arena.free == SLOTS
    lease(arena)
    assert held() > before


def test_the_slot_released_last_is_leased_first(arena: Arena) -> None:
    """Slots are used again last in, first out, so that few of them take memory."""
    first, second = lease(arena), lease(arena)
    second.release()
    first.release()
    assert lease(arena) is first
    assert lease(arena) is second


def test_an_exhausted_arena_gives_none(arena: Arena) -> None:
    """When all slots are leased there is none, until one is released."""
    slots = [lease(arena) for _ in range(SLOTS)]
    assert arena.free == 0
    assert arena.lease() is None
    slots[1].release()
    assert arena.free == 1
    assert arena.lease() is slots[1]
    assert arena.lease() is None


def test_slots_do_not_overlap(arena: Arena) -> None:
    """Every slot is its full size of memory of its own."""
    slots = [lease(arena) for _ in range(SLOTS)]
    for number, slot in enumerate(slots):
        slot.view[:] = bytes([number]) * SLOT_BYTES
    assert [bytes(slot.view) for slot in slots] == [bytes([n]) * SLOT_BYTES for n in range(SLOTS)]


async def test_another_process_shares_the_memory(arena: Arena) -> None:
    """What a worker writes through its own mapping is in the slot, and it sees what we write."""
    backend = LocalBackend(1)
    slots = [lease(arena) for _ in range(SLOTS)]
    for number, slot in enumerate(slots):
        text = f"written to slot {number}".encode()
        assert await run(backend, calls.fill, text, slot.ref) == Payload(len(text), None)
        assert bytes(slot.view[: len(text)]) == text
    slots[0].view[:7] = b"changed"
    assert await run(backend, calls.read, 17, slots[0].ref) == b"changed to slot 0"
    await backend.close()


async def test_a_dead_worker_leaves_the_memory_alone(arena: Arena) -> None:
    """Memory that a worker had mapped stays as it is when the worker is gone."""
    backend = LocalBackend(1)
    slot = lease(arena)
    await run(backend, calls.fill, b"written", slot.ref)
    await backend.close()
    assert bytes(slot.view[:7]) == b"written"


def test_close_lets_go_of_everything(arena: Arena) -> None:
    """After closing there is neither descriptor nor mapping, and nothing to lease."""
    before = held()
    lease(arena).release()
    arena.close()
    assert held() == before
    assert arena.lease() is None
    assert held() == before


def test_close_before_the_first_lease(arena: Arena) -> None:
    """An arena that was never used closes without having taken any memory, and stays closed."""
    before = held()
    arena.close()
    assert arena.lease() is None
    assert held() == before


def test_close_may_be_called_again(arena: Arena) -> None:
    """Closing twice closes no descriptor that meanwhile belongs to somebody else."""
    lease(arena).release()
    arena.close()
    with Path(os.devnull).open() as other:
        arena.close()
        assert os.fstat(other.fileno())


def test_a_view_outlives_the_close(arena: Arena) -> None:
    """A slot in use when the arena closes can be read and written; its release frees the memory."""
    before = held()
    slot = lease(arena)
    slot.view[:7] = b"written"
    arena.close()
    assert bytes(slot.view[:7]) == b"written"
    slot.view[:7] = b"changed"
    assert bytes(slot.view[:7]) == b"changed"
    slot.release()
    del slot
    assert held() == before
    assert arena.lease() is None


def test_a_forgotten_arena_lets_go(arena: Arena) -> None:
    """An arena that is dropped without being closed holds nothing either."""
    before = held()
    dropped = Arena(slots=SLOTS, slot_bytes=SLOT_BYTES)
    lease(dropped)
    assert held() > before
    del dropped
    assert held() == before


def test_a_closed_arena_cannot_be_attached(arena: Arena) -> None:
    """Who comes too late to attach gets an OSError."""
    ref = lease(arena).ref
    arena.close()
    with pytest.raises(FileNotFoundError):
        attach(ref)


def test_without_anonymous_files_there_are_no_slots(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a system that has no such memory every lease is None."""
    monkeypatch.delattr(os, "memfd_create")
    assert arena.lease() is None
    assert arena.free == 0


def test_when_no_descriptor_is_left_there_are_no_slots(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that refuses the memory costs the slots, and no error."""

    def refuse(*_: object) -> int:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert arena.lease() is None


def test_repr_tells_how_much_is_free(arena: Arena) -> None:
    """The representation tells how many slots of what size are free."""
    lease(arena)
    assert repr(arena) == f"<Arena 2 of 3 slots of {SLOT_BYTES} bytes free>"
