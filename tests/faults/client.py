"""A client of a server that comes and goes."""

import asyncio
import re
from typing import Any, Self

import aiohttp

from tests.faults.server import Server
from tests.helpers import WAIT_S


class Client:
    """What the tests ask a server for, wherever it listens now; use it `async with`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.session.close()

    async def submit(self, start: int, end: int, kind: str = "primes") -> str:
        """Submit a job for the closed range; its id."""
        url = f"{self.server.url}/jobs?start={start}&end={end}&kind={kind}"
        async with self.session.post(url) as answer:
            assert answer.status in (200, 202), await answer.text()
            return str((await answer.json())["id"])

    async def job(self, job_id: str, *, wait_s: float = 0) -> dict[str, Any]:
        """The document of a job, when it is done or after that time."""
        url = f"{self.server.url}/jobs/{job_id}?wait={wait_s:g}"
        async with self.session.get(url) as answer:
            assert answer.status == 200, await answer.text()
            return dict(await answer.json())

    async def find(self, job_id: str) -> dict[str, Any] | None:
        """The document of a job, or None if it is not known."""
        async with self.session.get(f"{self.server.url}/jobs/{job_id}") as answer:
            if answer.status in (404, 410):
                return None
        return await self.job(job_id)

    async def ended(self, job_id: str, *, within_s: float = WAIT_S) -> dict[str, Any]:
        """The document of a job once it has ended."""
        async with asyncio.timeout(within_s):
            while True:
                document = await self.job(job_id, wait_s=WAIT_S / 2)
                if document["finished"] is not None:
                    return document

    async def count(self, start: int, end: int) -> int:
        """How many primes the closed range holds, by a job that is new or shared."""
        document = await self.ended(await self.submit(start, end))
        assert document["state"] == "succeeded", document
        return int(document["count"])

    async def metric(self, name: str) -> float:
        """A figure of /metrics by its name, labels included; 0 if there is none yet."""
        async with self.session.get(f"{self.server.url}/metrics") as answer:
            assert answer.status == 200
            found = re.search(f"^{re.escape(name)} (.*)$", await answer.text(), re.MULTILINE)
        return float(found[1]) if found else 0.0
