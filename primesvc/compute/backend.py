"""What a backend is: those who do the work, wherever they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from primesvc.compute.arena import Slot
from primesvc.compute.worker import Payload


class CallResult:
    """What a call returned, and its bytes, until `release`."""

    __slots__ = ("_slot", "value", "view")

    def __init__(self, value: Any, slot: Slot | None = None) -> None:
        self.value = value
        payload: Payload = value if isinstance(value, Payload) else value.payload
        self.view: memoryview
        """The bytes; not to be looked at after `release`."""
        if payload.inline is None:
            assert slot is not None  # noqa: S101 - the worker wrote where we told it to
            self.view = slot.view[: payload.size]
            self._slot: Slot | None = slot
        else:
            self.view = memoryview(payload.inline)
            self._slot = None
            if slot is not None:
                slot.release()

    def release(self) -> None:
        """Give the memory back; may be called again."""
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()
        self.view = memoryview(b"")


@dataclass(frozen=True, slots=True)
class BackendSnapshot:
    """What a backend has to tell; plain values."""

    pids: tuple[int, ...] = ()
    """Its processes on this machine that are up."""
    deaths: int | None = None
    """How many of its processes died, hung or ran out of memory so far; None where it has none."""
    lost_calls: int = 0
    """How many calls that ended, to be run again."""
    problem: str | None = None
    """Why it can do no work now, None if it can as far as is known."""


class Backend(Protocol):
    """Runs calls somewhere else: on processes of this machine, in an executor, on a cluster."""

    @property
    def slots(self) -> int:
        """How many calls it takes at a time."""

    @property
    def spare_slots(self) -> int:
        """How many calls of little work it takes besides, while all slots are busy."""

    async def start(self) -> None:
        """Get ready for calls now, instead of with the first one. Raises `WorkersUnavailable`."""

    async def run(
        self, function: Callable[..., Any], *args: Any, deadline_s: float | None = None
    ) -> CallResult:
        """The result of `function(*args, slot)`; raises what it raises.

        `slot` is memory to put a large result into, or None. A call that takes
        longer than `deadline_s` counts as hung. Cancelled, the call is ended.
        """

    async def close(self) -> None:
        """End all calls, which raise `ServiceClosed`. Bounded in time; may be called again."""

    def snapshot(self) -> BackendSnapshot:
        """What there is to tell of it now."""
