"""A kind that the service has never heard of: the protocol is all that it takes."""

import asyncio
import operator
import pickle
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import PrimeService, Settings, create_app
from primesvc.compute.dispatcher import Queue
from primesvc.errors import InvalidParameter, JournalUnusable
from primesvc.jobs.journal import Journal
from primesvc.jobs.records import check_sum
from primesvc.kinds.base import Question, Resources, Work
from primesvc.kinds.catalog import KINDS
from primesvc.kinds.parameters import read_number
from primesvc.sieve.engine import Engine
from primesvc.states import State
from tests.compute import calls
from tests.helpers import WAIT_S, assert_problem, eventually


@dataclass(frozen=True)
class Sum(Question):
    """Asks for the sum of the numbers up to a number: no range, no pieces, one call a number."""

    upto: int

    kind = "sum"

    @classmethod
    def read(cls, values: Mapping[str, object]) -> Self:
        """The question about `upto`."""
        return cls(read_number("upto", values.get("upto")))

    @property
    def parameters(self) -> Mapping[str, int | str]:
        """The last number."""
        return {"upto": self.upto}

    def __str__(self) -> str:
        return f"the sum up to {self.upto}"

    def cost_s(self, engine: Engine, workers: int) -> float:
        """A second a number."""
        return float(self.upto)

    async def plan(self, resources: Resources) -> "Summing":
        """Begin with nothing."""
        return Summing(self.upto)

    def recall(self, record: bytes, *, complete: bool) -> "Summing":
        """Go on with the sum so far."""
        work = Summing(self.upto)
        work.done, work.total = map(int, record.split())
        if complete and work.done != self.upto:
            raise ValueError("the sum is not complete")
        return work


class Summing(Work):
    """Adds up the numbers in workers."""

    def __init__(self, upto: int) -> None:
        self.upto, self.done, self.total = upto, 0, 0

    async def run(self, resources: Resources, queue: Queue) -> None:
        """One call a number."""
        while self.done < self.upto:
            numbers = self.total, self.done + 1
            call = queue.submit(calls.call, operator.add, numbers, cost_s=1e-3)
            await asyncio.wait([call.done])
            result = call.done.result()
            self.total, self.done = pickle.loads(result.view), self.done + 1  # noqa: S301 - ours
            result.release()

    @property
    def progress(self) -> float:
        """The share of the numbers that are added."""
        return self.done / self.upto

    @property
    def findings(self) -> Mapping[str, Any]:
        """The sum so far, and what it is made of."""
        return {"result": {"sum": self.total, "of": [self.done]}}

    def record(self, *, complete: bool) -> bytes:
        """How far it is."""
        return b"%d %d" % (self.done, self.total)


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """The kind is in the catalog."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, Sum.kind, Sum)
        yield


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[PrimeService]:
    """A service with a journal."""
    async with PrimeService(Settings(workers=1, journal=str(tmp_path / "journal"))) as service:
        yield service


async def test_it_is_asked_and_shown_by_the_api(aiohttp_client: AiohttpClient) -> None:
    """Submitted, refused, estimated, shown, watched and told apart as any other."""
    client = await aiohttp_client(create_app(Settings(workers=1)))
    async with client.post("/jobs?kind=sum&upto=1e2", headers={"Prefer": "wait=30"}) as response:
        assert response.status == 200, await response.text()
        document = await response.json()
    assert list(document) == [
        "id", "kind", "state", "upto", "progress", "result", "rate", "eta_s", "created", "started",
        "finished", "error", "links",
    ]  # fmt: skip
    assert document["result"] == {"sum": 5050, "of": [100]}
    assert (document["upto"], document["progress"], document["rate"]) == (100, 1.0, None)
    assert set(document["links"]) == {"self", "events"}
    async with client.get(f"/jobs/{document['id']}?numbers=string") as response:
        strings = await response.json()
    assert (strings["upto"], strings["result"]) == ("100", {"sum": "5050", "of": ["100"]})
    async with client.get(f"/jobs/{document['id']}/events") as response:
        assert b"event: done\nid: 1000-succeeded\n" in await response.read()
    async with client.get(f"/jobs/{document['id']}/primes") as response:
        await assert_problem(
            response, 400, "urn:primesvc:problem:invalid-parameter", says="no primes to read"
        )
    async with client.post("/jobs", json={"kind": "sum", "upto": 7, "dry_run": True}) as response:
        assert await response.json() == {"kind": "sum", "upto": 7, "estimate": {"seconds": 7.0}}
    async with client.post("/jobs?kind=sum&upto=1e6") as response:
        await assert_problem(
            response, 422, "urn:primesvc:problem:range-not-allowed",
            says="the sum up to 1000000 would take about 1e+06 s here",
        )  # fmt: skip
    async with client.post("/jobs?kind=sum") as response:
        await assert_problem(response, 400, "urn:primesvc:problem:invalid-parameter", says="upto")


async def test_it_lives_as_any_job(service: PrimeService) -> None:
    """The same question is one job; it runs, is cancelled, and begins anew."""
    job = await service.submit(Sum(20_000))
    assert await service.submit(Sum(20_000)) is service.find(Sum(20_000)) is job
    await eventually(lambda: job.progress > 0)
    assert job.eta_s
    service.cancel(job)
    assert job.state is State.CANCELLED
    assert service.find(Sum(20_000)) is None
    with pytest.raises(InvalidParameter, match="the kind sum"):
        _ = job.collected


async def finished(service: PrimeService, upto: int) -> Any:
    """What is found."""
    async with asyncio.timeout(WAIT_S):
        job = await (await service.submit(Sum(upto))).wait()
    return job.work.findings


async def test_the_journal_keeps_it(tmp_path: Path) -> None:
    """Finished it is there again; a version that does not know it leaves it where it is."""
    settings = Settings(workers=1, journal=str(tmp_path / "journal"))
    async with PrimeService(settings) as service:
        found = await finished(service, 30)
    async with PrimeService(settings) as service:
        job = service.find(Sum(30))
        assert job is not None
        assert job.work.findings == found == {"result": {"sum": 465, "of": [30]}}
        assert service.runtime.dispatcher.calls == 0


async def test_a_kind_of_another_version_stays_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not taken up, one line says so, and whoever knows it finds it again."""
    settings = Settings(workers=1, journal=str(tmp_path / "journal"))
    async with PrimeService(settings) as service:
        for upto in (30, 31):
            await finished(service, upto)
    with monkeypatch.context() as patch:
        patch.delitem(KINDS, Sum.kind)
        async with PrimeService(settings) as service:
            assert len(service.jobs) == 0
        assert caplog.text.count("a kind that this version does not know (sum)") == 1
    async with PrimeService(settings) as service:
        assert len(service.jobs) == 2


async def test_what_its_kind_refuses_is_refused(tmp_path: Path) -> None:
    """The kind says what of its findings cannot be true."""
    path = tmp_path / "journal"
    async with PrimeService(Settings(workers=1, journal=str(path))) as service:
        await finished(service, 30)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        (row,) = database.execute("SELECT * FROM job").fetchall()
        forged = (*row[:-2], b"29 435")
        database.execute(
            "UPDATE job SET findings = ?, check_sum = ?", (forged[-1], check_sum(*forged))
        )
    with pytest.raises(JournalUnusable, match="the sum is not complete"):
        await Journal.open(path)
