"""Large results: exact for every client, and at the cost of none but itself."""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from itertools import cycle
from typing import Final

import numpy as np
import pytest
from aiohttp import ClientPayloadError, web
from aiohttp.test_utils import TestClient
from numpy.typing import NDArray
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import PrimeService, Range, Settings, create_app, service_of
from primesvc.sieve.engine import load_engine
from primesvc.web import sending
from tests.helpers import WAIT_S, eventually, idle, submit
from tests.web.helpers import FaultyExecutor, RawDownload, raw_download, serve

Client = TestClient[web.Request, web.Application]

LITTLE_CACHE: Final = 2**20
"""Less than the primes of most ranges here: they are sieved again while they are read."""

SYSTEM_BUFFERS: Final = 2**23
"""More than a system keeps of what a client on the same machine has not read."""


@pytest.fixture(scope="module")
def low_primes() -> NDArray[np.uint64]:
    """The primes up to 10^8, by the sieve of Eratosthenes on the odd numbers."""
    limit = 10**8
    odd = np.ones((limit + 1) // 2, np.bool_)
    odd[0] = False
    for n in range(3, int(limit**0.5) + 1, 2):
        if odd[n // 2]:
            odd[n * n // 2 :: n] = False
    primes = np.concatenate(([2], 2 * np.flatnonzero(odd) + 1)).astype(np.uint64)
    assert len(primes) == 5_761_455
    return primes


def sha256(primes: NDArray[np.uint64]) -> str:
    """The hash of the body that holds the primes: the `str` of their list, quoted."""
    digest = hashlib.sha256(b'"[')
    for at in range(0, len(primes), 2**18):
        digest.update((", " * (at > 0) + str(primes[at : at + 2**18].tolist())[1:-1]).encode())
    digest.update(b']"\n')
    return digest.hexdigest()


def between(primes: NDArray[np.uint64], start: int, end: int) -> NDArray[np.uint64]:
    """The part of the ascending primes that lies in the closed range."""
    first, stop = np.searchsorted(primes, np.array([start, end + 1], np.uint64))
    return primes[first:stop]


async def finished(service: PrimeService, start: int, end: int) -> str:
    """The path of the result of a range whose job is done."""
    job = await service.submit(Range(start, end))
    async with asyncio.timeout(WAIT_S):
        await job.wait()
    return f"/result/{job.id}"


async def download(client: Client, path: str) -> str:
    """GET a result to its end; return its hash. Its length is as announced."""
    digest, size = hashlib.sha256(), 0
    async with asyncio.timeout(WAIT_S), client.get(path) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        async for data in response.content.iter_any():
            digest.update(data)
            size += len(data)
        assert size == int(response.headers["Content-Length"])
    return digest.hexdigest()


async def read_some(raw: RawDownload, size: int) -> bytes:
    """The next `size` bytes, fewer only at the end of the body."""
    parts: list[bytes] = []
    async with asyncio.timeout(WAIT_S):
        while size and (part := await raw.read(size)):
            parts.append(part)
            size -= len(part)
    return b"".join(parts)


async def read_to_the_end(raw: RawDownload) -> int:
    """Read what still comes, also if it ends with a reset; return how many bytes it was."""
    size = 0
    with suppress(ConnectionError):
        while part := await read_some(raw, 2**20):
            size += len(part)
    return size


def address(client: Client) -> tuple[str, int]:
    """Where the server of the client listens."""
    assert client.port is not None
    return client.host, client.port


def connected(client: Client) -> list[asyncio.Transport]:
    """The open connections of the server."""
    handlers = client.server.handler.connections
    return [handler.transport for handler in handlers if handler.transport is not None]


def all_ended(client: Client) -> bool:
    """Whether no connection is open and no handler of one that was still runs."""
    return not client.server.handler.connections


# --- exact -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache_bytes", [256 * 2**20, LITTLE_CACHE], ids=["cached", "sieved again"])
async def test_a_result_of_57_mb_is_exact(
    aiohttp_client: AiohttpClient, low_primes: NDArray[np.uint64], cache_bytes: int
) -> None:
    """All primes to 10^8 arrive byte for byte, from the cache and, where they do not fit, anew."""
    client = await aiohttp_client(create_app(Settings(workers=2, cache_bytes=cache_bytes)))
    service = service_of(client.app)
    path = await finished(service, 0, 10**8)
    assert await download(client, path) == sha256(low_primes)
    await eventually(lambda: idle(service))


@pytest.mark.parametrize("cache_bytes", [256 * 2**20, LITTLE_CACHE], ids=["cached", "sieved again"])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (10**7 - 12_345, 10**7 + 5_000_000),
        (2**32 - 10**6, 2**32 + 10**6),
        (2**36 - 10**6, 2**36 + 10**6),
        (10**13 - 10**7, 10**13 + 10**7),
        (2**44 - 10**6, 2**44 + 10**6),
        (10**16, 10**16 + 5 * 10**6),
        (10**18, 10**18 + 10**5),
    ],
)
async def test_results_anywhere_on_the_line_are_exact(
    aiohttp_client: AiohttpClient, start: int, end: int, cache_bytes: int
) -> None:
    """Powers of ten, changes of the segments' width and slow sieves inside a range do not show."""
    client = await aiohttp_client(create_app(Settings(workers=2, cache_bytes=cache_bytes)))
    path = await finished(service_of(client.app), start, end)
    assert await download(client, path) == sha256(load_engine("auto").primes(start, end))


@pytest.mark.parametrize("cache_bytes", [256 * 2**20, LITTLE_CACHE], ids=["cached", "sieved again"])
async def test_downloads_at_the_same_time_are_each_exact(
    aiohttp_client: AiohttpClient, low_primes: NDArray[np.uint64], cache_bytes: int
) -> None:
    """Several clients, some on ranges that overlap or are equal, do not mix each other up."""
    client = await aiohttp_client(create_app(Settings(workers=2, cache_bytes=cache_bytes)))
    service = service_of(client.app)
    ends = [(0, 10**7), (5 * 10**6, 2 * 10**7), (9_999_990, 30_000_001), (10**6, 10**7 + 1)]
    paths = [await finished(service, *pair) for pair in ends]
    got = await asyncio.gather(*(download(client, path) for path in paths * 2))
    assert got == [sha256(between(low_primes, *pair)) for pair in ends] * 2
    await eventually(lambda: idle(service))


async def test_a_download_is_served_while_a_large_job_runs(
    client: Client, low_primes: NDArray[np.uint64]
) -> None:
    """A job of minutes leaves the workers enough room for downloads that come meanwhile."""
    service = service_of(client.app)
    large = service.job(await submit(client, 0, 10**12))
    await eventually(lambda: large.progress > 0)
    path = await finished(service, 0, 2 * 10**7)
    assert await download(client, path) == sha256(between(low_primes, 0, 2 * 10**7))
    assert not large.state.final


# --- slow clients ------------------------------------------------------------------------------


@pytest.mark.parametrize("cache_bytes", [256 * 2**20, LITTLE_CACHE], ids=["cached", "sieved again"])
@pytest.mark.parametrize(("start", "span"), [(0, 4 * 10**7), (10**13 - 10**7, 5 * 10**7)])
async def test_a_slow_reader_costs_nothing_while_it_waits_and_gets_the_right_bytes(
    aiohttp_client: AiohttpClient,
    monkeypatch: pytest.MonkeyPatch,
    start: int,
    span: int,
    cache_bytes: int,
) -> None:
    """Whenever a reader pauses, its workers and its memory are free soon, and no byte is lost."""
    monkeypatch.setattr(sending, "PATIENCE_S", 0.02)
    client = await aiohttp_client(create_app(Settings(workers=2, cache_bytes=cache_bytes)))
    service = service_of(client.app)
    path = await finished(service, start, start + span)
    digest, size, pauses = hashlib.sha256(), 0, 0
    async with raw_download(*address(client), path) as raw:
        assert raw.length > 2 * SYSTEM_BUFFERS
        steps = cycle((2**16, 2**10, 2**21 + 1, 1, 2**20, 2**17 - 1))
        while data := await read_some(raw, next(steps)):
            digest.update(data)
            size += len(data)
            await eventually(lambda: idle(service))
            pauses += bool(connected(client)) and size < raw.length - SYSTEM_BUFFERS
    assert pauses > 10
    assert size == raw.length
    assert digest.hexdigest() == sha256(load_engine("auto").primes(start, start + span))


async def test_a_reader_that_comes_back_is_served_at_full_speed_again(
    client: Client, monkeypatch: pytest.MonkeyPatch, low_primes: NDArray[np.uint64]
) -> None:
    """One long pause in the middle of a download changes neither its bytes nor its end."""
    monkeypatch.setattr(sending, "PATIENCE_S", 0.05)
    service = service_of(client.app)
    path = await finished(service, 0, 10**8)
    digest = hashlib.sha256()
    async with raw_download(*address(client), path) as raw:
        digest.update(await read_some(raw, 20 * 2**20))
        await eventually(lambda: idle(service))
        assert len(connected(client)) == 1
        digest.update(await read_some(raw, raw.length))
    assert digest.hexdigest() == sha256(low_primes)


async def test_a_reader_that_stops_is_cut_and_leaves_nothing(
    aiohttp_client: AiohttpClient,
) -> None:
    """A client that takes nothing for `stall_timeout_s` loses its connection; all is free again."""
    client = await aiohttp_client(create_app(Settings(workers=2, stall_timeout_s=1.0)))
    service = service_of(client.app)
    path = await finished(service, 0, 10**8)
    async with raw_download(*address(client), path) as raw:
        got = len(await read_some(raw, 2**16))
        assert len(connected(client)) == 1
        await eventually(lambda: all_ended(client))
        await eventually(lambda: idle(service))
        got += await read_to_the_end(raw)
    assert 2**16 <= got < raw.length
    assert got < SYSTEM_BUFFERS


async def test_many_stalled_readers_hold_little_and_hinder_nobody(
    aiohttp_client: AiohttpClient, monkeypatch: pytest.MonkeyPatch, low_primes: NDArray[np.uint64]
) -> None:
    """More stalled readers than there are shared slots: each costs one write, others none."""
    monkeypatch.setattr(sending, "PATIENCE_S", 0.05)
    client = await aiohttp_client(create_app(Settings(workers=2, stall_timeout_s=WAIT_S)))
    service = service_of(client.app)
    path = await finished(service, 0, 10**8)
    async with AsyncExitStack() as stack:
        readers = 24
        for _ in range(readers):
            raw = await stack.enter_async_context(raw_download(*address(client), path))
            await read_some(raw, 2**12)
        await eventually(lambda: idle(service))
        assert len(connected(client)) == readers
        for transport in connected(client):
            assert transport.get_write_buffer_size() <= 2**19
        part = await finished(service, 0, 10**7)
        assert await download(client, part) == sha256(between(low_primes, 0, 10**7))
    await eventually(lambda: idle(service))


# --- clients that leave, work that fails ---------------------------------------------------------


@pytest.mark.parametrize("handler_cancellation", [True, False])
@pytest.mark.parametrize("stalled", [False, True], ids=["reading", "stalled"])
async def test_a_client_that_leaves_frees_what_it_used(
    monkeypatch: pytest.MonkeyPatch, *, handler_cancellation: bool, stalled: bool
) -> None:
    """A download that is given up ends at once, whether the server cancels its handlers or not."""
    monkeypatch.setattr(sending, "PATIENCE_S", 0.05)
    app = create_app(Settings(workers=2, stall_timeout_s=10 * WAIT_S, cache_bytes=LITTLE_CACHE))
    async with serve(app, handler_cancellation=handler_cancellation) as (server, port):
        service = service_of(app)
        path = await finished(service, 0, 10**8)
        async with raw_download("127.0.0.1", port, path) as raw:
            await read_some(raw, 2**20)
            if stalled:
                await eventually(lambda: idle(service))
            assert [handler.transport is not None for handler in server.connections] == [True]
        await eventually(lambda: not server.connections)
        await eventually(lambda: idle(service))


async def test_a_client_that_leaves_harms_no_other_on_the_same_result(
    client: Client, low_primes: NDArray[np.uint64]
) -> None:
    """Of two downloads of one result the one that stays is exact."""
    service = service_of(client.app)
    path = await finished(service, 0, 5 * 10**7)
    async with raw_download(*address(client), path) as raw:
        await read_some(raw, 2**20)
        other = asyncio.create_task(download(client, path))
        await eventually(lambda: len(connected(client)) == 2)
    assert await other == sha256(between(low_primes, 0, 5 * 10**7))


async def test_a_result_that_breaks_off_is_no_complete_answer(
    aiohttp_client: AiohttpClient, low_primes: NDArray[np.uint64]
) -> None:
    """If the work fails in the middle of a body, the connection ends early, so the client knows.

    Once it works again, so does the download.
    """
    with FaultyExecutor(25_000_000, None, only="render") as executor:
        app = create_app(Settings(workers=2, cache_bytes=LITTLE_CACHE), executor=executor)
        client = await aiohttp_client(app)
        path = await finished(service_of(app), 0, 3 * 10**7)
        executor.fault = RuntimeError("the disk is on fire")
        with pytest.raises(ClientPayloadError):
            await download(client, path)
        await eventually(lambda: all_ended(client))
        await eventually(lambda: idle(service_of(app)))
        executor.fault = None
        assert await download(client, path) == sha256(between(low_primes, 0, 3 * 10**7))
        await client.close()


async def test_threads_serve_downloads_too(
    aiohttp_client: AiohttpClient, low_primes: NDArray[np.uint64]
) -> None:
    """With an embedder's executor, which shares no memory with us, results are exact as well."""
    with ThreadPoolExecutor(2) as executor:
        client = await aiohttp_client(create_app(Settings(workers=2), executor=executor))
        path = await finished(service_of(client.app), 0, 2 * 10**7)
        assert await download(client, path) == sha256(between(low_primes, 0, 2 * 10**7))
        await client.close()
