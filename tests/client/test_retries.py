"""What is tried again, how often and when, and downloads that survive broken connections."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from primesvc import PrimeClient, PrimeService
from primesvc.errors import ApiError, ServerUnreachable, UnexpectedAnswer
from primesvc.sieve.range import Range
from tests.client.servers import Relay, serving
from tests.helpers import WAIT_S
from tests.oracles import PI_OF_POWERS

Server = TestServer
Handler = Callable[[web.Request], web.StreamResponse]

END = 5 * 10**6
"""The end of a range whose primes come in many pieces: 2.8 MB as arrays."""


async def joined(chunks: AsyncIterator[bytes]) -> bytes:
    """All bytes of a download."""
    return b"".join([chunk async for chunk in chunks])


def document(**changes: object) -> dict[str, object]:
    """The document of a finished job."""
    return {
        "id": "00000000-0000-4000-8000-000000000000", "kind": "primes", "state": "succeeded",
        "start": 4, "end": 11, "progress": 1.0, "count": 3, "rate": 1, "eta_s": 0.0,
        "created": "2026-01-01T00:00:00.000Z", "started": "2026-01-01T00:00:00.000Z",
        "finished": "2026-01-01T00:00:00.000Z", "error": None, "links": {}, **changes,
    }  # fmt: skip


class Refusing:
    """A server that answers its first requests with errors, and notes when each came."""

    def __init__(self, *statuses: int, retry_after: str | None = None) -> None:
        self._statuses = list(statuses)
        self._headers = {} if retry_after is None else {"Retry-After": retry_after}
        self.times_s: list[float] = []

    def __call__(self, _: web.Request) -> web.Response:
        """Answer the next request."""
        self.times_s.append(time.monotonic())
        if self._statuses:
            return web.Response(status=self._statuses.pop(0), headers=self._headers)
        return web.json_response(document())


# Requests


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_passes_is_tried_again(status: int) -> None:
    """A service that is full, or restarts behind its proxy, is asked again until it answers."""
    refusing = Refusing(status, status)
    async with asyncio.timeout(WAIT_S), serving(refusing) as url, PrimeClient(url) as client:
        assert (await client.submit(4, 11)).count == 3
    assert len(refusing.times_s) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 500, 501])
async def test_what_does_not_pass_is_not(status: int) -> None:
    """The same request would be refused again: it is not sent again."""
    refusing = Refusing(status)
    async with asyncio.timeout(WAIT_S), serving(refusing) as url, PrimeClient(url) as client:
        with pytest.raises(ApiError) as caught:
            await client.submit(4, 11)
    assert caught.value.status == status
    assert len(refusing.times_s) == 1


async def test_retry_after_is_respected() -> None:
    """The service is not asked again before the seconds it named are over, nor much later."""
    refusing = Refusing(503, retry_after="1")
    async with asyncio.timeout(WAIT_S), serving(refusing) as url, PrimeClient(url) as client:
        assert (await client.submit(4, 11)).count == 3
    first, second = refusing.times_s
    assert second - first >= 0.99


async def test_retry_after_may_be_a_date() -> None:
    """A date is waited for; one that is over is not."""
    refusing = Refusing(503, retry_after=formatdate(time.time() - 60, usegmt=True))
    async with asyncio.timeout(WAIT_S), serving(refusing) as url, PrimeClient(url) as client:
        assert (await client.submit(4, 11)).count == 3
    refusing = Refusing(503, retry_after=formatdate(time.time() + 3600, usegmt=True))
    async with asyncio.timeout(WAIT_S), serving(refusing) as url, PrimeClient(url) as client:
        with pytest.raises(ApiError) as caught:
            await client.submit(4, 11)
    assert 3500 < (caught.value.retry_after_s or 0) < 3700


async def test_a_service_that_wants_to_rest_for_long_is_given_up() -> None:
    """More than a minute of `Retry-After` is not waited for, and not cut short either."""
    refusing = Refusing(503, retry_after="61")
    async with asyncio.timeout(WAIT_S), serving(refusing) as url, PrimeClient(url) as client:
        with pytest.raises(ApiError) as caught:
            await client.submit(4, 11)
    assert (caught.value.status, caught.value.retry_after_s) == (503, 61)
    assert len(refusing.times_s) == 1


async def test_tries_are_bounded() -> None:
    """After `retries` more tries the error comes out."""
    refusing = Refusing(*[503] * 10, retry_after="0")
    async with asyncio.timeout(WAIT_S), serving(refusing) as url:
        async with PrimeClient(url, retries=3) as client:
            with pytest.raises(ApiError):
                await client.submit(4, 11)
        assert len(refusing.times_s) == 4
        async with PrimeClient(url, retries=0) as client:
            with pytest.raises(ApiError):
                await client.submit(4, 11)
        assert len(refusing.times_s) == 5


async def test_a_connection_that_breaks_before_the_answer(server: TestServer) -> None:
    """A request whose answer was lost is sent again; it makes no second job."""
    async with (
        asyncio.timeout(WAIT_S),
        Relay(server, cuts=(0, 20)) as relay,
        PrimeClient(relay.url) as client,
    ):
        job = await client.submit(4, 11)
        assert [known.id for known in await client.jobs()] == [job.id]
    assert relay.paths() == ["/jobs"] * 3 + ["/jobs?limit=1000&offset=0"]


async def test_a_delete_whose_answer_was_lost(server: TestServer) -> None:
    """The second try finds the job gone, which is what was wanted."""
    async with (
        asyncio.timeout(WAIT_S),
        Relay(server) as relay,
        PrimeClient(relay.url) as client,
    ):
        job = await client.submit(4, 11)
        relay.cuts.append(0)
        await client.delete(job)
        assert await client.jobs() == []


async def test_nobody_at_the_address(unused_tcp_port: int) -> None:
    """Without a server the error says so, names the address, and is a `ConnectionError`."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with asyncio.timeout(WAIT_S), PrimeClient(url, retries=1) as client:
        with pytest.raises(ServerUnreachable, match=f"no answer from {url}/jobs") as caught:
            await client.submit(4, 11)
    assert isinstance(caught.value, ConnectionError)


async def test_a_server_that_says_nothing() -> None:
    """A server that takes a request and never answers is given up after `timeout_s`."""
    never = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with asyncio.timeout(WAIT_S), serving(wait) as url:
        async with PrimeClient(url, timeout_s=0.1, retries=1) as client:
            with pytest.raises(ServerUnreachable, match=r"it sent nothing for 0\.1 s"):
                await client.submit(4, 11)
        never.set()


# Downloads


@pytest.mark.parametrize("cuts", [(700,), (500, 1000, 3000), (600, 10**6 + 3, 0, 700_001, 1)])
async def test_a_download_goes_on_where_it_broke(server: TestServer, cuts: tuple[int, ...]) -> None:
    """Broken anywhere, also within a header or a number, it still gives every byte once."""
    async with (
        asyncio.timeout(WAIT_S),
        Relay(server, only="/primes", cuts=cuts) as relay,
        PrimeClient(relay.url) as client,
    ):
        job = await client.wait(await client.submit(0, END))
        data = await joined(client.download(job, "npy"))
        assert not relay.cuts
        assert data == await joined(client.download(job, "npy"))
    resumed = [head for head in relay.requests if "\r\nRange: bytes=" in head]
    assert resumed
    assert all(f'\r\nIf-Range: "{job.id}-' in head for head in resumed)
    assert all("\r\nAccept-Encoding: identity" in head for head in resumed)


@pytest.mark.parametrize("cuts", [(400,), (1001, 100_003), (2**20, 2**20 + 5)])
async def test_arrays_go_on_where_they_broke(server: TestServer, cuts: tuple[int, ...]) -> None:
    """Broken in the middle of a number, the primes are all there, each once and whole."""
    async with (
        asyncio.timeout(WAIT_S),
        Relay(server, only="/primes", cuts=cuts) as relay,
        PrimeClient(relay.url) as client,
    ):
        job = await client.submit(0, END)
        primes = np.concatenate([array async for array in client.primes(job)])
    assert len(relay.paths()) >= len(cuts) + 3
    assert len(primes) == 348513
    assert bool((np.diff(primes) > 0).all())
    assert (int(primes[0]), int(primes[-1])) == (2, 4999999)


async def test_a_page_goes_on_where_it_broke(server: TestServer) -> None:
    """A page by prime index is resumed as a whole file is."""
    async with (
        asyncio.timeout(WAIT_S),
        Relay(server, only="/primes", cuts=(900,)) as relay,
        PrimeClient(relay.url) as client,
    ):
        job = await client.submit(0, END)
        page = [array async for array in client.primes(job, offset=1000, limit=5000)]
    assert not relay.cuts
    primes = np.concatenate(page)
    assert (len(primes), int(primes[0]), int(primes[-1])) == (5000, 7927, 59359)


async def test_tries_without_progress_are_bounded(server: TestServer) -> None:
    """A connection that breaks before every byte is given up; each byte counts as progress."""
    async with (
        asyncio.timeout(WAIT_S),
        Relay(server, only="/primes", cuts=(0,) * 100) as relay,
        PrimeClient(relay.url, retries=2) as client,
    ):
        job = await client.wait(await client.submit(0, END))
        with pytest.raises(ServerUnreachable):
            await joined(client.download(job, "text"))
        # aiohttp itself sends a GET once more.
        assert 100 - len(relay.cuts) in (3, 6)
        relay.cuts.clear()
        # Each of these passes on some bytes behind the head of the answer.
        relay.cuts.extend([1000] * 8)
        assert len(await joined(client.download(job, "text"))) > 10**6


async def test_a_job_that_was_lost_meanwhile_is_submitted_again(
    server: TestServer, there: PrimeService
) -> None:
    """A service that was started anew knows no jobs, but the same range has the same bytes."""
    relay = Relay(server, only="/primes", cuts=(200_000,))
    async with asyncio.timeout(WAIT_S), relay, PrimeClient(relay.url) as client:
        job = await client.wait(await client.submit(0, END, modulus=4, residue=3))
        whole = await joined(client.download(job, "text"))
        relay.cuts.append(200_000)
        relay.on_cut = lambda: there.forget(there.job(job.id))
        assert await joined(client.download(job, "text")) == whole
    methods = [head.split()[0] for head in relay.requests]
    assert methods[-1] == "GET"
    assert methods.count("POST") == 2


async def test_a_job_that_is_lost_from_the_start_is_an_error(
    prime_client: PrimeClient,
) -> None:
    """Before the first byte nothing is submitted behind the caller's back."""
    async with asyncio.timeout(WAIT_S):
        job = await prime_client.wait(await prime_client.submit(4, 11))
        await prime_client.delete(job)
        with pytest.raises(ApiError) as caught:
            await joined(prime_client.download(job))
        assert caught.value.status == 410
        assert await prime_client.jobs() == []


async def test_a_slow_reader_gets_everything(server: TestServer, there: PrimeService) -> None:
    """Who stops in the middle, and goes on after the service has cut the connection, loses nothing.

    The cable is pulled for the service here: it would wait for half a minute.
    """
    relay = Relay(server)
    async with asyncio.timeout(WAIT_S), relay, PrimeClient(relay.url) as client:
        job = await there.submit(Range(0, 10**8))
        count = 0
        pulled = False
        async for array in client.primes(job.id):
            count += len(array)
            if not pulled:
                relay.break_all()
                pulled = True
    assert count == PI_OF_POWERS[8]


# Downloads from servers that do not keep the rules


class Breaking:
    """A server of one file that breaks its first answer off in the middle."""

    def __init__(self, data: bytes, *etags: str, ranges: bool = True) -> None:
        self._data = data
        self._etags = list(etags)
        self._ranges = ranges
        self.asked = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer the next request."""
        self.asked += 1
        if not request.path.endswith("/primes"):
            return web.json_response(document())
        etag = self._etags.pop(0) if len(self._etags) > 1 else self._etags[0]
        headers = {"ETag": etag} if etag else {}
        start = 0
        if self._ranges and "Range" in request.headers:
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            size = len(self._data)
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        response.content_length = len(self._data) - start
        await response.prepare(request)
        first = self.asked == 2
        await response.write(self._data[start : start + 10] if first else self._data[start:])
        if first:
            assert request.transport is not None
            request.transport.close()
        return response


TEXT = b"".join(b"%d\n" % n for n in range(1000))


async def broken_off(breaking: Breaking) -> bytes:
    """What a client downloads from there."""
    async with asyncio.timeout(WAIT_S), serving(breaking) as url, PrimeClient(url) as client:
        job = await client.submit(4, 11)
        return await joined(client.download(job, "text"))


async def test_a_server_that_takes_no_ranges() -> None:
    """If the whole file comes again, what is known of it is passed over."""
    assert await broken_off(Breaking(TEXT, '"a"', ranges=False)) == TEXT
    assert await broken_off(Breaking(TEXT, '"a"')) == TEXT


@pytest.mark.parametrize("ranges", [True, False])
async def test_another_file_is_not_put_behind_the_first(ranges: bool) -> None:
    """If the file changed in between, the download ends with an error instead of a mixture."""
    with pytest.raises(UnexpectedAnswer, match="another file"):
        await broken_off(Breaking(TEXT, '"a"', '"b"', ranges=ranges))


@pytest.mark.parametrize("etag", ["", 'W/"a"'])
async def test_a_file_without_a_name_is_not_resumed(etag: str) -> None:
    """Without a strong ETag nothing says that the rest is that of the same file."""
    with pytest.raises(ServerUnreachable):
        await broken_off(Breaking(TEXT, etag))


HEAD = b"\x93NUMPY\x01\x00v\x00{'descr': '<u8', 'fortran_order': False, 'shape': (3,), }"
NPY = HEAD.ljust(127) + b"\n" + np.array([5, 7, 11], "<u8").tobytes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no .npy file"),
        (b"[5, 7, 11]", "no .npy file"),
        (b"\x93NUMPY\x02\x00" + NPY[8:], "no .npy file"),
        (NPY[:5], "no .npy file"),
        (NPY[:100], "no .npy file"),
        (NPY[:-1], "fewer"),
        (NPY[:-8], "fewer"),
        (NPY + b"\0", "fewer"),
        (NPY + b"\0" * 8, "more"),
        (NPY.replace(b"<u8", b"<f8"), "no .npy file"),
        (NPY.replace(b"(3,)", b"3   "), "no .npy file"),
        (NPY.replace(b"(3,), }", b"(3,1),}"), "no .npy file"),
        (NPY.replace(b"(3,)", b"(-3,)", 1).replace(b" \n", b"\n"), "no .npy file"),
        (NPY.replace(b"v\x00", b"f\x00").replace(b" " * 16 + b"\n", b"\n"), "no .npy file"),
        (NPY.replace(b"(3,)", b"'3,'"), "no .npy file"),
        (NPY.replace(b"'shape'", b"'shade'"), "no .npy file"),
        (NPY.replace(b"(3,), }", b"(3,    "), "no .npy file"),
        (NPY.replace(b"{", b"[").replace(b"}", b"]").replace(b":", b","), "no .npy file"),
        (NPY.replace(b"v\x00", b"\xff\xff"), "no .npy file"),
    ],
)
async def test_arrays_are_checked(data: bytes, says: str) -> None:
    """A file that is not the array it should be is an error, not a wrong result."""

    def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/primes"):
            return web.Response(body=data, headers={"ETag": '"a"'})
        return web.json_response(document())

    async with asyncio.timeout(WAIT_S), serving(answer) as url, PrimeClient(url) as client:
        job = await client.submit(4, 11)
        with pytest.raises(UnexpectedAnswer, match=says):
            await joined(array.tobytes() async for array in client.primes(job))


async def test_an_array_in_single_bytes() -> None:
    """However the bytes come, the numbers are the same."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/primes"):
            return web.json_response(document())
        response = web.StreamResponse(headers={"ETag": '"a"'})
        await response.prepare(request)
        for at in range(len(NPY)):
            await response.write(NPY[at : at + 1])
            await asyncio.sleep(0)
        return response

    async with asyncio.timeout(WAIT_S), serving(answer) as url, PrimeClient(url) as client:
        arrays = [array async for array in client.primes(await client.submit(4, 11))]
    assert np.concatenate(arrays).tolist() == [5, 7, 11]
