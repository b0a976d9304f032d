"""One line a request, and the ids of requests."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Settings, create_app, service_of
from tests.helpers import WAIT_S, eventually, fetch, finished, submit
from tests.web.api import LONG, Api
from tests.web.helpers import raw_download

Client = TestClient[web.Request, web.Application]
Serve = Callable[..., Awaitable[Client]]

LINE = re.compile(
    r'(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) INFO (?P<client>\S+) "(?P<method>\S+) '
    r'(?P<path>[^"]*)" (?P<status>\d{3}) (?P<sent>\d+)B (?P<micros>\d+)us (?P<id>\S+)'
)

TOKEN = "correct-horse"  # noqa: S105 - not one of anything


class Log(io.StringIO):
    """A stream that the lines go to."""

    @property
    def lines(self) -> list[str]:
        """The lines that are written so far, all of them complete."""
        text = self.getvalue()
        assert not text or text.endswith("\n")
        return text.splitlines()

    async def wait(self, number: int) -> list[str]:
        """The lines, once there are so many."""
        await eventually(lambda: len(self.lines) >= number)
        return self.lines


@pytest.fixture
def log() -> Log:
    """Where requests are logged to."""
    return Log()


@pytest.fixture
def serve(log: Log, aiohttp_client: AiohttpClient) -> Serve:
    """A client of an application that logs, with these settings."""

    async def serve(**settings: Any) -> Client:
        wanted: dict[str, Any] = {"workers": 1, "access_log": True} | settings
        app = create_app(Settings(**wanted), log_to=log)
        return await aiohttp_client(app, server_kwargs={"handler_cancellation": True})

    return serve


def parsed(line: str) -> dict[str, str]:
    """The parts of a line of text."""
    match = LINE.fullmatch(line)
    assert match is not None, line
    return match.groupdict()


def ids_in(log: Log) -> list[str]:
    """The ids in the lines so far."""
    return [parsed(line)["id"] for line in log.lines]


# --- lines ---------------------------------------------------------------------------------------


async def test_a_line_of_text_has_it_all(serve: Serve, log: Log) -> None:
    """Time, client, what it asked for, how it was answered, bytes, microseconds, and its id."""
    client = await serve()
    job_id = await submit(client, 4, 11)
    parts = parsed((await log.wait(1))[0])
    assert parts["client"] == "127.0.0.1"
    assert (parts["method"], parts["path"]) == ("POST", "/primes?start_num=4&end_num=11")
    assert (parts["status"], parts["sent"]) == ("200", str(len(f'"{job_id}"\n')))
    assert 0 < int(parts["micros"]) < WAIT_S * 1e6


async def test_a_line_of_json_has_it_all(serve: Serve, log: Log) -> None:
    """The same as an object a line, numbers as numbers."""
    client = await serve(log_format="json")
    async with client.get("/nothing?a=b", headers={"X-Request-ID": "abc"}) as response:
        sent = len(await response.read())
    document = json.loads((await log.wait(1))[0])
    duration_us, time = document.pop("duration_us"), document.pop("time")
    assert 0 < duration_us < WAIT_S * 1e6
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert document == {
        "level": "INFO", "logger": "primesvc.access", "client": "127.0.0.1", "method": "GET",
        "path": "/nothing?a=b", "status": 404, "sent_bytes": sent, "request_id": "abc",
    }  # fmt: skip


async def test_every_request_is_one_line_in_its_order(serve: Serve, log: Log) -> None:
    """Good and bad ones, each once."""
    client = await serve()
    asked = [("GET", "/health/live", 200), ("PUT", "/primes", 405), ("HEAD", "/", 200)]
    for method, path, status in asked * 3:
        async with client.request(method, path) as response:
            assert response.status == status
    lines = [parsed(line) for line in await log.wait(len(asked) * 3)]
    assert [(p["method"], p["path"], int(p["status"])) for p in lines] == asked * 3
    assert [p["sent"] for p in lines if p["method"] == "HEAD"] == ["0"] * 3


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("path", ['/a"b', "/a\\b", "/a%0Ab", "/%22%5C", "/x?y=\\n&z='"])
async def test_no_path_reads_as_anything_else(serve: Serve, log: Log, form: str, path: str) -> None:
    """Quotes and backslashes are escaped: a request is one line, which can be read back."""
    client = await serve(log_format=form)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(WAIT_S):
        assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    await writer.wait_closed()
    (line,) = await log.wait(1)
    if form == "json":
        assert json.loads(line)["path"] == path
    else:
        assert json.dumps(f"GET {path}") in line


async def test_a_download_is_logged_when_it_ends(serve: Serve, log: Log) -> None:
    """With all its bytes."""
    client = await serve()
    job_id = await submit(client, 0, 10**6)
    await fetch(client, job_id)
    async with client.get(f"/jobs/{job_id}/primes") as response:
        sent = len(await response.read())
    await eventually(lambda: any(f" 200 {sent}B " in line for line in log.lines))


async def test_a_client_that_leaves_its_download_is_logged(serve: Serve, log: Log) -> None:
    """The status that was sent, and fewer bytes than there are."""
    client = await serve()
    assert client.app is not None
    await finished(service_of(client.app), 0, 3 * 10**7)
    job_id = await submit(client, 0, 3 * 10**7)
    host, port = str(client.host), int(client.port or 0)
    async with raw_download(host, port, f"/jobs/{job_id}/primes?format=text") as download:
        length = download.length
        assert await download.read(1)  # before that, none of the body need have been sent
        await log.wait(1)
    parts = parsed((await log.wait(2))[1])
    assert parts["status"] == "200"
    assert 0 < int(parts["sent"]) < length


async def test_a_client_that_does_not_wait_is_logged(serve: Serve, log: Log) -> None:
    """With 499, as nothing was sent."""
    client = await serve()
    job = await Api(client).start(**LONG)
    _, writer = await asyncio.open_connection(client.host, client.port)
    path = f"/jobs/{job['id']}?wait=60"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode())
    await writer.drain()
    async with client.get("/health/live") as response:  # by then it is being answered
        assert response.status == 200
    writer.close()
    await writer.wait_closed()
    parts = parsed((await log.wait(3))[2])
    assert (parts["path"], parts["status"], parts["sent"]) == (path, "499", "0")


async def test_the_token_is_not_logged(
    serve: Serve, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the right one nor a wrong one."""
    caplog.set_level(logging.DEBUG)
    client = await serve(token=TOKEN)
    for token in (TOKEN, "wrong-horse"):
        async with client.get("/jobs", headers={"Authorization": f"Bearer {token}"}):
            pass
    assert len(await log.wait(2)) == 2
    assert "horse" not in log.getvalue() + caplog.text


@pytest.mark.parametrize("form", ["text", "json"])
async def test_a_token_in_the_query_is_not_logged(serve: Serve, log: Log, form: str) -> None:
    """It is not read from there, but some send it so; the rest of the path is logged."""
    client = await serve(token=TOKEN, log_format=form)
    for query in (f"token={TOKEN}", f"a=1&access_token={TOKEN}&b=2", f"Token={TOKEN}&b=2"):
        async with client.get(f"/jobs?{query}") as response:
            assert response.status == 401
    lines = await log.wait(3)
    assert "horse" not in log.getvalue()
    assert "/jobs?token=***" in lines[0]
    assert "/jobs?a=1&access_token=***&b=2" in lines[1]
    assert "/jobs?Token=***&b=2" in lines[2]


async def test_a_trusted_proxy_says_who_the_client_is(serve: Serve, log: Log) -> None:
    """The address that the proxy saw, if it is one; what the client said before it is not taken."""
    client = await serve(trust_forwarded=True)
    for said in ("198.51.100.1, 203.0.113.7", '1.2.3.4 "GET / 200', "[2001:db8::1]:80", ""):
        async with client.get("/health/live", headers={"X-Forwarded-For": said}):
            pass
    clients = [parsed(line)["client"] for line in await log.wait(4)]
    assert clients == ["203.0.113.7", "127.0.0.1", "2001:db8::1", "127.0.0.1"]


async def test_an_untrusted_proxy_says_nothing(serve: Serve, log: Log) -> None:
    """Without the setting anybody could be anybody."""
    client = await serve()
    async with client.get("/health/live", headers={"X-Forwarded-For": "203.0.113.7"}):
        pass
    assert parsed((await log.wait(1))[0])["client"] == "127.0.0.1"


# --- where lines go ------------------------------------------------------------------------------


async def test_nothing_is_logged_unless_asked_for(
    serve: Serve, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """Off by default."""
    caplog.set_level(logging.DEBUG, "primesvc")
    client = await serve(access_log=False)
    await submit(client, 4, 11)
    await client.close()
    assert (log.lines, caplog.messages) == ([], [])


async def test_what_is_collected_is_written_in_the_end(serve: Serve, log: Log) -> None:
    """A stop loses no line."""
    client = await serve()
    await submit(client, 4, 11)
    await client.close()
    assert len(log.lines) == 1


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
async def test_a_stream_that_fails_stops_nothing(
    aiohttp_client: AiohttpClient, error: Exception
) -> None:
    """Nobody may read the log any more; requests are answered all the same."""

    class Broken(io.StringIO):
        def write(self, _: str) -> NoReturn:
            raise error

    client = await aiohttp_client(create_app(Settings(workers=1, access_log=True), log_to=Broken()))
    assert await fetch(client, await submit(client, 4, 11)) == '"[5, 7, 11]"\n'
    await client.close()


@pytest.mark.parametrize("form", ["text", "json"])
async def test_an_embedder_gets_records(
    aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    """Without a stream each line is a record of the logger, which has its own time and level."""
    caplog.set_level(logging.INFO, "primesvc.access")
    parent = web.Application()
    settings = Settings(workers=1, access_log=True, log_format=form)
    parent.add_subapp("/primes-api/", create_app(settings))
    client = await aiohttp_client(parent)
    await submit(client, 4, 11, prefix="/primes-api")
    (record,) = [record for record in caplog.records if record.name == "primesvc.access"]
    assert record.levelno == logging.INFO
    message = record.getMessage()
    if form == "json":
        assert json.loads(message)["path"] == "/primes-api/primes?start_num=4&end_num=11"
    else:
        assert re.match(r'127\.0\.0\.1 "POST /primes-api/primes\?\S+" 200 39B \d+us \S+$', message)


# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a", "A-1_b.c~d:e/f+g=h@i", "x" * 128])
async def test_the_id_of_a_request_comes_back(serve: Serve, log: Log, given: str) -> None:
    """In the answer, whole, streamed or an error, and in the line."""
    client = await serve()
    job_id = await submit(client, 4, 11)
    await fetch(client, job_id)
    paths = [f"/result/{job_id}", f"/jobs/{job_id}/primes", f"/jobs/{job_id}/events", "/nothing"]
    for path in paths:
        async with client.get(path, headers={"X-Request-ID": given}) as response:
            assert response.headers.getall("X-Request-ID") == [given]
            await response.read()
    await eventually(lambda: ids_in(log).count(given) == len(paths))


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "a,b", "ä", "a\tb"])
async def test_an_id_that_fits_no_log_is_replaced(client: Client, given: str) -> None:
    """Too long, or with signs that logs and headers could stumble over: a new one comes back."""
    async with client.get("/health/live", headers={"X-Request-ID": given}) as response:
        assert response.status == 200
        assert re.fullmatch(r"[0-9a-f]{8}-\d+", response.headers["X-Request-ID"])


async def test_an_id_is_made_where_it_finds_something(client: Client) -> None:
    """Without a log, of requests that came with none, only errors get one."""
    async with client.get("/health/live") as response:
        assert "X-Request-ID" not in response.headers
    ids = set()
    for path in ("/nothing", "/result/x", "/jobs?state=x"):
        async with client.get(path) as response:
            assert response.status >= 400
            ids.add(response.headers["X-Request-ID"])
    assert len(ids) == 3


async def test_with_a_log_every_request_has_an_id(serve: Serve, log: Log) -> None:
    """Each its own, the same in the line and in the answer."""
    client = await serve()
    job_id = await submit(client, 4, 11)
    await fetch(client, job_id)
    ids = []
    for path in ("/health/live", f"/jobs/{job_id}/primes", "/nothing"):
        async with client.get(path) as response:
            await response.read()
            ids.append(response.headers["X-Request-ID"])
    await eventually(lambda: ids_in(log)[-3:] == ids)
    assert len(set(ids_in(log))) == len(ids_in(log))


async def test_a_mistake_is_found_by_the_id_of_its_request(
    aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is in the log with the id that the client was told, and nowhere else."""
    app = create_app(Settings(workers=1))
    client = await aiohttp_client(app)
    service_of(app).cancel = None  # type: ignore[assignment,method-assign]  # a bug
    api = Api(client)
    job = await api.start(**LONG)
    async with client.post(f"/jobs/{job['id']}/cancel", headers={"X-Request-ID": "q-7"}) as answer:
        assert answer.status == 500
        assert answer.headers["X-Request-ID"] == "q-7"
        assert "NoneType" not in await answer.text()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "request q-7" in record.getMessage()
    assert record.exc_info
