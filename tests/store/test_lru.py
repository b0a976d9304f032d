"""The byte-bounded LRU cache, through aiocache's commands."""

import dataclasses
import sys
import tracemalloc
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from aiocache import SimpleMemoryCache, cached, plugins, serializers
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from primesvc.store.lru import ENTRY_OVERHEAD_BYTES, CacheStats, LRUCache
from tests.helpers import WAIT_S

PLENTY_BYTES = 1 << 20


def cost(key: str, value: Any) -> int:
    """Compute what an entry costs, a second time."""
    return sys.getsizeof(key) + sys.getsizeof(value) + ENTRY_OVERHEAD_BYTES


def finish(command: Coroutine[Any, Any, Any]) -> Any:
    """Run a command without any loop; it must not wait."""
    try:
        command.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the command waited")


async def test_get_returns_the_stored_object_itself() -> None:
    """Without a serializer a value comes back as the very object that was set."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    value = bytearray(b"segment")
    assert await cache.set("k", value) is True
    assert await cache.get("k") is value
    assert await cache.get("absent", default="none") == "none"


def test_the_overhead_is_what_an_entry_really_takes() -> None:
    """The bytes counted for small entries cover what they allocate, without great exaggeration."""
    cache = LRUCache(max_bytes=1 << 30)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        # A little above two thirds of 2^15, where the dicts have just doubled.
        for number in range(22_000):
            finish(cache.set(f"{number:016}", bytes(100)))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= cache.stats().current_bytes <= 1.5 * (after - before)


@pytest.mark.parametrize(
    ("command", "is_use"),
    [
        pytest.param(lambda cache: cache.get("a"), True, id="get"),
        pytest.param(lambda cache: cache.multi_get(["a"]), True, id="multi_get"),
        pytest.param(lambda cache: cache.set("a", 1), True, id="set"),
        pytest.param(lambda cache: cache.multi_set([("a", 1)]), True, id="multi_set"),
        pytest.param(lambda cache: cache.exists("a"), False, id="exists"),
    ],
)
async def test_reads_and_writes_are_uses(
    command: Callable[[LRUCache], Awaitable[Any]], is_use: bool
) -> None:
    """Reading or writing an entry saves it from eviction, asking about it does not."""
    async with LRUCache(max_bytes=2 * cost("k", 1)) as cache:
        await cache.multi_set([("a", 1), ("b", 1)])
        await command(cache)
        await cache.set("c", 1)
        assert [await cache.exists(key) for key in "abc"] == [is_use, not is_use, True]


async def test_entries_have_no_time_to_live() -> None:
    """A ttl is refused aloud and stores nothing: no entry would go when it is over."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    for command in (cache.set("k", b"v", ttl=1), cache.multi_set([("k", b"v")], ttl=1)):
        with pytest.raises(NotImplementedError, match="no time to live"):
            await command
    assert not await cache.exists("k")


async def test_clear_keeps_other_namespaces() -> None:
    """Clearing a namespace removes its keys only; clearing without one removes all."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await cache.set("k", b"1", namespace="one:")
    await cache.set("k", b"2", namespace="two:")
    assert await cache.clear(namespace="one:") is True
    assert cache.stats().current_bytes == cost("two:k", b"2")
    assert await cache.clear() is True
    assert (cache.stats().entries, cache.stats().current_bytes) == (0, 0)


async def test_leaving_the_context_empties_the_cache() -> None:
    """The cache is empty after its context or close, which may be repeated, and usable again."""
    async with LRUCache(max_bytes=PLENTY_BYTES) as cache:
        await cache.set("k", b"v")
    assert (cache.stats().entries, cache.stats().current_bytes) == (0, 0)
    await cache.close()
    await cache.set("k", b"v")
    assert await cache.get("k") == b"v"


async def test_a_snapshot_stays_as_it_was() -> None:
    """Statistics are of their moment: they cannot be written and do not follow later commands."""
    cache = LRUCache(max_bytes=1000)
    before = cache.stats()
    await cache.get("absent")
    assert (before.misses, cache.stats().misses) == (0, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.hits = 1  # type: ignore[misc]  # the point of the test
    assert "misses=1" in repr(cache)


def test_the_constructor_checks_and_defaults() -> None:
    """A negative bound is a ValueError; unlike aiocache's, the default timeout is none."""
    with pytest.raises(ValueError, match="max_bytes must not be negative, got -1"):
        LRUCache(max_bytes=-1)
    assert LRUCache(max_bytes=1).timeout is None


async def test_base_options_reach_the_base() -> None:
    """Serializer, plugins, namespace, key builder and timeout do what aiocache says they do."""
    cache = LRUCache(
        max_bytes=PLENTY_BYTES,
        serializer=serializers.JsonSerializer(),
        plugins=[plugins.HitMissRatioPlugin()],
        namespace="ns:",
        key_builder=lambda key, namespace: f"{namespace}{key.upper()}",
        timeout=WAIT_S,
    )
    await cache.set("k", [1, 2])
    assert await cache.get("k") == [1, 2]
    assert cache.stats().current_bytes == cost("ns:K", "[1, 2]")
    assert cache.hit_miss_ratio["hits"] == 1


async def test_it_serves_the_cached_decorator() -> None:
    """A function decorated with aiocache's cached is computed once and found in our cache."""
    calls: list[int] = []

    async def compute(n: int) -> int:
        calls.append(n)
        return n * n

    square = cached(
        cache=LRUCache, max_bytes=PLENTY_BYTES, ttl=None, key_builder=lambda _f, n: f"{n}"
    )(compute)
    assert [await square(3), await square(3)] == [9, 9]
    assert calls == [3]


NAMES = ("a", "bb", "ns:a", "ns:bb", "a rather long key")
KEYS = st.sampled_from(NAMES)
VALUES = st.one_of(
    st.binary(max_size=8),
    st.integers(0, 2000).map(bytes),
    st.integers(-(1 << 70), 1 << 70),
    st.text(max_size=8),
)
BOUND_BYTES = 4 * cost("", b"") + 40
"""Room for four of the smallest entries, and too little for the largest values."""


class CacheBesideModel(RuleBasedStateMachine):
    """The cache and an ordered dict that forgets by the same rules, step by step."""

    @initialize(bound_bytes=st.sampled_from([BOUND_BYTES, 4 * cost("a", b""), 0]))
    def start(self, bound_bytes: int) -> None:
        """Begin empty."""
        self.cache = LRUCache(max_bytes=bound_bytes)
        self.bound_bytes = bound_bytes
        self.model: OrderedDict[str, Any] = OrderedDict()
        self.hits = self.misses = self.evictions = self.rejected = 0

    def model_bytes(self) -> int:
        """Add the costs up anew."""
        return sum(cost(key, value) for key, value in self.model.items())

    @rule(key=KEYS, value=VALUES)
    def set(self, key: str, value: Any) -> None:
        """Store as last, then forget the first ones until the bound holds."""
        self.model.pop(key, None)
        fits = cost(key, value) <= self.bound_bytes
        assert finish(self.cache.set(key, value)) is fits
        if not fits:
            self.rejected += 1
            return
        self.model[key] = value
        while self.model_bytes() > self.bound_bytes:
            self.model.popitem(last=False)
            self.evictions += 1

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        """Get, which is a use."""
        assert finish(self.cache.get(key, default="none")) == self.model.get(key, "none")
        if key in self.model:
            self.model.move_to_end(key)
            self.hits += 1
        else:
            self.misses += 1

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """Delete, if it is there."""
        assert finish(self.cache.delete(key)) == int(key in self.model)
        self.model.pop(key, None)

    @rule(namespace=st.sampled_from([None, "", "ns:"]))
    def clear(self, namespace: str | None) -> None:
        """Clear one namespace or all."""
        finish(self.cache.clear(namespace=namespace))
        for key in [key for key in self.model if key.startswith(namespace or "")]:
            del self.model[key]

    @invariant()
    def same_keys_bytes_and_counters(self) -> None:
        """Compare all that can be seen; to ask whether a key exists is no use of it."""
        for key in NAMES:
            assert finish(self.cache.exists(key)) is (key in self.model)
        assert self.cache.stats() == CacheStats(
            hits=self.hits,
            misses=self.misses,
            evictions=self.evictions,
            rejected=self.rejected,
            entries=len(self.model),
            current_bytes=self.model_bytes(),
            max_bytes=self.bound_bytes,
        )


def test_any_history_matches_the_model() -> None:
    """After any commands the entries, their order, the bytes and the counters are the model's."""
    run_state_machine_as_test(
        CacheBesideModel, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )


COMMANDS = st.one_of(
    st.tuples(st.just("set"), KEYS, VALUES),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("exists"), KEYS),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("multi_get"), st.lists(KEYS)),
    st.tuples(st.just("multi_set"), st.lists(st.tuples(KEYS, VALUES))),
    st.tuples(st.just("clear"), st.sampled_from([None, "ns:"])),
)


@settings(deadline=None)
@given(st.lists(COMMANDS, max_size=30))
def test_with_room_it_answers_as_aiocaches_memory_cache(commands: list[tuple[Any, ...]]) -> None:
    """As long as nothing must be evicted, every command answers as SimpleMemoryCache does."""
    ours, theirs = LRUCache(max_bytes=PLENTY_BYTES), SimpleMemoryCache(timeout=None)
    for name, *arguments in commands:
        ours_says, theirs_says = (
            finish(getattr(cache, name)(*arguments)) for cache in (ours, theirs)
        )
        assert ours_says == theirs_says
