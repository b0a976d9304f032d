"""The byte-bounded LRU cache, through aiocache's commands."""

import array
import asyncio
import contextvars
import dataclasses
import gc
import sys
import time
import tracemalloc
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from aiocache import SimpleMemoryCache, cached, lock, plugins, serializers
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from primesvc.store.lru import ENTRY_OVERHEAD_BYTES, CacheStats, LRUCache
from tests.helpers import WAIT_S, eventually

TTL_S = 0.01
# For tests in which a command must come before the deadline even on a machine that stalls.
ROOMY_TTL_S = 0.2
AN_HOUR_S = 3600.0
PLENTY_BYTES = 1 << 20

Command = Callable[[LRUCache], Awaitable[Any]]


def cost(key: str, value: Any) -> int:
    """Compute what an entry costs, a second time."""
    if isinstance(value, memoryview):
        size = value.nbytes
    elif isinstance(value, bytes | bytearray):
        size = len(value)
    else:
        size = sys.getsizeof(value)
    return size + len(key) + ENTRY_OVERHEAD_BYTES


def room_for(entries: int, *, value_bytes: int = 10) -> LRUCache:
    """Make a cache that holds just so many entries of one-letter keys."""
    return LRUCache(max_bytes=entries * cost("k", bytes(value_bytes)))


async def keys(cache: LRUCache) -> list[str]:
    """Return the live keys, least recently used first."""
    return list(await cache.raw("keys"))


async def set_and_outlive(cache: LRUCache, key: str, value: Any) -> None:
    """Set with a ttl, then hold the loop past the deadline: the timer has had no chance to run."""
    await cache.set(key, value, ttl=TTL_S)
    deadline = time.monotonic() + TTL_S
    while time.monotonic() < deadline:
        pass


def finish(command: Coroutine[Any, Any, Any]) -> Any:
    """Run a command without any loop; it must not wait."""
    try:
        command.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the command waited")


# Storing and counting bytes


async def test_get_returns_the_stored_object_itself() -> None:
    """Without a serializer a value comes back as the very object that was set."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    value = bytearray(b"segment")
    assert await cache.set("k", value) is True
    assert await cache.get("k") is value
    assert await cache.get("absent", default="none") == "none"


async def test_commands_need_no_loop_turn() -> None:
    """Commands complete at once, so that each is atomic on the loop."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    assert finish(cache.set("k", b"v")) is True
    assert finish(cache.get("k")) == b"v"
    assert finish(cache.multi_set([("a", b"1"), ("b", b"2")])) is True
    assert finish(cache.multi_get(["a", "k", "absent"])) == [b"1", b"v", None]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x" * 1000,
        bytearray(77),
        memoryview(array.array("Q", range(9))),
        "a string",
        12,
        1 << 200,
    ],
    ids=["empty", "bytes", "bytearray", "memoryview", "str", "int", "big int"],
)
async def test_an_entry_costs_its_key_its_value_and_the_overhead(value: Any) -> None:
    """The bytes counted for an entry are exact for every kind of value and fall back to 0."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await cache.set("a longer key", value)
    assert cache.stats().current_bytes == cost("a longer key", value)
    await cache.delete("a longer key")
    assert cache.stats().current_bytes == 0


def test_the_overhead_is_what_an_entry_really_takes() -> None:
    """The bytes counted for small entries cover what they allocate, without great exaggeration."""
    cache = LRUCache(max_bytes=1 << 30)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        # A little above two thirds of 2^13, where the dict has just doubled.
        for number in range(5500):
            finish(cache.set(f"{number:016}", bytes(100)))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= cache.stats().current_bytes <= 1.5 * (after - before)


async def test_overwriting_counts_only_the_new_value() -> None:
    """Overwriting an entry of a full cache gives the old bytes back first and evicts nobody."""
    cache = room_for(2)
    await cache.set("a", bytes(10))
    await cache.set("b", bytes(10))
    await cache.set("a", bytes(9))
    assert await keys(cache) == ["b", "a"]
    assert cache.stats().current_bytes == cost("a", bytes(9)) + cost("b", bytes(10))
    assert cache.stats().evictions == 0


# Evicting


async def test_the_bound_is_reached_but_not_passed() -> None:
    """Entries that fill the bound to the byte all stay; one byte more evicts the oldest."""
    cache = room_for(3)
    for key in "abc":
        await cache.set(key, bytes(10))
    assert cache.stats().current_bytes == cache.stats().max_bytes
    assert cache.stats().evictions == 0
    await cache.set("c", bytes(11))
    assert await keys(cache) == ["b", "c"]
    assert cache.stats().evictions == 1


async def test_a_large_value_evicts_as_many_as_it_needs() -> None:
    """Making room drops the least recently used entries, no more of them than needed."""
    cache = room_for(4)
    for key in "abcd":
        await cache.set(key, bytes(10))
    await cache.set("e", bytes(10 + cost("k", bytes(10))))
    assert await keys(cache) == ["c", "d", "e"]
    assert cache.stats().evictions == 2


@pytest.mark.parametrize(
    ("command", "is_use"),
    [
        pytest.param(lambda cache: cache.get("a"), True, id="get"),
        pytest.param(lambda cache: cache.multi_get(["a"]), True, id="multi_get"),
        pytest.param(lambda cache: cache.set("a", 1), True, id="set"),
        pytest.param(lambda cache: cache.multi_set([("a", 1)]), True, id="multi_set"),
        pytest.param(lambda cache: cache.increment("a"), True, id="increment"),
        pytest.param(lambda cache: cache.exists("a"), False, id="exists"),
        pytest.param(lambda cache: cache.expire("a", AN_HOUR_S), False, id="expire"),
        pytest.param(lambda cache: cache.raw("get", "a"), False, id="raw"),
        pytest.param(lambda cache: cache.set("a", 1, _cas_token=2), False, id="failed cas"),
    ],
)
async def test_reads_and_writes_are_uses(command: Command, is_use: bool) -> None:
    """Reading or writing an entry saves it from eviction, asking about it does not."""
    async with LRUCache(max_bytes=2 * cost("k", 1)) as cache:
        await cache.set("a", 1)
        await cache.set("b", 1)
        await command(cache)
        await cache.set("c", 1)
        assert await keys(cache) == (["a", "c"] if is_use else ["b", "c"])


async def test_a_value_too_large_is_not_stored() -> None:
    """A value that cannot fit removes the one it replaces and touches no other entry."""
    cache = room_for(3)
    for key in "abc":
        await cache.set(key, bytes(10))
    too_large = bytes(cache.stats().max_bytes - len("b") - ENTRY_OVERHEAD_BYTES + 1)
    assert await cache.set("b", too_large) is False
    assert await keys(cache) == ["a", "c"]
    assert cache.stats().current_bytes == 2 * cost("k", bytes(10))
    assert (cache.stats().rejected, cache.stats().evictions) == (1, 0)
    assert await cache.set("b", too_large[1:]) is True
    assert await keys(cache) == ["b"]


async def test_a_bound_of_zero_stores_nothing() -> None:
    """A cache of no bytes accepts every command and keeps nothing."""
    cache = LRUCache(max_bytes=0)
    assert await cache.set("k", b"") is False
    assert await cache.increment("n", 3) == 3
    assert (len(cache), cache.stats().rejected) == (0, 2)


# Time to live


async def test_an_expired_entry_gives_its_bytes_back_untouched() -> None:
    """The bytes of an expired entry return without any access; its neighbours stay."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await cache.set("stays", b"v")
    await cache.set("goes", b"v", ttl=TTL_S)
    assert len(cache) == 2
    await eventually(lambda: len(cache) == 1)
    assert await keys(cache) == ["stays"]
    assert cache.stats().current_bytes == cost("stays", b"v")
    assert cache.stats().evictions == 0


def test_ttls_work_on_uvloop() -> None:
    """On uvloop too a late timer shows no expired entry, and timers give the bytes back."""
    uvloop = pytest.importorskip("uvloop")

    async def scenario() -> None:
        cache = LRUCache(max_bytes=PLENTY_BYTES)
        await set_and_outlive(cache, "late", b"v")
        assert await cache.get("late") is None
        await cache.set("goes", b"v", ttl=TTL_S)
        await eventually(lambda: len(cache) == 0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        pytest.param(lambda cache: cache.get("k"), None, id="get"),
        pytest.param(lambda cache: cache.multi_get(["k"]), [None], id="multi_get"),
        pytest.param(lambda cache: cache.exists("k"), False, id="exists"),
        pytest.param(lambda cache: cache.delete("k"), 0, id="delete"),
        pytest.param(lambda cache: cache.expire("k", AN_HOUR_S), False, id="expire"),
        pytest.param(lambda cache: cache.add("k", 2), True, id="add"),
        pytest.param(lambda cache: cache.increment("k", 5), 5, id="increment"),
        pytest.param(lambda cache: cache.set("k", 2, _cas_token=1), False, id="cas"),
        pytest.param(lambda cache: cache.raw("get", "k"), None, id="raw"),
        pytest.param(lambda cache: cache._gets("k"), None, id="gets"),
        pytest.param(lambda cache: cache._redlock_release("k", 1), 0, id="redlock_release"),
    ],
)
async def test_a_late_timer_shows_no_expired_entry(command: Command, answer: Any) -> None:
    """Past its deadline an entry is absent for every command, although its timer has not run."""
    async with LRUCache(max_bytes=PLENTY_BYTES) as cache:
        await set_and_outlive(cache, "k", 1)
        assert len(cache) == 1
        assert await command(cache) == answer


async def test_whoever_meets_an_expired_entry_drops_it() -> None:
    """An access past the deadline gives the bytes back without waiting for the late timer."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await set_and_outlive(cache, "k", b"v")
    assert await cache.get("k") is None
    assert (len(cache), cache.stats().current_bytes) == (0, 0)


async def test_a_key_set_again_after_expiry_outlives_the_old_timer() -> None:
    """The timer of an expired entry does not take the entry that succeeded it."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await set_and_outlive(cache, "k", b"old")
    await cache.set("k", b"new")
    await cache.set("clock", b"v", ttl=TTL_S)
    await eventually(lambda: len(cache) == 1)
    assert await cache.get("k") == b"new"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda cache: cache.set("k", 2), id="set"),
        pytest.param(lambda cache: cache.multi_set([("k", 2)]), id="multi_set"),
        pytest.param(lambda cache: cache.expire("k", 0), id="expire"),
        pytest.param(lambda cache: cache.set("k", 2, ttl=AN_HOUR_S), id="set longer"),
        pytest.param(lambda cache: cache.expire("k", AN_HOUR_S), id="expire longer"),
    ],
)
async def test_a_new_ttl_replaces_the_earlier_one(command: Command) -> None:
    """An entry written again, or given another ttl, outlives its first deadline and timer."""
    async with LRUCache(max_bytes=PLENTY_BYTES) as cache:
        await cache.set("k", 1, ttl=ROOMY_TTL_S)
        await command(cache)
        await cache.set("clock", 1, ttl=ROOMY_TTL_S)
        await eventually(lambda: len(cache) == 1)
        assert await cache.exists("k")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda cache: cache.add("k", 1, ttl=TTL_S), id="add"),
        pytest.param(lambda cache: cache.multi_set([("k", 1)], ttl=TTL_S), id="multi_set"),
        pytest.param(lambda cache: cache.set("k", 1), id="the cache's own ttl"),
    ],
)
async def test_every_writer_takes_a_ttl(command: Command) -> None:
    """A ttl is honoured by every command that takes one, and else the cache's own."""
    cache = LRUCache(max_bytes=PLENTY_BYTES, ttl=TTL_S)
    await command(cache)
    assert len(cache) == 1
    await eventually(lambda: len(cache) == 0)
    assert cache.stats().current_bytes == 0


async def test_expire_gives_an_entry_a_deadline() -> None:
    """An entry that had no ttl expires after the one it is given; an absent key is refused."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await cache.set("k", b"v")
    assert await cache.expire("k", TTL_S) is True
    await eventually(lambda: len(cache) == 0)
    assert cache.stats().current_bytes == 0
    assert await cache.expire("k", TTL_S) is False


async def test_increment_keeps_the_ttl() -> None:
    """A counter that is incremented still expires at its first deadline."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await cache.set("n", 1, ttl=ROOMY_TTL_S)
    assert await cache.increment("n") == 2
    await eventually(lambda: len(cache) == 0)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda cache: cache.set("k", 2), id="overwrite"),
        pytest.param(lambda cache: cache.set("k", bytes(PLENTY_BYTES)), id="reject"),
        pytest.param(lambda cache: cache.set("l", bytes(PLENTY_BYTES - 400)), id="evict"),
        pytest.param(lambda cache: cache.delete("k"), id="delete"),
        pytest.param(lambda cache: cache.expire("k", 0), id="expire"),
        pytest.param(lambda cache: cache.clear(), id="clear"),
        pytest.param(lambda cache: cache.clear(namespace="k"), id="clear namespace"),
        pytest.param(lambda cache: cache.close(), id="close"),
        pytest.param(lambda cache: cache._redlock_release("k", 1), id="redlock_release"),
    ],
)
async def test_no_timer_is_left_behind(command: Command) -> None:
    """Once its entry is gone or has no ttl, no timer on the loop refers to the cache."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await cache.set("k", 1, ttl=AN_HOUR_S)
    await command(cache)
    # A timer that is still due holds the cache, whoever else has let it go.
    reference = weakref.ref(cache)
    del cache
    gc.collect()
    assert reference() is None


async def test_a_timer_does_not_keep_its_callers_context() -> None:
    """What a request put in its context is free before the ttl of what it cached has passed."""

    class Request:
        """Something that takes weak references."""

    current: contextvars.ContextVar[Request] = contextvars.ContextVar("current")

    async def serve() -> weakref.ref[Request]:
        request = Request()
        current.set(request)
        await cache.set("k", b"v", ttl=AN_HOUR_S)
        return weakref.ref(request)

    async with LRUCache(max_bytes=PLENTY_BYTES) as cache:
        reference = await asyncio.create_task(serve())
        # The task itself, and with it the context, is gone only after some turns of the loop.
        await eventually(lambda: reference() is None)


# The other commands


async def test_add_refuses_a_key_that_exists() -> None:
    """Adding stores under a free key and leaves a taken one as it is."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    assert await cache.add("k", b"first") is True
    with pytest.raises(ValueError, match="Key k already exists"):
        await cache.add("k", b"second")
    assert await cache.get("k") == b"first"
    assert cache.stats().current_bytes == cost("k", b"first")


async def test_increment_counts_the_bytes_of_the_new_number() -> None:
    """Incrementing creates, adds, subtracts, and follows the size of the number."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    assert await cache.increment("n", 5) == 5
    assert await cache.increment("n", -7) == -2
    assert await cache.increment("n", 1 << 100) == (1 << 100) - 2
    assert cache.stats().current_bytes == cost("n", 1 << 100)


async def test_increment_refuses_what_is_no_integer() -> None:
    """Incrementing something else is a TypeError and leaves the entry as it is."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await cache.set("k", b"word")
    with pytest.raises(TypeError, match="not an integer"):
        await cache.increment("k")
    assert await cache.get("k") == b"word"


async def test_clear_keeps_other_namespaces() -> None:
    """Clearing a namespace removes its keys only; clearing without one removes all."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await cache.set("k", b"1", namespace="one:")
    await cache.set("k", b"2", namespace="two:")
    assert await cache.clear(namespace="one:") is True
    assert await cache.raw("items") == {"two:k": b"2"}.items()
    assert cache.stats().current_bytes == cost("two:k", b"2")
    assert await cache.clear() is True
    assert (len(cache), cache.stats().current_bytes) == (0, 0)


async def test_raw_cannot_change_the_entries() -> None:
    """A raw command that would write is an AttributeError, and the entries stay."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    await cache.set("k", b"v")
    for command in ("pop", "clear", "__setitem__"):
        with pytest.raises(AttributeError):
            await cache.raw(command, "k")
    assert await cache.raw("get", "k") == b"v"


async def test_an_optimistic_lock_notices_a_change() -> None:
    """A compare-and-set succeeds on the value that was read and fails on any other."""
    cache = LRUCache(max_bytes=PLENTY_BYTES, namespace="ns:")
    await cache.set("k", b"old")
    async with lock.OptimisticLock(cache, "k") as unchanged:
        assert await unchanged.cas(b"new") is True
    async with lock.OptimisticLock(cache, "k") as changed:
        await cache.set("k", b"newer")
        with pytest.raises(lock.OptimisticLockError):
            await changed.cas(b"mine")
    assert await cache.get("k") == b"newer"


async def test_a_redlock_is_released_by_its_holder_only() -> None:
    """The lock's entry goes when its holder leaves, not when another value is given back."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    holder = lock.RedLock(cache, "k", lease=AN_HOUR_S)
    async with holder:
        assert await cache._redlock_release(holder.key, "another") == 0
        assert await cache.exists(holder.key)
    assert await cache._redlock_release(holder.key, "another") == 0
    assert len(cache) == 0


async def test_a_redlock_makes_the_second_wait() -> None:
    """Who comes second enters after the first has left."""
    cache = LRUCache(max_bytes=PLENTY_BYTES)
    inside = asyncio.Event()
    leave = asyncio.Event()
    log: list[str] = []

    async def first() -> None:
        async with lock.RedLock(cache, "k", lease=AN_HOUR_S):
            inside.set()
            await leave.wait()
            log.append("first leaves")

    async def second() -> None:
        await inside.wait()
        asyncio.get_running_loop().call_soon(leave.set)
        async with lock.RedLock(cache, "k", lease=AN_HOUR_S):
            log.append("second enters")

    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(first(), second())
    assert log == ["first leaves", "second enters"]


# The object


async def test_leaving_the_context_empties_the_cache() -> None:
    """The cache is empty after its context or close, which may be repeated, and usable again."""
    async with LRUCache(max_bytes=PLENTY_BYTES) as cache:
        await cache.set("k", b"v", ttl=AN_HOUR_S)
    assert (len(cache), cache.stats().current_bytes) == (0, 0)
    await cache.close()
    await cache.set("k", b"v")
    assert await cache.get("k") == b"v"


async def test_stats_count_what_happened() -> None:
    """Each counter counts its own event and the snapshot does not follow later ones."""
    cache = room_for(2)
    await cache.set("a", bytes(10))
    before = cache.stats()
    await cache.get("a")
    await cache.multi_get(["a", "absent", "absent"])
    await cache.exists("a")
    await cache.set("b", bytes(10))
    await cache.set("c", bytes(10))
    await cache.set("d", bytes(10_000))
    assert cache.stats() == CacheStats(
        hits=2,
        misses=2,
        evictions=1,
        rejected=1,
        entries=2,
        current_bytes=2 * cost("k", bytes(10)),
        max_bytes=2 * cost("k", bytes(10)),
    )
    assert before.hits == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.hits = 1  # type: ignore[misc]  # the point of the test


async def test_repr_shows_the_state() -> None:
    """The representation tells the size, the bound and the counters."""
    cache = LRUCache(max_bytes=1000)
    await cache.set("k", b"v")
    await cache.get("absent")
    assert repr(cache) == (
        f"<LRUCache entries=1 bytes={cost('k', b'v')}/1000 hits=0 misses=1 evictions=0 rejected=0>"
    )


def test_the_constructor_checks_and_defaults() -> None:
    """A negative bound is a ValueError; unlike aiocache's, the default timeout is none."""
    with pytest.raises(ValueError, match="max_bytes must not be negative, got -1"):
        LRUCache(max_bytes=-1)
    cache = LRUCache(max_bytes=1)
    assert cache.timeout is None
    assert cache.ttl is None
    assert cache.NAME == "lru"


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
    stored = await cache.raw("get", "ns:K")
    assert isinstance(stored, str)
    assert cache.stats().current_bytes == cost("ns:K", stored)
    assert cache.hit_miss_ratio["hits"] == 1


async def test_it_serves_the_cached_decorator() -> None:
    """A function decorated with aiocache's cached is computed once and found in our cache."""
    calls: list[int] = []

    async def compute(n: int) -> int:
        calls.append(n)
        return n * n

    square = cached(cache=LRUCache, max_bytes=PLENTY_BYTES, key_builder=lambda _f, n: f"{n}")(
        compute
    )
    assert [await square(3), await square(3)] == [9, 9]
    assert calls == [3]
    assert square.cache.stats().hits == 1


# Laws

KEYS = st.sampled_from(["a", "bb", "ns:a", "ns:bb", "a rather long key"])
NUMBERS = st.integers(-(1 << 70), 1 << 70)
VALUES = st.one_of(
    st.binary(max_size=8),
    st.integers(0, 1500).map(bytes),
    st.integers(0, 9).map(lambda digit: b"%d" % digit),
    st.text(max_size=8),
    NUMBERS,
)
BOUND_BYTES = 4 * ENTRY_OVERHEAD_BYTES


class CacheBesideModel(RuleBasedStateMachine):
    """The cache and an ordered dict that forgets by the same rules, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = LRUCache(max_bytes=BOUND_BYTES)
        self.model: OrderedDict[str, Any] = OrderedDict()
        self.hits = self.misses = self.evictions = self.rejected = 0

    def model_bytes(self) -> int:
        """Add the costs up anew."""
        return sum(cost(key, value) for key, value in self.model.items())

    def model_set(self, key: str, value: Any) -> bool:
        """Store as last, then forget the first ones until the bound holds."""
        self.model.pop(key, None)
        if cost(key, value) > BOUND_BYTES:
            self.rejected += 1
            return False
        self.model[key] = value
        while self.model_bytes() > BOUND_BYTES:
            self.model.popitem(last=False)
            self.evictions += 1
        return True

    @rule(key=KEYS, value=VALUES)
    def set(self, key: str, value: Any) -> None:
        """Set, also over an earlier value."""
        assert finish(self.cache.set(key, value)) is self.model_set(key, value)

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
    def exists(self, key: str) -> None:
        """Ask, which is no use."""
        assert finish(self.cache.exists(key)) is (key in self.model)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        """Delete, if it is there."""
        assert finish(self.cache.delete(key)) == int(key in self.model)
        self.model.pop(key, None)

    @rule(key=KEYS, value=VALUES)
    def add(self, key: str, value: Any) -> None:
        """Add, or be refused."""
        if key in self.model:
            with pytest.raises(ValueError, match="already exists"):
                finish(self.cache.add(key, value))
        else:
            finish(self.cache.add(key, value))
            self.model_set(key, value)

    @rule(key=KEYS, delta=NUMBERS)
    def increment(self, key: str, delta: int) -> None:
        """Increment, or be refused."""
        try:
            expected = int(self.model.get(key, 0)) + delta
        except ValueError:
            with pytest.raises(TypeError):
                finish(self.cache.increment(key, delta))
        else:
            assert finish(self.cache.increment(key, delta)) == expected
            self.model_set(key, expected)

    @rule(namespace=st.sampled_from([None, "", "ns:"]))
    def clear(self, namespace: str | None) -> None:
        """Clear one namespace or all."""
        finish(self.cache.clear(namespace=namespace))
        for key in [key for key in self.model if key.startswith(namespace or "")]:
            del self.model[key]

    @invariant()
    def same_contents_order_and_bytes(self) -> None:
        """Compare all that can be seen."""
        assert list(finish(self.cache.raw("items"))) == list(self.model.items())
        assert self.cache.stats() == CacheStats(
            hits=self.hits,
            misses=self.misses,
            evictions=self.evictions,
            rejected=self.rejected,
            entries=len(self.model),
            current_bytes=self.model_bytes(),
            max_bytes=BOUND_BYTES,
        )


def test_any_history_matches_the_model() -> None:
    """After any commands the contents, their order, the bytes and the counters are the model's."""
    run_state_machine_as_test(
        CacheBesideModel, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )


COMMANDS = st.one_of(
    st.tuples(st.just("set"), KEYS, VALUES),
    st.tuples(st.just("add"), KEYS, VALUES),
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("exists"), KEYS),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("increment"), KEYS, NUMBERS),
    st.tuples(st.just("expire"), KEYS, st.just(0)),
    st.tuples(st.just("multi_get"), st.lists(KEYS)),
    st.tuples(st.just("multi_set"), st.lists(st.tuples(KEYS, VALUES))),
    st.tuples(st.just("clear"), st.sampled_from([None, "ns:"])),
    st.tuples(st.just("raw"), st.just("get"), KEYS),
    st.tuples(st.just("_gets"), KEYS),
    st.tuples(st.just("_redlock_release"), KEYS, VALUES),
)


@settings(deadline=None)
@given(st.lists(COMMANDS, max_size=30))
def test_with_room_it_answers_as_aiocaches_memory_cache(commands: list[tuple[Any, ...]]) -> None:
    """As long as nothing must be evicted, every command answers as SimpleMemoryCache does."""

    def answers(cache: Any) -> list[object]:
        out: list[object] = []
        for name, *arguments in commands:
            try:
                out.append(finish(getattr(cache, name)(*arguments)))
            except (TypeError, ValueError) as error:
                out.append((type(error), str(error)))
        return out

    assert answers(LRUCache(max_bytes=PLENTY_BYTES)) == answers(SimpleMemoryCache(timeout=None))
