"""What the tests of downloads share: a client that takes answers apart."""

import asyncio
import email
import email.message
from typing import Any

from aiohttp.test_utils import TestClient
from multidict import CIMultiDict
from yarl import URL

from primesvc import PrimeService
from tests.helpers import WAIT_S, finished
from tests.web import api


class Answer(api.Answer):
    """An answer, with its body as it was sent."""

    @property
    def parts(self) -> list[tuple[str, str, bytes]]:
        """Content-Type, Content-Range and content of each part, by Python's email parser."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n"
        message = email.message_from_bytes(head.encode() + self.body)
        assert message.is_multipart()
        assert not message.defects
        return [_part(part) for part in message.get_payload()]


def _part(part: Any) -> tuple[str, str, bytes]:
    assert isinstance(part, email.message.Message)
    assert set(part.keys()) == {"Content-Type", "Content-Range"}
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return part["Content-Type"], part["Content-Range"], content


class Downloads:
    """Downloads from an application, and the files that they should be."""

    def __init__(self, client: TestClient[Any, Any], service: PrimeService) -> None:
        self.client = client
        self.service = service

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port of the server."""
        assert self.client.port is not None
        return self.client.host, self.client.port

    async def path(self, start: int, end: int) -> str:
        """The path of the primes of a range, whose job is done."""
        job = await finished(self.service, start, end)
        return f"/jobs/{job.id}/primes"

    def url(self, path: str) -> str:
        """The whole address of a path, for other clients than ours."""
        return str(self.client.make_url(path))

    async def get(
        self,
        path: str,
        headers: "dict[str, str] | CIMultiDict[str] | None" = None,
        *,
        method: str = "GET",
    ) -> Answer:
        """The answer to a request; its body is as long as it says."""
        async with (
            asyncio.timeout(WAIT_S),
            self.client.request(
                method,
                URL(path, encoded=True),
                headers=headers,
                # Only what a test says: aiohttp accepts gzip by itself.
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            ) as response,
        ):
            body = await response.read()
            answer = Answer(response.status, response.headers, body)
        if method != "HEAD" and "Content-Length" in answer.headers:
            assert len(body) == int(answer.headers["Content-Length"])
        return answer

    async def head(
        self, path: str, headers: "dict[str, str] | CIMultiDict[str] | None" = None
    ) -> Answer:
        """The answer to a HEAD request."""
        answer = await self.get(path, headers, method="HEAD")
        assert answer.body == b""
        return answer
