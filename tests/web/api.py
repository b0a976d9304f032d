"""What the tests of the job API share: a client whose every answer is held against the document."""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestClient
from multidict import CIMultiDictProxy
from yarl import URL

from primesvc import PrimeService, service_of
from tests.helpers import WAIT_S
from tests.web.openapi import check_answer, operations

NO_JOB: Final = "00000000-0000-4000-8000-000000000000"

LONG: Final = {"start": 0, "end": 10**12, "kind": "primes"}
"""Minutes of work: unfinished for as long as a test looks."""

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """An answer; `document` is its body if that is JSON."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def document(self) -> Any:
        """The JSON in the body."""
        return json.loads(self.body)

    @property
    def links(self) -> dict[str, str]:
        """The targets of the `Link` headers, by relation."""
        found = [re.fullmatch('<(.*)>; rel="(.*)"', v) for v in self.headers.getall("Link", [])]
        assert all(found)
        return {match[2]: match[1] for match in found if match}

    def problem(self, status: int, slug: str, *, says: str = "") -> JsonObject:
        """The problem document, asserted to be of this kind."""
        assert self.status == status, self.body
        assert self.headers["Content-Type"] == "application/problem+json"
        document: JsonObject = self.document
        type_ = slug if slug == "about:blank" else f"urn:primesvc:problem:{slug}"
        assert (document["type"], document["status"]) == (type_, status)
        assert document["message"] == document["detail"]
        assert says in document["detail"], document["detail"]
        assert b"Traceback" not in self.body
        return document


class Api:
    """The API of an application, by paths as they are below its prefix."""

    def __init__(
        self, client: "TestClient[web.Request, web.Application]", prefix: str = ""
    ) -> None:
        self.client = client
        self.prefix = prefix

    @property
    def service(self) -> PrimeService:
        """The service behind it, if it is mounted nowhere."""
        assert self.client.app is not None
        return service_of(self.client.app)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        """The answer, which is as the document says; the path is sent as it is written here."""
        url = URL(self.prefix + path, encoded=True)
        async with (
            asyncio.timeout(WAIT_S),
            self.client.request(method, url, allow_redirects=False, **options) as response,
        ):
            answer = Answer(response.status, response.headers, await response.read())
        check_answer(_template(path), method, answer.status, answer.headers, answer.body)
        return answer

    async def get(self, path: str, **options: Any) -> Answer:
        """The answer to a GET."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        """The answer to a POST."""
        return await self.request("POST", path, **options)

    async def delete(self, path: str) -> Answer:
        """The answer to a DELETE."""
        return await self.request("DELETE", path)

    async def start(self, **wish: Any) -> JsonObject:
        """The document of the job for a wish, as it is at once."""
        answer = await self.post("/jobs", json=wish)
        assert answer.status in (200, 202), answer.body
        document: JsonObject = answer.document
        return document

    async def finish(self, **wish: Any) -> JsonObject:
        """The document of the job for a wish, once it is finished."""
        document = await self.start(**wish)
        return await self.ended(document["id"])

    async def ended(self, job_id: str) -> JsonObject:
        """The document of a job once it is finished."""
        answer = await self.get(f"/jobs/{job_id}?wait={WAIT_S}")
        document: JsonObject = answer.document
        assert document["finished"] is not None, document
        return document


def _template(path: str) -> str:
    """The path of the document that this path is one of."""
    path = path.partition("?")[0]
    for template, _ in operations():
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            return template
    raise AssertionError(f"nothing tells of {path}")
