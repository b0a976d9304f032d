"""An aiocache backend in the process's memory, bounded in bytes; cachetools does the eviction."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import cachetools
from aiocache import base, serializers

ENTRY_OVERHEAD_BYTES: Final = 320
"""Bytes an entry takes beyond its key and its value: its places in three dicts, its size, a pair.

The resident set grows by 230 an entry, by 318 just after the dicts have doubled.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What a cache holds and has done since it was made; a snapshot."""

    hits: int
    """Lookups by `get` or `multi_get` that found an entry."""
    misses: int
    """Lookups by `get` or `multi_get` that found none."""
    evictions: int
    """Entries dropped to make room; deleted ones do not count."""
    rejected: int
    """Values not stored because their entry alone would exceed `max_bytes`."""
    entries: int
    """Entries held now."""
    current_bytes: int
    """Cost in bytes of the entries held now."""
    max_bytes: int
    """Bound in bytes that `current_bytes` never exceeds."""


class _Entries(cachetools.LRUCache[str, tuple[str, Any]]):
    """Pairs of key and value, by key: cachetools asks for the size of a value alone."""

    evictions = 0

    def popitem(self) -> tuple[str, tuple[str, Any]]:
        """Evict the entry used least recently; cachetools calls it to make room."""
        self.evictions += 1
        return super().popitem()


class LRUCache(base.BaseCache):  # type: ignore[misc]  # aiocache has no annotations: its base is Any
    """A cache in memory that evicts the least recently used entries to stay within its bound.

    `get`, `multi_get`, `set`, `multi_set`, `exists`, `delete` and `clear` answer as those of
    `aiocache.SimpleMemoryCache` do, except that

    - `set` answers False for a value whose entry alone would exceed `max_bytes`; it evicts
      nothing then, but removes an earlier value under the key.
    - Entries have no time to live: to ask for one raises `NotImplementedError`, as do the
      commands of aiocache that are not named here.

    Reading and writing an entry are uses of it; `exists` is none. An entry costs what
    `sys.getsizeof` says of its key and its value, and `ENTRY_OVERHEAD_BYTES`. That does not
    follow references: store flat values, such as `bytes`. No command awaits anything, so each is
    atomic on the event loop. Use it from one event loop's thread only.

    `max_bytes` bounds the sum of the costs; 0 stores nothing. `options` are those of
    `aiocache.base.BaseCache`. By default values are stored as they are and commands have no
    timeout: that would wrap each in a task, which makes it several times dearer.

    Raises `ValueError` if `max_bytes` is negative.
    """

    NAME = "lru"

    def __init__(
        self,
        *,
        max_bytes: int,
        serializer: serializers.BaseSerializer | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must not be negative, got {max_bytes}")
        serializer = serializer or serializers.NullSerializer()
        super().__init__(serializer=serializer, timeout=timeout, **options)
        self._entries = _Entries(max_bytes, _cost)
        self._hits = self._misses = self._rejected = 0

    def stats(self) -> CacheStats:
        """Return the counters and the size as they are now."""
        return CacheStats(
            hits=self._hits,
            misses=self._misses,
            evictions=self._entries.evictions,
            rejected=self._rejected,
            entries=len(self._entries),
            current_bytes=int(self._entries.currsize),
            max_bytes=int(self._entries.maxsize),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.stats()}>"

    # The hooks of BaseCache, which calls them with the namespace in the keys and the values
    # serialized. The encoding and the connection are for backends that have a wire.

    async def _get(self, key: str, encoding: object = None, _conn: object = None) -> Any:
        entry = self._entries.get(key)
        if entry is None:
            self._misses += 1
            return None
        self._hits += 1
        return entry[1]

    async def _multi_get(
        self, keys: Iterable[str], encoding: object = None, _conn: object = None
    ) -> list[Any]:
        return [await self._get(key) for key in keys]

    async def _set(self, key: str, value: Any, ttl: float | None = None, **unused: object) -> bool:
        if ttl:
            raise NotImplementedError("entries of this cache have no time to live")
        await self._delete(key)  # first, so that its bytes evict nobody
        try:
            self._entries[key] = key, value
        except ValueError:
            self._rejected += 1
            return False
        return True

    async def _multi_set(
        self, pairs: Iterable[tuple[str, Any]], ttl: float | None = None, _conn: object = None
    ) -> bool:
        for key, value in pairs:
            await self._set(key, value, ttl)
        return True

    async def _exists(self, key: str, _conn: object = None) -> bool:
        return key in self._entries

    async def _delete(self, key: str, _conn: object = None) -> int:
        if key not in self._entries:
            return 0
        del self._entries[key]
        return 1

    async def _clear(self, namespace: str | None = None, _conn: object = None) -> bool:
        for key in [key for key in self._entries if key.startswith(namespace or "")]:
            del self._entries[key]
        return True

    async def _close(self, *args: object, **kwargs: object) -> None:
        await self._clear()


def _cost(entry: tuple[str, Any]) -> int:
    key, value = entry
    return sys.getsizeof(key) + sys.getsizeof(value) + ENTRY_OVERHEAD_BYTES
