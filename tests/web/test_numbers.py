"""GET /numbers/{n} and POST /numbers."""

import asyncio
import io
import json
import time
from typing import Any

import gmpy2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import Settings, create_app
from primesvc.numbers import MAX_NUMBERS
from primesvc.web.numbers import MAX_LIST_BYTES
from tests.helpers import WAIT_S
from tests.web.api import Api

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def api(client: Client) -> Api:
    """The API of the application."""
    return Api(client)


async def test_everything_about_a_number(api: Api) -> None:
    """The document tells whether it is a prime, its factors, neighbours and index."""
    answer = await api.get("/numbers/360")
    assert answer.status == 200
    assert answer.document == {
        "number": 360,
        "is_prime": False,
        "factors": [[2, 3], [3, 2], [5, 1]],
        "previous": 359,
        "next": 367,
        "index": 72,
        "links": {"self": "/numbers/360"},
    }


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e6", 10**6), ("10**6", 10**6), ("1_000_000", 10**6), ("2%5E64-1", 2**64 - 1),
        ("2%5E64-59", 2**64 - 59), ("%201.0%20", 1), ("+7", 7), ("0", 0),
    ],
)  # fmt: skip
async def test_a_number_in_any_form(api: Api, text: str, number: int) -> None:
    """Whatever the form, it is the same number, and `self` is its plain one."""
    document = (await api.get(f"/numbers/{text}")).document
    assert document["number"] == number
    assert document["links"]["self"] == f"/numbers/{number}"
    assert document["is_prime"] == gmpy2.is_prime(number)


async def test_numbers_as_strings(api: Api) -> None:
    """With `numbers=string` no digit is lost by any reader."""
    document = (await api.get("/numbers/2%5E64-1?numbers=string")).document
    assert document["previous"] == "18446744073709551557"
    assert document["factors"][-1] == ["6700417", "1"]
    assert document["next"] is None
    (await api.get("/numbers/7?numbers=words")).problem(400, "invalid-parameter", says="numbers")


async def test_the_link_to_the_index_computes_it(aiohttp_client: AiohttpClient) -> None:
    """Where the index is null, a POST to the link counts it, also below a prefix."""
    parent = web.Application()
    parent.add_subapp("/a/", create_app(Settings(workers=2)))
    api = Api(await aiohttp_client(parent), "/a")
    document = (await api.get("/numbers/1e8")).document
    assert document["index"] is None
    link = document["links"]["index"].removeprefix("/a")
    job = await api.ended((await api.post(link)).document["id"])
    assert job["count"] == 5761455


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ("many", 400, "it is not a whole number such as"),
        ("1.5", 400, "it is not whole"),
        ("-1", 400, "it is negative; give a whole number from 0 to 2^64 - 1"),
        ("1e99", 400, "40 digits"),
        ("2%5E64", 422, "from 0 to 2^64 - 1 = 18446744073709551615, not 18446744073709551616"),
        ("9" * 200, 400, "too long"),
    ],
)
async def test_what_is_no_number(api: Api, text: str, status: int, says: str) -> None:
    """What cannot be answered is refused, and the error says what would work."""
    slug = "invalid-parameter" if status == 400 else "range-not-allowed"
    document = (await api.get(f"/numbers/{text}")).problem(status, slug, says=says)
    assert (document.get("limit") == 2**64 - 1) == (status == 422)


async def test_many_numbers(api: Api) -> None:
    """Each number of a list, in any form, gets its verdict, in their order."""
    numbers: list[Any] = [0, 1, 2, 3, 4, "7", 1e3, "2^61-1", 2**64 - 1, "2^64-59", 4294967291**2]
    answer = await api.post("/numbers?numbers=string", json={"numbers": numbers})
    expected = [False, False, True, True, False, True, False, True, False, True, False]
    assert (answer.status, answer.document) == (200, {"prime": expected})
    assert (await api.post("/numbers", json={"numbers": []})).document == {"prime": []}
    answer = await api.post("/numbers?numbers=words", json={"numbers": []})
    answer.problem(400, "invalid-parameter", says="numbers")


async def test_as_many_numbers_as_may_be(api: Api) -> None:
    """100,000 numbers of 20 digits as strings fit, are right, and do not hold up the loop."""
    numbers = [str(2**64 - 1 - n) for n in range(MAX_NUMBERS)]
    body = json.dumps({"numbers": numbers}).encode()
    assert len(body) < MAX_LIST_BYTES
    headers = {"Content-Type": "application/json"}
    await api.get("/numbers/7")  # the workers are up

    async def ask() -> bytes:
        data = io.BytesIO(body)
        async with api.client.post("/numbers", data=data, headers=headers) as response:
            return await response.read()

    # Not by `Api`, which would hold the answer against its schema on the same loop.
    asked = asyncio.create_task(ask())
    used = []
    async with asyncio.timeout(WAIT_S):
        while not asked.done():
            began = time.thread_time()
            await asyncio.sleep(0)
            used.append(time.thread_time() - began)
    # Reading and testing take half a second of a worker; the client is on this loop too.
    assert max(used) < 0.05
    verdicts = json.loads(await asked)["prime"]
    assert len(verdicts) == MAX_NUMBERS
    assert verdicts == [gmpy2.is_prime(int(n)) for n in numbers]


@pytest.mark.parametrize(
    ("body", "status", "slug", "says"),
    [
        ("", 400, "invalid-parameter", "body: it is not JSON"),
        ("[7]", 400, "invalid-parameter", "body: it must be a JSON object"),
        ("{}", 400, "invalid-parameter", "numbers: it is missing"),
        ('{"numbers": 7}', 400, "invalid-parameter", "numbers: it must be an array"),
        ('{"numbers": [7, true]}', 400, "invalid-parameter", "numbers[1]: it must be a number"),
        ('{"numbers": [7, [7]]}', 400, "invalid-parameter", "numbers[1]: it must be a number"),
        ('{"numbers": ["x"]}', 400, "invalid-parameter", "numbers[0]: 'x': it is not a whole"),
        ('{"numbers": [7, 8, -1]}', 400, "invalid-parameter", "numbers[2]: it is negative"),
        ('{"numbers": [7, "2^64"]}', 422, "range-not-allowed", "not 18446744073709551616"),
        (
            '{"numbers": [' + "7," * MAX_NUMBERS + "7]}",
            422, "range-not-allowed", "there are 100001 numbers, the limit is 100000",
        ),
        ('{"numbers": [' + "[" * 10**5, 400, "invalid-parameter", "body: it is not JSON"),
        (" " * (MAX_LIST_BYTES + 1), 413, "payload-too-large", "2500000 bytes"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
async def test_what_is_no_list(api: Api, body: str, status: int, slug: str, says: str) -> None:
    """A wrong list is refused, and the error names the first number that is wrong."""
    headers = {"Content-Type": "application/json"}
    answer = await api.post("/numbers", data=io.BytesIO(body.encode()), headers=headers)
    answer.problem(status, slug, says=says)
    assert api.service.buffers.taken_bytes == 0
