"""What was sieved is counted a second time, where that costs next to nothing."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import pytest
from aiocache import SimpleMemoryCache
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import PrimeClient, PrimeService, Range, Settings, State, create_app, service_of
from primesvc.collect.plan import Plan
from primesvc.errors import EngineUnavailable
from primesvc.kinds import check
from primesvc.kinds.base import CheckStats
from primesvc.kinds.check import is_checked
from primesvc.kinds.primes import Primes
from primesvc.sieve.engine import load_engine
from primesvc.sieve.grid import SEGMENTS
from primesvc.sieve.packed import pack
from primesvc.sieve.primecount import find_primecount
from primesvc.sieve.selection import Selection
from primesvc.store.segments import SegmentStore
from tests.helpers import WAIT_S, eventually, idle
from tests.oracles import PI_OF_POWERS
from tests.web.api import Api
from tests.web.test_metrics import scrape

P = ParamSpec("P")
T = TypeVar("T")

pytestmark = pytest.mark.skipif(find_primecount() is None, reason="libprimecount is not here")

CHECKED = (0, 10**8)
"""A range whose primes take 30 ms to list, and 1 ms to count a second time."""


def plan(start: int, end: int, *, keep: bool = True, selection: Selection | None = None) -> Plan:
    """A plan for the segments of a range."""
    grid = SEGMENTS if selection is None else SEGMENTS.select(selection)
    range_ = Range(start, end)
    return Plan(range_, grid, grid.cover(range_), keep)


def test_what_is_checked() -> None:
    """Wide lists are; not what is done in no time, nor where π is dear, nor selections."""
    engine = load_engine("primesieve")
    assert is_checked(plan(*CHECKED), engine)
    assert is_checked(plan(10**15, 10**15 + 10**12), engine)
    assert not is_checked(plan(0, 10**7), engine)
    assert not is_checked(plan(10**15, 10**15 + 10**9), engine)
    assert not is_checked(plan(*CHECKED, selection=Selection("twins")), engine)
    # If its primes are not kept, there is less work beside which it would be little.
    assert not is_checked(plan(*CHECKED, keep=False), engine)
    assert not is_checked(plan(0, 10**10), load_engine("numpy"))


async def test_a_check_that_agrees(aiohttp_client: AiohttpClient) -> None:
    """The document tells the second count, the client too, and a metric counts it."""
    client = await aiohttp_client(create_app(Settings(workers=2)))
    done = await Api(client).finish(start=CHECKED[0], end=CHECKED[1])
    expected = {"method": "primecount", "count": PI_OF_POWERS[8], "agrees": True}
    assert (done["state"], done["check"]) == ("succeeded", expected)
    async with client.get(f"/jobs/{done['id']}?numbers=string") as response:
        strings = await response.json()
    assert strings["check"] == expected | {"count": str(PI_OF_POWERS[8])}
    async with PrimeClient(str(client.make_url("/"))) as prime_client:
        assert (await prime_client.job(done["id"])).second_count == PI_OF_POWERS[8]
    small = await Api(client).finish(start=0, end=10**6)
    assert "check" not in small
    found = await scrape(client)
    outcomes = {"agreed": 1, "disagreed": 0, "given_up": 0}
    assert {name: found("primesvc_checks_total", outcome=name) for name in outcomes} == outcomes


async def test_a_wrong_piece_is_found_out(
    aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A shared cache holds a piece that is whole, but not true: the job fails, and is done anew."""
    cache = SimpleMemoryCache(namespace="theirs:")
    piece = SEGMENTS.piece(0)
    primes = load_engine("primesieve").primes(piece.start, piece.end)
    await cache.set(SegmentStore.key(SEGMENTS, 0), pack(primes[:-1], piece))
    client = await aiohttp_client(create_app(Settings(workers=2), cache=cache))
    with caplog.at_level(logging.ERROR):
        failed = await Api(client).finish(start=CHECKED[0], end=CHECKED[1])
    count = PI_OF_POWERS[8]
    assert (failed["state"], failed["count"]) == ("failed", count - 1)
    assert failed["error"]["type"] == "urn:primesvc:problem:counts-disagree"
    assert str(count - 1) in failed["error"]["detail"]
    assert failed["check"] == {"method": "primecount", "count": count, "agrees": False}
    assert [r.levelname for r in caplog.records if str(count) in r.getMessage()] == ["ERROR"]
    assert (await scrape(client))("primesvc_checks_total", outcome="disagreed") == 1

    again = await Api(client).finish(start=CHECKED[0], end=CHECKED[1])
    assert (again["state"], again["count"], again["check"]["agrees"]) == ("succeeded", count, True)
    service = service_of(client.app)
    assert service.snapshot().checks == CheckStats(agreed=1, disagreed=1)


class NoPrimecount(ThreadPoolExecutor):
    """An embedder's executor whose workers lack libprimecount, or never answer what needs it."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__(2)
        self._error = error

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """As a `ThreadPoolExecutor` does, but for calls that count by π."""
        if not (isinstance(fn, partial) and fn.func.__name__ == "count_up_to"):
            return super().submit(fn, *args, **kwargs)
        future: Future[T] = Future()
        if self._error is not None:
            future.set_exception(self._error)
        return future


@pytest.mark.parametrize("error", [EngineUnavailable("no such library"), LookupError("?"), None])
async def test_a_check_that_cannot_be_made(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job succeeds without one, also if no answer comes; the log says why there is none."""
    if error is None:
        monkeypatch.setattr(check, "PATIENCE_S", 0.05)
    with NoPrimecount(error) as executor:
        async with PrimeService(Settings(workers=2), executor=executor) as service:
            job = await service.submit(Range(*CHECKED))
            async with asyncio.timeout(WAIT_S):
                await job.wait()
            assert job.work.findings == {"count": PI_OF_POWERS[8]}
            assert service.snapshot().checks == CheckStats(given_up=1)
            assert str(error or "more than") in caplog.text


async def test_a_check_is_cancelled_with_its_job(service: PrimeService) -> None:
    """π of 10^17 takes many seconds: with the job it ends, and the workers are free."""
    job = await service.submit(Primes(Range(10**17, 10**17 + 9 * 10**12)))
    await eventually(lambda: job.state is State.RUNNING and not idle(service))
    named = [task for task in asyncio.all_tasks() if task.get_name().startswith("check ")]
    assert len(named) == 1
    service.cancel(job)
    await eventually(lambda: idle(service))
    assert named[0].done()
