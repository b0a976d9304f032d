"""primesvc inside somebody else's aiohttp application, and with no HTTP at all."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

import psutil
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Range, Settings, create_app, service_of
from tests.helpers import WAIT_S, assert_problem, eventually, fetch, submit

pytestmark = pytest.mark.process

Client = TestClient[web.Request, web.Application]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NO_JOB = "00000000-0000-4000-8000-000000000000"
PREFIXES = ["/primes-api", "/primes-api/", "/api/primes-api/", "/a/b/c"]

NO_PATH = "about:blank"
BAD_PARAMETER = "urn:primesvc:problem:invalid-parameter"
NOT_ALLOWED = "urn:primesvc:problem:range-not-allowed"
UNKNOWN_JOB = "urn:primesvc:problem:unknown-job"


def workers() -> set[int]:
    """The worker processes of this process.

    They are children of the fork server, which, like the resource tracker, is
    the interpreter's own child and stays until it ends.
    """
    me = psutil.Process()
    helpers = {child.pid for child in me.children()}
    return {child.pid for child in me.children(recursive=True)} - helpers


def open_files() -> int:
    """How many files, sockets and pipes this process has open; 0 on Windows."""
    return int(psutil.Process().num_fds()) if hasattr(psutil.Process, "num_fds") else 0


@asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[str]:
    """The application served as `web.run_app` does it; gives its address."""
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    try:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def hello(_: web.Request) -> web.Response:
    """A page of the parent's own."""
    return web.Response(text="hello")


# --- under a prefix ----------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_the_contract_holds_under_a_prefix(
    aiohttp_client: AiohttpClient, prefix: str
) -> None:
    """Wherever it is mounted, POST leads to the result through its Location."""
    parent = web.Application()
    parent.add_subapp(prefix, create_app(Settings(workers=1)))
    client = await aiohttp_client(parent)
    base = prefix.rstrip("/")
    async with client.post(f"{base}/primes?start_num=4&end_num=11") as response:
        assert response.status == 200
        job_id = await response.json()
        assert await response.read() == f'"{job_id}"\n'.encode()
        path = urlsplit(urljoin(str(response.url), response.headers["Location"])).path
    assert path == f"{base}/result/{job_id}"
    assert await fetch(client, job_id, prefix=base) == '"[5, 7, 11]"\n'
    async with client.get(path) as response:
        assert await response.text() == '"[5, 7, 11]"\n'


async def test_it_can_be_nested_two_levels_deep(aiohttp_client: AiohttpClient) -> None:
    """An application that embeds it can itself be embedded; Location holds both prefixes."""
    parent, middle = web.Application(), web.Application()
    app = create_app(Settings(workers=1))
    middle.add_subapp("/inner/", app)
    parent.add_subapp("/outer/", middle)
    client = await aiohttp_client(parent)
    async with client.post("/outer/inner/primes?start_num=4&end_num=11") as response:
        path = urlsplit(urljoin(str(response.url), response.headers["Location"])).path
    job_id = await submit(client, 4, 11, prefix="/outer/inner")
    assert path == f"/outer/inner/result/{job_id}"
    assert await fetch(client, job_id, prefix="/outer/inner") == '"[5, 7, 11]"\n'
    async with client.get("/outer/inner/nothing") as response:
        await assert_problem(response, 404, NO_PATH)
    assert not service_of(app).closed


async def test_two_in_one_parent_keep_apart(aiohttp_client: AiohttpClient) -> None:
    """Two mounts have a service each, with its own settings, jobs and workers."""
    parent = web.Application()
    narrow = create_app(Settings(workers=1, max_span=100))
    wide = create_app(Settings(workers=1))
    parent.add_subapp("/narrow/", narrow)
    parent.add_subapp("/wide/", wide)
    client = await aiohttp_client(parent)
    job_id = await submit(client, 0, 100, prefix="/wide")
    assert (await fetch(client, job_id, prefix="/wide")).endswith('89, 97]"\n')
    async with client.post("/narrow/primes?start_num=0&end_num=101") as response:
        assert (await assert_problem(response, 422, NOT_ALLOWED))["limit"] == 100
    async with client.get(f"/narrow/result/{job_id}") as response:
        await assert_problem(response, 404, UNKNOWN_JOB)
    assert service_of(narrow) is not service_of(wide)
    assert (len(service_of(narrow).jobs), len(service_of(wide).jobs)) == (0, 1)


async def test_two_in_one_parent_agree_on_ids(aiohttp_client: AiohttpClient) -> None:
    """The id of a range is the same in every mount: nothing of the mount goes into it."""
    parent = web.Application()
    parent.add_subapp("/a/", create_app(Settings(workers=1)))
    parent.add_subapp("/b/", create_app(Settings(workers=1, max_span=100)))
    client = await aiohttp_client(parent)
    assert await submit(client, 4, 11, prefix="/a") == await submit(client, 4, 11, prefix="/b")


async def test_the_parent_reaches_the_service(aiohttp_client: AiohttpClient) -> None:
    """A handler of the parent uses the service of the mount, without HTTP; others have none."""
    parent = web.Application()
    app = create_app(Settings(workers=1))
    parent.add_subapp("/primes-api/", app)

    async def count(_: web.Request) -> web.Response:
        return web.json_response(await service_of(app).count(Range(1, 100)))

    parent.router.add_get("/count", count)
    client = await aiohttp_client(parent)
    async with client.get("/count") as response:
        assert await response.json() == 25
    with pytest.raises(KeyError):
        service_of(parent)


# --- beside what the parent has ------------------------------------------------------------------


@pytest.fixture
async def mixed(aiohttp_client: AiohttpClient) -> Client:
    """A client of a parent with a middleware, pages and faults of its own beside the mount."""

    @web.middleware
    async def stamp(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        response.headers["X-Parent"] = "seen"
        return response

    async def fail(_: web.Request) -> web.Response:
        raise LookupError("the parent's own fault")

    async def teapot(_: web.Request) -> web.Response:
        raise web.HTTPConflict(text="the parent's own conflict")

    parent = web.Application(middlewares=[stamp])
    parent.router.add_get("/", hello)
    parent.router.add_get("/result/{id}", hello)
    parent.router.add_get("/primes-api-too", hello)
    parent.router.add_get("/fail", fail)
    parent.router.add_get("/conflict", teapot)
    parent.add_subapp("/primes-api/", create_app(Settings(workers=1)))
    return await aiohttp_client(parent)


@pytest.mark.parametrize("path", ["/", "/result/1", "/primes-api-too"])
async def test_the_parents_pages_are_its_own(mixed: Client, path: str) -> None:
    """Routes of the parent, also those that look like ours, are answered by the parent."""
    async with mixed.get(path) as response:
        assert (response.status, await response.text()) == (200, "hello")


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/nothing", 404, "404: Not Found"),
        ("POST", "/primes", 404, "404: Not Found"),
        ("POST", "/", 405, "405: Method Not Allowed"),
        ("GET", "/conflict", 409, "the parent's own conflict"),
        ("GET", "/fail", 500, "500 Internal Server Error"),
    ],
)
async def test_the_parents_errors_are_untouched(
    mixed: Client, method: str, path: str, status: int, text: str
) -> None:
    """Outside the prefix, errors look as they do in an application without us."""
    async with mixed.request(method, path) as response:
        assert response.status == status
        assert response.content_type == "text/plain"
        assert (await response.text()).startswith(text)


@pytest.mark.parametrize(
    ("method", "path", "status", "type_"),
    [
        ("GET", "/primes-api/nothing", 404, NO_PATH),
        ("GET", "/primes-api/result/", 404, NO_PATH),
        ("GET", f"/primes-api/result/{NO_JOB}", 404, UNKNOWN_JOB),
        ("PUT", "/primes-api/primes", 405, NO_PATH),
        ("GET", "/primes-api/primes", 400, BAD_PARAMETER),
        ("POST", "/primes-api/primes", 400, BAD_PARAMETER),
        ("POST", "/primes-api/primes?start_num=1&end_num=1", 400, BAD_PARAMETER),
    ],
)
async def test_errors_under_the_prefix_are_problems(
    mixed: Client, method: str, path: str, status: int, type_: str
) -> None:
    """Under the prefix every error is a problem document, and the parent's middleware sees it."""
    async with mixed.request(method, path) as response:
        await assert_problem(response, status, type_)
        assert response.headers["X-Parent"] == "seen"
        assert ("Allow" in response.headers) == (status == 405)


async def test_the_parents_middlewares_see_our_answers(mixed: Client) -> None:
    """A middleware of the parent can add headers to our results."""
    job_id = await submit(mixed, 4, 11, prefix="/primes-api")
    assert await fetch(mixed, job_id, prefix="/primes-api") == '"[5, 7, 11]"\n'
    async with mixed.get(f"/primes-api/result/{job_id}") as response:
        assert response.headers["X-Parent"] == "seen"
        assert await response.read() == b'"[5, 7, 11]"\n'


# --- from start to stop ------------------------------------------------------------------------


async def test_nothing_is_left_when_the_parent_stops(aiohttp_client: AiohttpClient) -> None:
    """When the parent stops, amid a large job, every worker process of ours is gone."""
    before = workers()
    parent = web.Application()
    app = create_app(Settings(workers=2))
    parent.add_subapp("/primes-api/", app)
    client = await aiohttp_client(parent)
    service = service_of(app)
    job = service.job(await submit(client, 0, 10**12, prefix="/primes-api"))
    await eventually(lambda: job.progress > 0)
    assert len(workers() - before) >= 2
    async with asyncio.timeout(WAIT_S / 3):
        await client.close()
    assert service.closed
    assert job.state.final
    await eventually(lambda: workers() <= before)


async def test_starting_and_stopping_again_and_again_leaves_nothing() -> None:
    """Parents one after another, each with work done, leave no processes, tasks or files."""

    async def once() -> None:
        parent = web.Application()
        app = create_app(Settings(workers=1))
        parent.add_subapp("/primes-api/", app)
        async with running(parent):
            assert await service_of(app).count(Range(0, 10**8)) == 5_761_455
            assert workers() - before

    before = workers()
    await once()
    await eventually(lambda: workers() <= before)
    gc.collect()
    tasks, files = len(asyncio.all_tasks()), open_files()
    for _ in range(8):
        await once()
    await eventually(lambda: workers() <= before)
    gc.collect()
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks and open_files() <= files)


async def test_a_mount_that_is_not_used_starts_no_processes(aiohttp_client: AiohttpClient) -> None:
    """Worker processes start with the first request that needs them, not with the parent."""
    before = workers()
    parent = web.Application()
    parent.add_subapp("/primes-api/", create_app(Settings(workers=2)))
    client = await aiohttp_client(parent)
    async with client.get(f"/primes-api/result/{NO_JOB}") as response:
        await assert_problem(response, 404, UNKNOWN_JOB)
    assert workers() == before


async def test_nothing_is_left_when_the_parent_fails_to_start() -> None:
    """A parent whose own start-up fails after ours was through leaves no process of ours."""
    before = workers()
    parent = web.Application()
    app = create_app(Settings(workers=2))
    parent.add_subapp("/primes-api/", app)
    open_then: list[bool] = []

    async def fail(_: web.Application) -> None:
        open_then.append(not service_of(app).closed)
        raise OSError("the parent's database is down")

    parent.on_startup.append(fail)
    with pytest.raises(OSError, match="database is down"):
        async with running(parent):
            pass
    assert open_then == [True]
    assert workers() <= before


async def test_processes_of_a_parent_that_failed_go_with_it() -> None:
    """A parent that had us sieve before its start-up failed leaves no process once it is dropped.

    aiohttp stops no sub-application of a parent that did not start.
    """
    before = workers()

    async def start_and_fail() -> None:
        parent = web.Application()
        app = create_app(Settings(workers=1))
        parent.add_subapp("/primes-api/", app)

        async def fail(_: web.Application) -> None:
            assert await service_of(app).count(Range(0, 10**8)) == 5_761_455
            assert workers() - before
            raise OSError("the parent's database is down")

        parent.on_startup.append(fail)
        with pytest.raises(OSError, match="database is down"):
            async with running(parent):
                pass

    await start_and_fail()
    gc.collect()
    await eventually(lambda: workers() <= before)


async def test_nothing_is_left_when_a_second_mount_fails_to_start() -> None:
    """If one of two mounts cannot start, the parent does not, and the other leaves no process."""
    before = workers()
    parent = web.Application()
    parent.add_subapp("/good/", create_app(Settings(workers=1)))
    broken = web.Application()

    async def fail(_: web.Application) -> None:
        raise OSError("no such sieve")

    broken.on_startup.append(fail)
    broken.add_subapp("/inner/", create_app(Settings(workers=1)))
    parent.add_subapp("/broken/", broken)
    with pytest.raises(OSError, match="no such sieve"):
        async with running(parent):
            pass
    assert workers() <= before


async def test_a_parent_that_failed_can_be_built_again(aiohttp_client: AiohttpClient) -> None:
    """After a failed start a new application, from a new call, starts and serves."""

    async def fail(_: web.Application) -> None:
        raise OSError("the parent's database is down")

    parent = web.Application()
    parent.add_subapp("/primes-api/", create_app(Settings(workers=1)))
    parent.on_startup.append(fail)
    with pytest.raises(OSError, match="database is down"):
        async with running(parent):
            pass
    parent = web.Application()
    parent.add_subapp("/primes-api/", create_app(Settings(workers=1)))
    client = await aiohttp_client(parent)
    job_id = await submit(client, 4, 11, prefix="/primes-api")
    assert await fetch(client, job_id, prefix="/primes-api") == '"[5, 7, 11]"\n'


async def test_every_call_makes_a_new_application() -> None:
    """`create_app` shares nothing between its applications."""
    first, second = create_app(), create_app()
    assert first is not second
    assert service_of(first) is not service_of(second)


async def test_one_application_cannot_be_mounted_twice() -> None:
    """Mounting one application under two prefixes is an error that is raised, not a silent mess."""
    app = create_app(Settings(workers=1))

    async def run_with_two_mounts() -> None:
        parent = web.Application()
        parent.add_subapp("/a/", app)
        parent.add_subapp("/b/", app)
        async with running(parent):
            pass

    with pytest.raises(RuntimeError):
        await run_with_two_mounts()
