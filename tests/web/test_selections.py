"""Constellations and residue classes over HTTP: documents, files and errors."""

import uuid
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from primesvc import Range, Selection
from primesvc.formats.catalog import FORMATS
from primesvc.kinds.base import NAMESPACE
from tests.formats.files import assembled, by_segment
from tests.kinds.test_selections import constellations
from tests.web.api import Api

WISH: dict[str, Any] = {"start": 3, "end": 5 * 10**6, "pattern": "0,2,6,8"}


@pytest.fixture
def api(client: "TestClient[web.Request, web.Application]") -> Api:
    """The API of the application."""
    return Api(client)


async def test_the_document_says_what_is_selected(api: Api) -> None:
    """By the name of the pattern, whichever way it was written; the id is that of the question."""
    document = await api.finish(**WISH)
    assert (document["pattern"], document["count"]) == ("quadruplets", 546)
    assert document["id"] == str(uuid.uuid5(NAMESPACE, "primes:3:5000000:quadruplets"))
    assert "modulus" not in document
    again = await api.post("/jobs?start=3&end=5e6&pattern=quadruplets&numbers=string")
    assert (again.document["id"], again.document["count"]) == (document["id"], "546")
    classes = await api.finish(start=0, end=1000, kind="count", modulus="4", residue=3)
    assert (classes["modulus"], classes["residue"], classes["count"]) == (4, 3, 87)


async def test_files(api: Api) -> None:
    """In every format the bytes are those of the selected primes; a part of them is that part."""
    links = (await api.finish(**WISH))["links"]
    expected = constellations(Selection("quadruplets"), Range(3, 5 * 10**6))
    for name, format_ in FORMATS.items():
        answer = await api.get(f"{links['primes']}?format={name}")
        assert answer.body == assembled(format_, by_segment(expected))
        assert (
            f'"primes-3-5000000-quadruplets.{format_.extension}"'
            in (answer.headers["Content-Disposition"])
        )
        part = await api.get(
            f"{links['primes']}?format={name}", headers={"Range": "bytes=1001-2000"}
        )
        assert part.body == answer.body[1001:2001]
    page = await api.get(f"{links['primes']}?offset=520&limit=5")
    assert page.document == expected[520:525]
    contract = await api.get(links["result"])
    assert contract.document == str(expected)


async def test_estimates(api: Api) -> None:
    """An estimate is of the selected primes, and says which."""
    answer = await api.post("/jobs", json={**WISH, "dry_run": True})
    assert answer.document["pattern"] == "quadruplets"
    assert 400 < answer.document["estimate"]["count"] < 650


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("pattern=triples", "pattern: 'triples' is no pattern: give one of twins, cousins"),
        ("pattern=", "pattern: "), ("pattern=2,4", "pattern: its offsets begin with 0"),
        ("pattern=0,1001", "pattern: its offsets go up to 1000"),
        ("modulus=4", "residue: it is missing"), ("residue=1", "residue: it goes with a modulus"),
        ("modulus=0&residue=0", "modulus: give a whole number from 1 to 10000"),
        ("modulus=1e9&residue=0", "modulus: give a whole number from 1 to 10000"),
        ("modulus=4&residue=4", "residue: give a whole number from 0 to 3"),
        ("modulus=four&residue=1", "modulus: 'four'"),
        ("kind=nth&n=5&pattern=twins", "kind: nth is about all primes"),
    ],
)  # fmt: skip
async def test_what_is_no_selection(api: Api, query: str, says: str) -> None:
    """The error names what is wrong, and what would work."""
    answer = await api.post(f"/jobs?start=0&end=100&{query}")
    answer.problem(400, "invalid-parameter", says=says)


@pytest.mark.parametrize("value", [["0", "2"], {"0": 2}, True, 2, None])
async def test_a_pattern_is_text(api: Api, value: object) -> None:
    """Other types of JSON are refused; null is as if it were not there."""
    answer = await api.post("/jobs", json={"start": 0, "end": 100, "pattern": value})
    if value is None:
        assert answer.status in (200, 202)
    else:
        answer.problem(400, "invalid-parameter", says="pattern: ")
