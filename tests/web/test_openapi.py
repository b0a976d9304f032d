"""`openapi.json`: a valid document, which tells of all there is and of nothing else."""

import io
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Settings, create_app
from primesvc.errors import RemoteError
from primesvc.formats.catalog import FORMATS
from primesvc.kinds.catalog import KINDS
from primesvc.numbers import MAX_NUMBERS
from primesvc.service import Readiness
from primesvc.states import State
from primesvc.web import bodies, numbers, pages
from primesvc.web.negotiation import NUMBERS
from primesvc.web.problems import MEMBERS, STATUSES, problem_of
from primesvc.web.routes import ROUTES
from tests.web.api import LONG, NO_JOB, Api
from tests.web.helpers import mounted
from tests.web.openapi import check, document, operations, resolved

Client = TestClient[web.Request, web.Application]
Schema = dict[str, Any]

DOCUMENT = document()
SCHEMAS: Schema = DOCUMENT["components"]["schemas"]


PROBLEMS = [problem_of(error) for error in STATUSES if error is not RemoteError]
"""All but the client's."""


def every_part(part: Any) -> Iterator[Schema]:
    """Every object in the document."""
    if isinstance(part, dict):
        yield part
    if isinstance(part, dict | list):
        for below in part.values() if isinstance(part, dict) else part:
            yield from every_part(below)


def types_told(response: Schema) -> set[str]:
    """The problem types that a response may have."""
    types: set[str] = set()
    for part in every_part(resolved(response)["content"]["application/problem+json"]["schema"]):
        if "type" in part.get("properties", {}):
            told = part["properties"]["type"]
            types.update(told.get("enum", [told.get("const")]))
    return types


# --- the document --------------------------------------------------------------------------------


def test_it_is_openapi() -> None:
    """The document is valid OpenAPI 3.1, and of this version of the package."""
    errors = [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()]
    assert not errors
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["version"] == version("primesvc")


def test_it_tells_of_every_route_and_of_no_other() -> None:
    """Paths and methods are those of the router; HEAD, which goes with GET, is told of once."""
    routed = {
        (route.path, route.method)
        for route in ROUTES
        # A path without its slash redirects.
        if isinstance(route, web.RouteDef) and route.handler is not pages.add_slash
    }
    assert set(operations()) == routed


def test_every_path_parameter_is_told_of() -> None:
    """What stands in braces in a path is a parameter of it."""
    for (path, method), operation in operations().items():
        told = [*DOCUMENT["paths"][path].get("parameters", []), *operation.get("parameters", [])]
        names = {p["name"] for p in map(resolved, told) if p["in"] == "path"}
        assert names == set(re.findall(r"\{(\w+)\}", path)), (path, method)


def test_it_tells_of_every_error() -> None:
    """Every error has its problem type among the types, and in the answers of its status."""
    types = SCHEMAS["Problem"]["properties"]["type"]
    assert set(types["enum"]) == {"about:blank"} | {problem.type for problem in PROBLEMS}
    by_status: dict[str, set[str]] = {}
    for operation in operations().values():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                by_status.setdefault(status, set()).update(types_told(response))
    for problem in PROBLEMS:
        assert problem.type in by_status[str(problem.status)], problem
        assert f"`{problem.type}` ({problem.status})" in types["description"]
    assert {type_ for told in by_status.values() for type_ in told} == set(types["enum"])


def test_it_tells_of_every_member_of_problems() -> None:
    """What errors add to their problem documents is told of."""
    assert set(MEMBERS) <= set(SCHEMAS["Problem"]["properties"])


def test_it_has_the_choices_that_the_code_has() -> None:
    """States, kinds, formats, phases and limits are those of the code."""
    assert SCHEMAS["State"]["enum"] == [state.value for state in State]
    assert SCHEMAS["Kind"]["enum"] == list(KINDS)
    assert set(SCHEMAS["Facts"]["properties"]["phase"]["enum"]) == {
        phase.value for phase in Readiness
    }
    parameters = DOCUMENT["components"]["parameters"]
    assert parameters["format"]["schema"]["enum"] == list(FORMATS)
    assert parameters["numbers"]["schema"]["enum"] == list(NUMBERS)
    estimate = SCHEMAS["Estimate"]["properties"]["estimate"]["properties"]
    assert estimate["bytes"]["required"] == list(FORMATS)
    types = [f.media_type.partition(";")[0] for f in FORMATS.values()]
    for path, more in (("/jobs/{id}/primes", []), ("/primes", ["text/html"])):
        content = operations()[path, "GET"]["responses"]["200"]["content"]
        assert list(content) == [*types, *more]
    assert SCHEMAS["NumberList"]["properties"]["numbers"]["maxItems"] == MAX_NUMBERS
    posted = operations()["/numbers", "POST"]["description"]
    assert f"{numbers.MAX_LIST_BYTES:,} bytes" in posted
    assert str(bodies.MAX_BODY_BYTES) in json.dumps(DOCUMENT["components"]["responses"]["TooLarge"])


def test_every_example_is_one() -> None:
    """Examples are as their schemas say."""
    found = 0
    for part in every_part(DOCUMENT):
        if "schema" in part and "example" in part and isinstance(part["schema"], dict):
            check(part["schema"], part["example"])
            found += 1
        for example in part.get("examples", {}).values() if "schema" in part else ():
            check(part["schema"], example["value"])
            found += 1
    for schema in SCHEMAS.values():
        for example in schema.get("examples", []):
            check(schema, example)
            found += 1
    assert found > 40


def test_nothing_in_it_is_left_over() -> None:
    """Every part that has a name is used."""
    used = {part["$ref"] for part in every_part(DOCUMENT) if "$ref" in part}
    named = {
        f"#/components/{kind}/{name}"
        for kind, parts in DOCUMENT["components"].items()
        for name in parts
        if kind != "securitySchemes"
    }
    assert used == named


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "queued", "progress": 0.5},
        {"state": "running", "finished": "2026-11-24T06:58:34.070Z"},
        {"state": "running", "error": {}},
        {"state": "succeeded", "progress": 0.5},
        {"state": "succeeded", "finished": None},
        {"state": "failed"},
        {"state": "cancelled", "eta_s": 3.5},
        {"state": "lost"},
        {"kind": "count"},
        {"count": -1},
        {"count": "1e6"},
        {"progress": 1.5},
        {"created": "2026-11-24 06:58"},
        {"links": {"self": "/jobs/1", "events": "/jobs/1/events", "other": "/"}},
    ],
    ids=str,
)
def test_the_schema_of_a_job_holds_what_must_hold(wrong: Schema) -> None:
    """A job that contradicts itself is not as the schema says: unfinished, it has no end."""
    running, succeeded = SCHEMAS["Job"]["examples"]
    good = running if wrong.get("state") in ("queued", "running") else succeeded
    check(SCHEMAS["Job"], good)
    with pytest.raises(AssertionError):
        check(SCHEMAS["Job"], good | wrong)


# --- the service ---------------------------------------------------------------------------------


async def test_answers_are_as_it_says(client: Client) -> None:
    """Of every operation there are answers, good and bad, and all are as the document says.

    `Api` asserts that; here are those that no other test asks for.
    """
    api, seen = Api(client), set()

    async def ask(method: str, path: str, expected: int, **options: Any) -> Any:
        answer = await api.request(method, path, **options)
        assert answer.status == expected, (method, path, answer.body[:300])
        seen.add((method, re.sub("[0-9a-f-]{36}", "{id}", path.partition("?")[0])))
        return answer

    done = (await api.finish(start=0, end=100))["id"]
    long = (await api.start(**LONG))["id"]
    await ask("POST", "/primes?start_num=4&end_num=11", 200)
    await ask("POST", "/primes?start_num=4", 400)
    await ask("POST", f"/primes?start_num=4&end_num={2**64}", 422)
    await ask("GET", "/primes?start=4&end=11&offset=1&limit=1", 200)
    for accept in ("text/html", "text/csv"):
        whole = await ask("GET", "/primes?start=4&end=11", 200, headers={"Accept": accept})
        known = {"Accept": accept, "If-None-Match": whole.headers["ETag"]}
        await ask("GET", "/primes?start=4&end=11", 304, headers=known)
    await ask("GET", "/primes?start=4&end=11", 206, headers={"Range": "bytes=0-3"})
    await ask("GET", "/primes?start=4&end=11", 412, headers={"If-Match": '"x"'})
    await ask("GET", "/primes?start=4&end=11", 416, headers={"Range": "bytes=9999-"})
    await ask("GET", "/primes?start=4&end=11&format=xml", 406)
    await ask("GET", "/primes?start=4", 400)
    await ask("GET", "/primes?start=0&end=2^64", 422)
    await ask("GET", "/primes?start=0&end=1e12&limit=3", 200)
    await ask("HEAD", "/primes?start=0&end=1e13", 200)
    await ask("GET", f"/result/{done}", 200)
    await ask("GET", f"/result/{done}", 206, headers={"Range": "bytes=0-3"})
    await ask("GET", f"/result/{done}", 206, headers={"Range": "bytes=0-3,5-6"})
    await ask("GET", f"/result/{done}", 416, headers={"Range": "bytes=9999-"})
    await ask("GET", f"/result/{long}", 204)
    await ask("GET", f"/result/{NO_JOB}", 404)
    await ask("POST", "/jobs?start=0&end=10", 202, headers={"Prefer": "wait=0"})
    await ask("POST", "/jobs?start=0&end=100", 200, headers={"Prefer": "respond-async, wait=5"})
    await ask("POST", "/jobs", 200, json={"start": 0, "end": "1e9", "dry_run": True})
    await ask("GET", "/jobs", 200)
    await ask("GET", "/jobs?limit=1", 200)
    await ask("GET", f"/jobs/{done}?numbers=string&wait=1", 200)
    await ask("GET", f"/jobs/{long}", 200)
    await ask("POST", f"/jobs/{long}/cancel", 200)
    await ask("GET", f"/jobs/{done}/events", 200)
    await ask("GET", f"/jobs/{done}/events", 204, headers={"Last-Event-ID": "1-succeeded"})
    for format_ in FORMATS:
        path = f"/jobs/{done}/primes?format={format_}"
        whole = await ask("GET", path, 200)
        await ask("GET", path, 206, headers={"Range": "bytes=1-1"})
        await ask("GET", path, 304, headers={"If-None-Match": whole.headers["ETag"]})
        await ask("GET", f"{path}&offset=3&limit=4&numbers=string", 200)
    await ask("GET", f"/jobs/{done}/primes?format=xml", 406)
    await ask("GET", f"/jobs/{done}/primes", 406, headers={"Accept": "image/png"})
    await ask("GET", f"/jobs/{done}/primes", 412, headers={"If-Match": '"x"'})
    await ask("GET", f"/jobs/{done}/primes", 416, headers={"Range": "bytes=9999-"})
    await ask("GET", f"/jobs/{done}/primes", 206, headers={"Range": "bytes=0-3,5-6"})
    await ask("GET", "/numbers/360", 200)
    await ask("GET", "/numbers/2%5E61-1?numbers=string", 200)
    await ask("GET", "/numbers/many", 400)
    await ask("GET", "/numbers/2%5E64", 422)
    await ask("POST", "/numbers", 200, json={"numbers": [7, 9, "2^61-1"]})
    await ask("POST", "/numbers", 400, json={"numbers": [7, -9]})
    await ask("POST", "/numbers", 413, data=io.BytesIO(b" " * (numbers.MAX_LIST_BYTES + 1)))
    await ask("POST", "/numbers", 415, data=b"7")
    await ask("POST", "/numbers", 422, json={"numbers": [2**64]})
    for path in ("/", "/docs/", "/docs/api", "/docs/http", "/openapi.json", "/static/page.css"):
        whole = await ask("GET", path, 200)
        await ask("GET", path, 304, headers={"If-None-Match": whole.headers["ETag"]})
    await ask("GET", "/docs/nothing", 404)
    await ask("GET", "/static/nothing", 404)
    await ask("GET", "/health/live", 200)
    assert (await api.get("/health/ready")).status in (200, 503)
    await ask("GET", "/metrics", 200)
    await ask("DELETE", f"/jobs/{done}", 204)
    await ask("GET", f"/jobs/{done}", 410)
    named = re.compile("(?<=/static/).+|(?<=/docs/)(?!api).+")
    numbered = re.compile("(?<=/numbers/).+")
    paths = {(method, numbered.sub("{n}", named.sub("{name}", path))) for method, path in seen}
    assert {(m, p) for p, m in operations()} - paths == {("GET", "/health/ready")}


async def test_refusals_are_as_it_says(aiohttp_client: AiohttpClient) -> None:
    """What a request without the token, from another site, or for another host gets, is told of."""
    settings = Settings(workers=2, token="secret", allow_host=("127.0.0.1",))  # noqa: S106 - a test's
    app = create_app(settings, listens_on=["127.0.0.1"])
    api = Api(await aiohttp_client(app))
    for path, method in operations():
        concrete = path.replace("{id}", NO_JOB).replace("{name}", "page.css")
        concrete = concrete.replace("{n}", "7")
        if not path.startswith("/health"):
            (await api.request(method, concrete)).problem(401, "unauthorized")
        answer = await api.request(method, concrete, headers={"Host": "example.org"})
        answer.problem(421, "host-not-allowed")
        if method in ("POST", "DELETE") or path == "/primes":
            headers = {"Sec-Fetch-Site": "cross-site", "Authorization": "Bearer secret"}
            answer = await api.request(method, concrete, headers=headers)
            answer.problem(403, "origin-not-allowed")


@pytest.mark.parametrize("prefix", ["", "/primes-api", "/a/b"])
async def test_it_knows_where_it_is_served(
    aiohttp_client: AiohttpClient, settings: Settings, prefix: str
) -> None:
    """`servers` is where the application is mounted, and the rest is as it is packaged."""
    client = await aiohttp_client(mounted(settings, prefix))
    async with client.get(f"{prefix}/openapi.json") as response:
        assert response.headers["Content-Type"] == "application/json"
        served = await response.json()
    (server,) = served["servers"]
    assert server["url"] == (prefix or "/")
    assert served | {"servers": None} == DOCUMENT | {"servers": None}
    async with client.get(server["url"].rstrip("/") + "/health/live") as response:
        assert response.status == 200
