"""Memory for results on their way to clients: bounded, and shared by all of them.

Whoever sends something leases what it will hold at the most: little at
first, without which it is not begun; more to be fast, if there is more. So
a crowd of slow clients costs speed, then `503`, and never the memory.
"""

from typing import Final, Self

from primesvc.errors import ServiceFull

EXTENSION_SHARE: Final = 0.5
"""Share of the memory that may be leased for speed: the rest is for those who come later."""

_RETRY_S: Final = 2.0
"""Seconds after which a client may ask again when all is leased."""


class Buffers:
    """At most `max_bytes` leased at a time."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.taken_bytes = 0
        """How much is leased now."""
        self.refused = 0
        """How many leases were refused so far."""
        self._extended_bytes = 0

    def lease(self, size: int, *, for_speed: int = 0) -> "Lease":
        """So many bytes, until the context ends. Raises `ServiceFull` if there are not so many.

        `for_speed` is how many more `Lease.extend` asks for. One lease is always
        granted: what is larger than all there is goes alone.
        """
        if self.taken_bytes and self.taken_bytes + size > self.max_bytes:
            self.refused += 1
            raise ServiceFull(
                "too many results are on their way to clients",
                limit=self.max_bytes,
                retry_after_s=_RETRY_S,
            )
        self.taken_bytes += size
        return Lease(self, size, for_speed)

    def extend(self, size: int) -> bool:
        """Take so many more bytes for speed, if they can be spared; what `Lease.extend` calls."""
        extended = self._extended_bytes + size
        spared = extended <= self.max_bytes * EXTENSION_SHARE
        if not spared or self.taken_bytes + size > self.max_bytes:
            return False
        self.taken_bytes += size
        self._extended_bytes = extended
        return True

    def give_back(self, size: int, extension: int) -> None:
        """What `Lease` calls at its end."""
        self.taken_bytes -= size + extension
        self._extended_bytes -= extension

    def __repr__(self) -> str:
        return f"<Buffers {self.taken_bytes} of {self.max_bytes} bytes>"


class Lease:
    """Some of the memory, given back when the context ends."""

    __slots__ = ("_buffers", "_extension", "_for_speed", "_size")

    def __init__(self, buffers: Buffers, size: int, for_speed: int) -> None:
        self._buffers = buffers
        self._size = size
        self._for_speed = for_speed
        self._extension = 0

    def extend(self) -> bool:
        """Take more, to be fast, if it can be spared; whether the lease has it now."""
        if not self._extension and self._buffers.extend(self._for_speed):
            self._extension = self._for_speed
        return self._extension == self._for_speed

    def reduce(self) -> None:
        """Give the extension back."""
        self._buffers.give_back(0, self._extension)
        self._extension = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._buffers.give_back(self._size, self._extension)
        self._size = self._extension = 0
