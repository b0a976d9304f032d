"""Who may ask for what: hosts, origins, the token, and what a proxy says."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from multidict import CIMultiDict
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Settings, create_app
from primesvc.web.access import KNOWN_HOSTS, Access
from tests.helpers import WAIT_S, assert_problem, fetch, submit

Client = TestClient[web.Request, web.Application]
Serve = Callable[..., Awaitable[Client]]

HERE = ["127.0.0.1"]
EVERYWHERE = ["0.0.0.0"]  # noqa: S104 - nothing is bound to it
TOKEN = "correct-horse.battery/staple="  # noqa: S105 - not one of anything

HOST_NOT_ALLOWED = "urn:primesvc:problem:host-not-allowed"
ORIGIN_NOT_ALLOWED = "urn:primesvc:problem:origin-not-allowed"
UNAUTHORIZED = "urn:primesvc:problem:unauthorized"
NO_PATH = "about:blank"

POST = "/primes?start_num=4&end_num=11"
SITE = "https://app.example"


@pytest.fixture
def serve(aiohttp_client: AiohttpClient) -> Serve:
    """A client of an application with these settings, by itself on these addresses."""

    async def serve(*, listens_on: list[str] | None = HERE, **settings: Any) -> Client:
        return await aiohttp_client(
            create_app(Settings(workers=1, **settings), listens_on=listens_on)
        )

    return serve


async def ask(
    client: Client, method: str, path: str, **headers: str | None
) -> tuple[int, CIMultiDict[str], bytes]:
    """Status, headers and body of the answer; underscores in names of headers are hyphens."""
    sent = {name.replace("_", "-"): text for name, text in headers.items() if text is not None}
    async with (
        asyncio.timeout(WAIT_S),
        client.request(method, path, headers=sent, allow_redirects=False) as response,
    ):
        return response.status, CIMultiDict(response.headers), await response.read()


async def refused(
    client: Client, status: int, type_: str, headers: Mapping[str, str], *, says: str = ""
) -> None:
    """Assert that requests with these headers are refused, whatever they ask for."""
    for method, path in (("POST", POST), ("GET", "/jobs"), ("GET", "/"), ("GET", "/nothing")):
        async with client.request(method, path, headers=headers) as response:
            await assert_problem(response, status, type_, says=says)


# --- hosts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:8080", "localhost", "localhost:1", "LocalHost:8080", "localhost.",
        "app.localhost:3000", "127.8.9.10", "[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]:8080",
    ],
)  # fmt: skip
async def test_this_machine_has_many_names(serve: Serve, host: str) -> None:
    """On the loopback every name and address of the loopback is served, at any port."""
    client = await serve()
    for _ in range(2):  # the second time it is known
        assert (await ask(client, "POST", POST, Host=host))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8080", "localhost.evil.example", "evillocalhost",
        "127.0.0.1.evil.example", "192.0.2.1", "192.0.2.1:8080", "0.0.0.0:8080", "[2001:db8::1]",
        "127.0.0.1@evil.example", "", ":8080", "[::1", "[::1]x",
        "localhost:x", "localhost,evil.example", ".localhost", "..localhost", "a..localhost",
        "evil.example/.localhost", "evil.example .localhost", "evil.example#.localhost",
        "<b>.localhost", "-a.localhost", "a.localhost..", "a@b.localhost", f"{'a' * 64}.localhost",
    ],
)  # fmt: skip
async def test_a_foreign_host_is_refused_on_the_loopback(serve: Serve, host: str) -> None:
    """A name that some page gave to this machine's address gets it nothing, and it is said why."""
    client = await serve()
    await refused(client, 421, HOST_NOT_ALLOWED, {"Host": host}, says="--allow-host")


async def test_health_is_for_this_machine_too(serve: Serve) -> None:
    """A rebound name does not even learn that there is a service."""
    client = await serve()
    for path in ("/health/live", "/health/ready", "/metrics"):
        async with client.get(path, headers={"Host": "evil.example"}) as response:
            await assert_problem(response, 421, HOST_NOT_ALLOWED)


async def test_hosts_can_be_allowed(serve: Serve) -> None:
    """Those that are listed are served besides this machine, in any case and at any port."""
    client = await serve(allow_host=("primes.example", "2001:db8::1"))
    for host in ("primes.example", "Primes.Example:443", "[2001:db8::1]:80", "localhost"):
        assert (await ask(client, "POST", POST, Host=host))[0] == 200
    for host in ("sub.primes.example", "example"):
        assert (await ask(client, "POST", POST, Host=host))[0] == 421


async def test_any_host_can_be_allowed(serve: Serve) -> None:
    """`*` is any."""
    client = await serve(allow_host=("*",))
    assert (await ask(client, "POST", POST, Host="evil.example"))[0] == 200


async def test_on_other_addresses_any_host_is_served(serve: Serve) -> None:
    """Who listens for others has names that nobody here knows."""
    for addresses in (EVERYWHERE, ["127.0.0.1", "192.0.2.1"], []):
        client = await serve(listens_on=addresses)
        assert (await ask(client, "POST", POST, Host="primes.example"))[0] == 200


async def test_on_other_addresses_hosts_can_be_named(serve: Serve) -> None:
    """Then only those are served, and addresses: to rebind one takes a name."""
    client = await serve(listens_on=EVERYWHERE, allow_host=("primes.example",))
    for host in ("primes.example", "192.0.2.1:8080", "[2001:db8::1]", "localhost"):
        assert (await ask(client, "POST", POST, Host=host))[0] == 200
    await refused(client, 421, HOST_NOT_ALLOWED, {"Host": "evil.example"})


async def test_a_request_without_a_host_is_no_browsers(serve: Serve) -> None:
    """HTTP/1.0 needs none."""
    client = await serve()
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"GET /health/live HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(WAIT_S):
        assert (await reader.read()).startswith(b"HTTP/1.0 200 ")
    writer.close()
    await writer.wait_closed()


def test_what_is_remembered_of_hosts_is_bounded() -> None:
    """However many spellings of its names this machine is called by."""
    access = Access(Settings(), HERE)
    for port in range(10 * KNOWN_HOSTS):
        access.check_source("GET", CIMultiDict({"Host": f"localhost:{port}"}))  # type: ignore[arg-type]
    assert len(access.known_hosts) <= KNOWN_HOSTS


# --- origins -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": "https://other.localhost"},
        {"Sec_Fetch_Site": "nonsense"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://[broken"},
        {"Origin": ""},
    ],
)
@pytest.mark.parametrize("addresses", [HERE, EVERYWHERE, []])
async def test_pages_of_other_sites_change_nothing(
    serve: Serve, headers: dict[str, str], addresses: list[str]
) -> None:
    """A POST or DELETE that a page of another site sent is refused before it does anything."""
    client = await serve(listens_on=addresses)
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    for method, path in (
        ("POST", POST), ("POST", "/jobs"), ("DELETE", "/jobs/x"), ("POST", "/jobs/x/cancel"),
        ("PUT", "/primes"), ("POST", "/nothing"),
    ):  # fmt: skip
        async with client.request(method, path, headers=sent) as response:
            await assert_problem(response, 403, ORIGIN_NOT_ALLOWED, says="--allow-origin")
    async with client.get("/jobs") as response:
        assert (await response.json())["total"] == 0


async def test_our_own_page_and_programs_may(serve: Serve) -> None:
    """What our page sends, what a user starts, and what no browser sends at all."""
    client = await serve()
    ours = f"http://{client.host}:{client.port}"
    for headers in (
        {"Sec_Fetch_Site": "same-origin", "Origin": ours},
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": ours},
        {"Origin": ours.replace("http", "HTTP")},
        {},
    ):
        assert (await ask(client, "POST", POST, **headers))[0] == 200, headers


async def test_reading_is_kept_from_other_sites_by_browsers(serve: Serve) -> None:
    """A GET is answered, without the headers that would let its page read the answer."""
    client = await serve()
    status, headers, _ = await ask(client, "GET", "/jobs", Origin=SITE, Sec_Fetch_Site="cross-site")
    assert status == 200
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert "Origin" not in headers.get("Vary", "")


async def test_without_sites_there_is_no_preflight(serve: Serve) -> None:
    """OPTIONS is a method like any other that no path takes."""
    client = await serve()
    async with client.options(
        "/primes", headers={"Origin": SITE, "Access-Control-Request-Method": "POST"}
    ) as response:
        await assert_problem(response, 405, NO_PATH)
        assert response.headers["Allow"] == "GET,HEAD,POST"
        assert "Access-Control-Allow-Origin" not in response.headers


# --- sites that may ------------------------------------------------------------------------------


async def test_sites_that_are_allowed_may_do_all(serve: Serve) -> None:
    """Their pages may send and read; every answer says so, a stream and an error too."""
    client = await serve(allow_origin=(SITE, "http://localhost:3000"))
    job_id = await submit(client, 4, 11)
    await fetch(client, job_id)
    for method, path, status in (
        ("POST", POST, 200), ("GET", f"/result/{job_id}", 200), ("GET", "/nothing", 404),
        ("GET", f"/jobs/{job_id}/primes", 200), ("GET", f"/jobs/{job_id}/events", 200),
        ("POST", "/primes?start_num=x", 400),
    ):  # fmt: skip
        got, headers, _ = await ask(client, method, path, Origin=SITE, Sec_Fetch_Site="cross-site")
        assert got == status, path
        assert headers["Access-Control-Allow-Origin"] == SITE
        assert "Origin" in ", ".join(headers.getall("Vary"))
        assert {"Location", "Retry-After", "ETag", "X-Request-ID"} <= set(
            headers["Access-Control-Expose-Headers"].split(", ")
        )
        assert "Access-Control-Allow-Credentials" not in headers


async def test_other_sites_still_may_not(serve: Serve) -> None:
    """Those that are not listed, nor parts of those that are; caches are told of the difference."""
    client = await serve(allow_origin=(SITE,))
    for origin in ("https://evil.example", "http://app.example", f"{SITE}:8443", f"{SITE}.evil"):
        status, headers, _ = await ask(client, "POST", POST, Origin=origin)
        assert status == 403
        assert "Access-Control-Allow-Origin" not in headers
        status, headers, _ = await ask(client, "GET", "/jobs", Origin=origin)
        assert status == 200
        assert "Access-Control-Allow-Origin" not in headers
        assert "Origin" in ", ".join(headers.getall("Vary"))
    _, headers, _ = await ask(client, "GET", "/jobs")
    assert headers["Vary"] == "Origin"


async def test_any_site_can_be_allowed(serve: Serve) -> None:
    """`*` is any; the answer names the one that asked."""
    client = await serve(allow_origin=("*",))
    status, headers, _ = await ask(client, "POST", POST, Origin="null")
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, "null")


PREFLIGHT = {
    "Origin": SITE,
    "Access_Control_Request_Method": "DELETE",
    "Access_Control_Request_Headers": "authorization,content-type",
}


@pytest.mark.parametrize("token", ["", TOKEN])
async def test_browsers_are_told_what_may_be_sent(serve: Serve, token: str) -> None:
    """A preflight, which has no token, is answered with what the path takes."""
    client = await serve(allow_origin=(SITE,), token=token)
    for path, methods in (
        ("/jobs", "GET, HEAD, POST"), ("/jobs/x", "DELETE, GET, HEAD"),
        (POST, "GET, HEAD, POST"), ("/jobs/x/cancel", "POST"),
    ):  # fmt: skip
        status, headers, body = await ask(client, "OPTIONS", path, **PREFLIGHT)
        assert (status, body) == (204, b"")
        assert headers["Access-Control-Allow-Origin"] == SITE
        assert headers["Access-Control-Allow-Methods"] == methods
        accepted = {name.lower() for name in headers["Access-Control-Allow-Headers"].split(", ")}
        assert {"authorization", "content-type", "range", "prefer", "last-event-id"} <= accepted
        assert int(headers["Access-Control-Max-Age"]) > 0
        assert "Origin" in headers["Vary"]


async def test_a_preflight_of_another_site_is_refused(serve: Serve) -> None:
    """And one for a path that does not exist is not found."""
    client = await serve(allow_origin=(SITE,))
    evil = {name.replace("_", "-"): text for name, text in PREFLIGHT.items()}
    async with client.options("/nothing", headers=evil) as response:
        await assert_problem(response, 404, NO_PATH)
    evil["Origin"] = "https://evil.example"
    async with client.options("/jobs", headers=evil) as response:
        await assert_problem(response, 403, ORIGIN_NOT_ALLOWED)


# --- the token -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "wrong"),
    [
        (None, False),
        ("", False),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        ("Bearer", True),
        ("Bearer ", True),
        (f"Bearer {TOKEN}x", True),
        (f"Bearer {TOKEN[:-1]}", True),
        (f"Bearer {TOKEN.upper()}", True),
        ("Bearer \udcff\udcfe", True),
        (f"Bearer x {TOKEN}", True),
    ],
)
async def test_without_the_token_nothing_answers(
    serve: Serve, header: str | None, wrong: bool
) -> None:
    """401 for everything, also for what does not exist, with the challenge that RFC 6750 asks for.

    Nothing of the token is told.
    """
    client = await serve(token=TOKEN)
    sent = {} if header is None else {"Authorization": header}
    for method, path in (
        ("POST", POST), ("GET", "/jobs"), ("POST", "/jobs"), ("DELETE", "/jobs/x"), ("GET", "/"),
        ("GET", "/docs/"), ("GET", "/openapi.json"), ("GET", "/static/page.js"),
        ("GET", "/metrics"), ("GET", "/nothing"), ("PUT", "/primes"), ("OPTIONS", "/jobs"),
        ("HEAD", "/jobs"),
    ):  # fmt: skip
        async with client.request(method, path, headers=sent) as response:
            challenge = 'Bearer realm="primesvc"' + (', error="invalid_token"' if wrong else "")
            assert response.headers["WWW-Authenticate"] == challenge
            if method != "HEAD":
                await assert_problem(response, 401, UNAUTHORIZED, says="Authorization: Bearer")
            assert response.status == 401
            assert TOKEN not in await response.text()


async def test_with_the_token_all_answers(serve: Serve) -> None:
    """Under the scheme's name in any case, and with any number of blanks, as RFC 9110 has it."""
    client = await serve(token=TOKEN)
    for header in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN} "):
        for method, path in (("POST", POST), ("GET", "/jobs"), ("GET", "/"), ("GET", "/metrics")):
            assert (await ask(client, method, path, Authorization=header))[0] == 200
        assert (await ask(client, "GET", "/nothing", Authorization=header))[0] == 404


@pytest.mark.parametrize("token", ["", TOKEN])
async def test_shared_caches_keep_nothing_that_the_token_protects(serve: Serve, token: str) -> None:
    """With a token what may be kept is the client's own; `public` says a cache may share it all.

    It overrides what caches know of `Authorization` (RFC 9111, 3.5).
    """
    client = await serve(token=token)
    known = {"Authorization": f"Bearer {token}"} if token else {}
    ids = [(await ask(client, "POST", f"/primes?start_num=4&end_num={end}", **known))[2].decode()
           for end in (11, 10**5)]  # fmt: skip
    paths = [
        f"/{path}"
        for id_ in (id_.strip().strip('"') for id_ in ids)
        for path in (f"result/{id_}", f"jobs/{id_}/primes", f"jobs/{id_}/primes?offset=1&limit=2",
                     f"jobs/{id_}/primes?offset=99999")
    ]  # fmt: skip
    for path in paths:
        async with asyncio.timeout(WAIT_S):
            while (answer := await ask(client, "GET", path, **known))[0] in (204, 409):
                pass
        headers = [answer[1]]
        headers.append((await ask(client, "GET", path, Range="bytes=1-1", **known))[1])
        if "ETag" in answer[1]:
            tag = answer[1]["ETag"]
            status, more, _ = await ask(client, "GET", path, If_None_Match=tag, **known)
            assert status == 304
            headers.append(more)
        for given in headers:
            said = given.get("Cache-Control", "").split(", ")
            assert ("private" in said) is bool(token), path
            assert "public" not in said


async def test_health_needs_no_token(serve: Serve) -> None:
    """Those who look after the process need not know its secret."""
    client = await serve(token=TOKEN)
    for path in ("/health/live", "/health/ready"):
        assert (await ask(client, "GET", path))[0] == 200
        assert (await ask(client, "HEAD", path))[0] == 200
        assert (await ask(client, "POST", path))[0] == 401


async def test_the_token_opens_neither_hosts_nor_origins(serve: Serve) -> None:
    """Each is checked for itself."""
    client = await serve(token=TOKEN)
    known = {"Authorization": f"Bearer {TOKEN}"}
    await refused(client, 421, HOST_NOT_ALLOWED, known | {"Host": "evil.example"})
    async with client.post(POST, headers=known | {"Origin": SITE}) as response:
        await assert_problem(response, 403, ORIGIN_NOT_ALLOWED)


def test_the_token_is_not_shown_with_the_settings() -> None:
    """Settings end up in logs and tracebacks."""
    settings = Settings(token=TOKEN)
    assert TOKEN not in repr(settings)
    assert TOKEN not in str(settings)


# --- proxies -------------------------------------------------------------------------------------


FORWARDED = {
    "X_Forwarded_Host": "primes.example",
    "X_Forwarded_Prefix": "/math/primes",
    "X_Forwarded_For": "203.0.113.7",
}


async def test_what_a_proxy_says_is_not_believed_by_default(serve: Serve) -> None:
    """Anybody could say it."""
    client = await serve(allow_host=("primes.example",))
    status, headers, _ = await ask(
        client, "POST", "/jobs?start=4&end=11", Host="evil.example", **FORWARDED
    )
    assert status == 421
    status, headers, _ = await ask(client, "POST", "/jobs?start=4&end=11", **FORWARDED)
    assert headers["Location"].startswith("/jobs/")


async def test_a_trusted_proxy_says_which_host_was_asked_for(serve: Serve) -> None:
    """The host that counts is the one the proxy was asked for, whatever it calls us."""
    client = await serve(trust_forwarded=True, allow_host=("primes.example",))
    own = "https://primes.example"
    assert (await ask(client, "POST", POST, **FORWARDED))[0] == 200
    assert (await ask(client, "POST", POST, Origin=own, **FORWARDED))[0] == 200
    assert (await ask(client, "POST", POST, Origin=SITE, **FORWARDED))[0] == 403
    for _ in range(2):
        for said in ("evil.example", "primes.example, evil.example"):
            assert (await ask(client, "POST", POST, X_Forwarded_Host=said))[0] == 421
        assert (await ask(client, "POST", POST, X_Forwarded_Host="evil, primes.example"))[0] == 200
        assert (await ask(client, "POST", POST))[0] == 200
        assert (await ask(client, "POST", POST, Host="evil.example"))[0] == 421


async def test_a_trusted_proxy_says_what_it_cut_off(serve: Serve) -> None:
    """Links of documents and headers, and the servers of the API, hold the prefix."""
    client = await serve(trust_forwarded=True, allow_host=("*",))
    async with client.post(
        "/jobs?start=4&end=11", headers={"X-Forwarded-Prefix": "/evil, /math/primes/"}
    ) as response:
        document = await response.json()
        base = f"/math/primes/jobs/{document['id']}"
        assert response.headers["Location"] == base
        assert document["links"]["self"] == base
        assert document["links"]["events"] == f"{base}/events"
        assert f"<{base}/primes>" in ", ".join(response.headers.getall("Link"))
    async with client.get("/openapi.json", headers={"X-Forwarded-Prefix": "/math"}) as response:
        assert (await response.json())["servers"] == [{"url": "/math"}]
    events = f"/jobs/{document['id']}/events"
    async with (
        asyncio.timeout(WAIT_S),
        client.get(events, headers={"X-Forwarded-Prefix": "/one"}) as one,
        client.get(events, headers={"X-Forwarded-Prefix": "/two"}) as two,
    ):
        assert f'"/one{events}"' in await one.text()
        assert f'"/two{events}"' in await two.text()


@pytest.mark.parametrize(
    "prefix",
    [
        "//evil.example",
        "https://evil.example",
        "math",
        "/a b",
        '/"',
        "/<script>",
        "/a//b",
        "",
        "/",
        "/a/../..",
        "/..",
        "/a/..",
        "/./a",
        "/%2e%2E/a",
        "/a/.%2e/b",
    ],
)
async def test_a_prefix_that_is_none_is_left_out(serve: Serve, prefix: str) -> None:
    """Whatever a proxy lets through, links stay on this host."""
    client = await serve(trust_forwarded=True)
    async with client.post(
        "/jobs?start=4&end=11", headers={"X-Forwarded-Prefix": prefix}
    ) as response:
        assert response.headers["Location"].startswith("/jobs/")


@pytest.mark.parametrize(
    ("forwarded", "coded"),
    [
        ("203.0.113.7", True),
        ("[2001:db8::1]:4711", True),
        ("127.0.0.1, 203.0.113.7:80", True),
        ("203.0.113.7, 127.0.0.1", False),
        ("unknown", False),
        (None, False),
    ],
)
async def test_a_trusted_proxy_says_where_the_client_is(
    serve: Serve, forwarded: str | None, coded: bool
) -> None:
    """A client elsewhere is sent codings that do not pay on this machine."""
    client = await serve(trust_forwarded=True)
    job_id = await submit(client, 0, 1000)
    await fetch(client, job_id)
    _, headers, _ = await ask(
        client, "GET", f"/jobs/{job_id}/primes",
        X_Forwarded_For=forwarded, Accept_Encoding="gzip",
    )  # fmt: skip
    assert ("Content-Encoding" in headers) is coded


# --- in somebody else's application --------------------------------------------------------------


async def test_an_embedder_sees_to_hosts_and_origins(aiohttp_client: AiohttpClient) -> None:
    """Mounted it listens nowhere: the parent, whose socket it is, says who may."""
    parent = web.Application()
    parent.add_subapp("/primes-api/", create_app(Settings(workers=1)))
    client = await aiohttp_client(parent)
    path = f"/primes-api{POST}"
    status, headers, _ = await ask(
        client, "POST", path, Host="parent.example", Origin=SITE, Sec_Fetch_Site="cross-site"
    )
    assert status == 200
    assert "Vary" not in headers


async def test_an_embedder_can_ask_for_it(aiohttp_client: AiohttpClient) -> None:
    """What the settings name is checked under the prefix too, and there alone."""

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    parent = web.Application()
    parent.router.add_get("/", hello)
    settings = Settings(
        workers=1, allow_host=("parent.example",), allow_origin=(SITE,), token=TOKEN
    )
    parent.add_subapp("/primes-api/", create_app(settings))
    client = await aiohttp_client(parent)
    path = f"/primes-api{POST}"
    known = {"Host": "parent.example", "Authorization": f"Bearer {TOKEN}"}
    assert (await ask(client, "POST", path, **known, Origin=SITE))[0] == 200
    assert (await ask(client, "POST", path, **known, Origin="https://evil.example"))[0] == 403
    assert (await ask(client, "POST", path, **known | {"Host": "evil.example"}))[0] == 421
    assert (await ask(client, "POST", path, **known | {"Authorization": "Bearer x"}))[0] == 401
    assert (await ask(client, "GET", "/primes-api/nothing", Host="parent.example"))[0] == 401
    assert (await ask(client, "GET", "/primes-api/health/live", Host="parent.example"))[0] == 200
    assert (await ask(client, "GET", "/", Host="evil.example"))[0] == 200
