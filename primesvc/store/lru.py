"""An aiocache backend in the process's memory, bounded in bytes.

- An entry enters only through ``_put`` and leaves only through ``_drop``: the two keep the count
  of bytes exact. No hook awaits anything, so that each is atomic on the event loop.
- An entry with a ttl owns a timer, which gives its bytes back when nobody asks for it again, and
  which is cancelled when the entry leaves earlier. On a busy loop the timer can be late: it is
  the deadline that decides whether an entry is alive.
"""

import asyncio
import contextvars
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aiocache import base, serializers

ENTRY_OVERHEAD_BYTES = 288
"""Bytes an entry takes beyond the characters of its key and the bytes of its value: the headers of
the two objects, the entry, its slot in the ordered dict, rounding by the allocator.

The resident set grows by 250 bytes an entry, by 283 just after the dict has doubled: this covers
the worst (CPython 3.11, x86-64 Linux, 44,000 entries). The timer of an entry with a ttl is not
counted: 290 bytes more on asyncio's loop, 630 on uvloop's.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What a cache holds and has done since it was made; a snapshot."""

    hits: int
    """Lookups by ``get`` or ``multi_get`` that found a live entry."""
    misses: int
    """Lookups by ``get`` or ``multi_get`` that found none."""
    evictions: int
    """Entries dropped to make room; deleted and expired ones do not count."""
    rejected: int
    """Values not stored because their entry alone would exceed ``max_bytes``."""
    entries: int
    """Entries held now."""
    current_bytes: int
    """Cost in bytes of the entries held now."""
    max_bytes: int
    """Bound in bytes that ``current_bytes`` never exceeds."""


@dataclass(slots=True)
class _Entry:
    value: Any
    cost: int
    deadline: float | None = None
    timer: asyncio.TimerHandle | None = None

    def is_live(self) -> bool:
        return self.deadline is None or time.monotonic() < self.deadline


class LRUCache(base.BaseCache):  # type: ignore[misc]  # aiocache has no annotations: its base is Any
    """A cache in memory that evicts the least recently used entries to stay within its bound.

    The commands (``get``, ``set``, ``add``, ...) are those of ``aiocache.base.BaseCache`` and
    answer as ``aiocache.SimpleMemoryCache`` does, except where a bound asks for more:

    - Reading and writing a key are uses of it; ``exists`` and ``expire`` are not.
    - An entry costs ``len(key)`` plus the bytes of its value plus ``ENTRY_OVERHEAD_BYTES``. The
      bytes of a value are its buffer if it is ``bytes``, ``bytearray`` or ``memoryview``, else
      ``sys.getsizeof``, which does not follow references: store flat values.
    - A value whose entry alone would exceed ``max_bytes`` is not stored: ``set`` answers False,
      no other entry is evicted, and an earlier value under the key is removed.
    - ``increment`` keeps the ttl of its key. ``set`` replaces it, by none if none is given.
    - ``raw`` offers the reading methods of a dict (``get``, ``keys``, ``items``, ...), over a copy
      of the live entries, least recently used first; it costs O(entries) and is no use of them.
    - ``close`` empties the cache; it can be used, and closed, again.

    Use it from one event loop's thread only.

    Args:
        max_bytes: bound on the sum of the entries' costs; 0 stores nothing.
        serializer: turns values into what is stored; the default stores them as they are.
        plugins: aiocache plugins.
        namespace: prefix of every key.
        key_builder: called with ``(key, namespace=...)`` to make the stored key.
        timeout: seconds a command may take. None is the default since no command waits: a timeout
            only wraps each in a task, which makes it several times dearer.
        ttl: seconds an entry lives unless its own command says otherwise; None or 0 is for ever.

    Raises:
        ValueError: ``max_bytes`` is negative.

    """

    NAME = "lru"

    def __init__(
        self,
        *,
        max_bytes: int,
        serializer: serializers.BaseSerializer | None = None,
        plugins: Sequence[Any] | None = None,
        namespace: str | None = None,
        key_builder: Callable[..., str] | None = None,
        timeout: float | None = None,
        ttl: float | None = None,
    ) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must not be negative, got {max_bytes}")
        super().__init__(
            serializer=serializer or serializers.NullSerializer(),
            plugins=plugins,
            namespace=namespace,
            key_builder=key_builder,
            timeout=timeout,
            ttl=ttl,
        )
        self._max_bytes = max_bytes
        self._current_bytes = self._hits = self._misses = self._evictions = self._rejected = 0
        # Least recently used first. Not a dict: to find the first key of one whose front keeps
        # being deleted is linear in the deletions.
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # Else a timer would keep its caller's context, and all that refers to, for its ttl.
        self._timer_context = contextvars.Context()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} entries={len(self._entries)}"
            f" bytes={self._current_bytes}/{self._max_bytes} hits={self._hits}"
            f" misses={self._misses} evictions={self._evictions} rejected={self._rejected}>"
        )

    def stats(self) -> CacheStats:
        """Return the counters and the size as they are now."""
        return CacheStats(
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
            rejected=self._rejected,
            entries=len(self._entries),
            current_bytes=self._current_bytes,
            max_bytes=self._max_bytes,
        )

    # The hooks of BaseCache, which calls them with the namespace in the keys and the values
    # serialized. The encoding and the connection are for backends that have a wire.

    async def _get(self, key: str, encoding: object = None, _conn: object = None) -> Any:
        return self._use(key)

    async def _gets(self, key: str, encoding: object = None, _conn: object = None) -> Any:
        return self._use(key)

    async def _multi_get(
        self, keys: Iterable[str], encoding: object = None, _conn: object = None
    ) -> list[Any]:
        return [self._use(key) for key in keys]

    async def _set(
        self,
        key: str,
        value: Any,
        ttl: float | None = None,
        _cas_token: Any = None,
        _conn: object = None,
    ) -> bool:
        if _cas_token is not None:
            entry = self._live(key)
            if entry is None or _cas_token != entry.value:
                return False
        return self._put(key, value, _deadline(ttl))

    async def _multi_set(
        self, pairs: Iterable[tuple[str, Any]], ttl: float | None = None, _conn: object = None
    ) -> bool:
        for key, value in pairs:
            self._put(key, value, _deadline(ttl))
        return True

    async def _add(
        self, key: str, value: Any, ttl: float | None = None, _conn: object = None
    ) -> bool:
        if self._live(key) is not None:
            raise ValueError(f"Key {key} already exists, use .set to update the value")
        return self._put(key, value, _deadline(ttl))

    async def _exists(self, key: str, _conn: object = None) -> bool:
        return self._live(key) is not None

    async def _increment(self, key: str, delta: int, _conn: object = None) -> int:
        entry = self._live(key)
        try:
            value = delta if entry is None else int(entry.value) + delta
        except ValueError:
            raise TypeError("Value is not an integer") from None
        self._put(key, value, None if entry is None else entry.deadline)
        return value

    async def _expire(self, key: str, ttl: float | None, _conn: object = None) -> bool:
        entry = self._live(key)
        if entry is None:
            return False
        self._set_deadline(key, entry, _deadline(ttl))
        return True

    async def _delete(self, key: str, _conn: object = None) -> int:
        return 0 if self._live(key) is None else self._drop(key)

    async def _clear(self, namespace: str | None = None, _conn: object = None) -> bool:
        prefix = namespace or ""
        for key in [key for key in self._entries if key.startswith(prefix)]:
            self._drop(key)
        return True

    async def _raw(
        self, command: str, *args: Any, encoding: object = None, _conn: object = None, **kw: Any
    ) -> Any:
        # A copy: a command that changed the entries would leave the count of bytes wrong.
        live = {key: entry.value for key, entry in self._entries.items() if entry.is_live()}
        return getattr(MappingProxyType(live), command)(*args, **kw)

    async def _redlock_release(self, key: str, value: Any) -> int:
        entry = self._live(key)
        return 0 if entry is None or entry.value != value else self._drop(key)

    async def _close(self, *args: Any, **kwargs: Any) -> None:
        await self._clear()

    # The entries: two lookups, then the only places that change them.

    def _live(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is None or entry.is_live():
            return entry
        self._drop(key)
        return None

    def _use(self, key: str) -> Any:
        entry = self._live(key)
        if entry is None:
            self._misses += 1
            return None
        self._hits += 1
        self._entries.move_to_end(key)
        return entry.value

    def _put(self, key: str, value: Any, deadline: float | None) -> bool:
        entry = _Entry(value, _cost(key, value))
        self._drop(key)
        if entry.cost > self._max_bytes:
            self._rejected += 1
            return False
        while self._current_bytes + entry.cost > self._max_bytes:
            self._evictions += self._drop(next(iter(self._entries)))
        self._entries[key] = entry
        self._current_bytes += entry.cost
        self._set_deadline(key, entry, deadline)
        return True

    def _drop(self, key: str) -> int:
        entry = self._entries.pop(key, None)
        if entry is None:
            return 0
        self._current_bytes -= entry.cost
        if entry.timer is not None:
            entry.timer.cancel()
        return 1

    def _set_deadline(self, key: str, entry: _Entry, deadline: float | None) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        entry.deadline = deadline
        if deadline is not None:
            entry.timer = asyncio.get_running_loop().call_later(
                deadline - time.monotonic(), self._drop, key, context=self._timer_context
            )


def _deadline(ttl: float | None) -> float | None:
    # As in aiocache, a ttl of 0 means none.
    return time.monotonic() + ttl if ttl else None


def _cost(key: str, value: Any) -> int:
    is_buffer = isinstance(value, (bytes, bytearray, memoryview))
    size = memoryview(value).nbytes if is_buffer else sys.getsizeof(value)
    return len(key) + size + ENTRY_OVERHEAD_BYTES
