"""The journal: what a service takes up again, and files it must not touch."""

import asyncio
import os
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import PrimeService, Range, Settings, State, create_app, service_of
from primesvc.errors import JournalUnusable
from primesvc.formats.text import JSON
from primesvc.jobs.job import Job
from primesvc.jobs.journal import MOST_WAITING, Journal
from primesvc.jobs.recorder import Recorder
from primesvc.jobs.schema import APPLICATION_ID, SCHEMA_VERSION
from primesvc.kinds.primes import Primes
from primesvc.results.layout import Layout
from primesvc.results.result import Result
from primesvc.sieve.grid import SEGMENTS
from tests.helpers import WAIT_S, eventually, fetch, submit


def journaled(path: Path, **more: float) -> PrimeService:
    """A service with a journal."""
    return PrimeService(Settings(workers=2, journal=str(path), **more))  # type: ignore[arg-type]


async def finished(service: PrimeService, range_: Range) -> Job:
    """A job that is finished."""
    async with asyncio.timeout(WAIT_S):
        return await (await service.submit(range_)).wait()


async def test_a_finished_job_is_there_again_without_work(tmp_path: Path) -> None:
    """After a restart the same id answers with the same count, times and length, and no work."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        before = await finished(service, Range(12_345, 23_456_789))
        length = Layout(Result.of(before.collected), JSON).length
    async with journaled(path) as service:
        after = service.job(before.id)
        assert after is not before
        assert (after.state, after.count, after.progress) == (State.SUCCEEDED, before.count, 1.0)
        assert (after.created_s, after.finished_s) == (before.created_s, before.finished_s)
        assert Layout(Result.of(after.collected), JSON).length == length
        assert service.runtime.store.stats.sieved == 0


async def test_the_primes_of_a_finished_job_can_be_read_after_a_restart(tmp_path: Path) -> None:
    """Primes are not in the journal: they are sieved again where they are read."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        job = await finished(service, Range(10**6, 10**6 + 100))
    async with journaled(path) as service:
        arrays = [array async for array in service.primes(service.job(job.id))]
        found = np.concatenate(arrays).tolist()
        assert found == [1000003, 1000033, 1000037, 1000039, 1000081, 1000099]


async def test_an_unfinished_job_goes_on_from_its_finished_pieces(tmp_path: Path) -> None:
    """A restart sieves only what was not done, and the result is right."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        job = await service.submit(Primes(Range(0, 10**10)))
        await eventually(lambda: job.progress > 0.2)
        first = service.runtime.store.stats.sieved
    async with journaled(path) as service:
        again = service.job(job.id)
        async with asyncio.timeout(WAIT_S):
            await again.wait()
        assert again.count == 455_052_511
        pieces = len(again.collected.plan.indices)
        # What was under way when the service closed may have been lost, no more.
        assert pieces - first <= service.runtime.store.stats.sieved < pieces


async def test_a_cancelled_job_stays_cancelled(tmp_path: Path) -> None:
    """A job somebody cancelled does not start again by itself."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        job = await service.submit(Primes(Range(0, 10**12)))
        service.cancel(job)
        await eventually(lambda: job.state.final)
    async with journaled(path) as service:
        assert service.job(job.id).state is State.CANCELLED


async def test_a_forgotten_job_is_forgotten_in_the_journal_too(tmp_path: Path) -> None:
    """A deleted job does not come back."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        job = await finished(service, Range(0, 100))
        service.forget(job)
    async with journaled(path) as service:
        assert len(service.jobs) == 0


async def test_a_job_whose_time_is_over_is_not_taken_up(tmp_path: Path) -> None:
    """The time a finished job is known for goes on while the service is down."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        await finished(service, Range(0, 100))
    async with journaled(path, job_ttl_s=0.0) as service:
        assert len(service.jobs) == 0


async def test_two_services_cannot_share_a_journal(tmp_path: Path) -> None:
    """The second to open a journal is told that another process uses it."""
    path = tmp_path / "journal"
    async with journaled(path):
        with pytest.raises(JournalUnusable, match="another process uses it"):
            await Journal.open(path)


def foreign(path: Path) -> None:
    """A file that is no database."""
    path.write_bytes(b"dear diary\n" * 1000)


def other_database(path: Path) -> None:
    """A database of another program."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE diary (day TEXT)")
        database.executemany("INSERT INTO diary VALUES (?)", [("x" * 900,)] * 50)
    database.close()


def newer(path: Path) -> None:
    """A journal of a version to come."""
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        database.execute("CREATE TABLE job (id)")
    database.close()


def damaged(path: Path) -> None:
    """A journal with a page overwritten."""
    newer(path)
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.executemany("INSERT INTO job VALUES (?)", [("x" * 900,)] * 50)
    database.close()
    data = bytearray(path.read_bytes())
    data[4096 : 4096 + 4096] = b"\xff" * 4096
    path.write_bytes(data)


@pytest.mark.parametrize("make", [foreign, other_database, newer, damaged])
async def test_a_file_that_cannot_be_used_is_left_as_it_is(make: object, tmp_path: Path) -> None:
    """A foreign, newer or damaged file is refused with its name, and not a byte of it changes."""
    path = tmp_path / "journal"
    make(path)  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(JournalUnusable, match=str(path)):
        await Journal.open(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["journal"]  # noqa: PTH208 - pathlib would block the loop too


async def test_a_journal_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The error names the file."""
    path = tmp_path / "nowhere" / "journal"
    with pytest.raises(JournalUnusable, match=str(path)):
        await Journal.open(path)


async def test_notes_are_written_in_batches(tmp_path: Path) -> None:
    """A thousand jobs cost far fewer writes."""
    journal = await Journal.open(tmp_path / "journal")
    async with PrimeService(Settings(workers=1)) as service:
        jobs = [await service.submit(Range(n, n + 10)) for n in range(1000)]
    for job in jobs:
        journal.note(job)
    await journal.close()
    assert 1 <= journal.writes <= 3
    again = await Journal.open(tmp_path / "journal")
    known, _ = await again.load()
    await again.close()
    assert len(known) == 1000


async def test_repeated_requests_are_not_noted(
    tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    """The same POST again, and reading its result, leave the journal alone."""
    app = create_app(Settings(workers=1, journal=str(tmp_path / "journal")))
    client = await aiohttp_client(app)
    recorder = service_of(app).runtime.manager._recorder  # what it writes shows nowhere else
    assert isinstance(recorder, Recorder)
    journal = recorder.journal
    job_id = await submit(client, 4, 11)
    await fetch(client, job_id)
    await journal.flush()
    await journal._in_thread(lambda: None)  # a batch that is being written is written
    before = journal.writes
    for _ in range(200):
        assert await submit(client, 4, 11) == job_id
        assert await fetch(client, job_id) == '"[5, 7, 11]"\n'
    assert not journal._jobs
    assert not journal._pieces
    assert journal.writes == before


async def test_pieces_are_dropped_once_no_job_needs_them(tmp_path: Path) -> None:
    """The journal does not grow with work that is over."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        await finished(service, Range(0, 10**9))
    journal = await Journal.open(path)
    jobs, pieces = await journal.load()
    await journal.close()
    assert len(jobs) == 1
    assert pieces == []


async def test_an_error_of_the_disk_does_not_stop_the_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the journal cannot be written, one line says so and jobs go on."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        recorder = service.runtime.manager._recorder  # the only way to take its disk away
        assert isinstance(recorder, Recorder)
        journal = recorder.journal
        await journal._in_thread(lambda: journal._database.execute("PRAGMA query_only = ON"))
        job = await finished(service, Range(0, 1000))
        assert job.count == 168
        await journal.flush()
    assert "cannot be written" in caplog.text


async def test_a_disk_that_hangs_takes_no_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be written is not piled up: one line says so, and later notes are written."""
    journal = await Journal.open(tmp_path / "journal")
    gate = threading.Event()
    hanging = asyncio.ensure_future(journal._in_thread(gate.wait))  # as a write would
    for index in range(MOST_WAITING + 1000):
        journal.note_pieces([(SEGMENTS.signature, index, 0, 0)])
        journal.forget(str(index))
    assert len(journal._pieces) == len(journal._jobs) == MOST_WAITING
    assert caplog.text.count("its disk hangs") == 1
    gate.set()
    await hanging
    await journal.flush()
    journal.note_pieces([(SEGMENTS.signature, 1, 1, 7)])
    assert len(journal._pieces) == 1
    await journal.close()


async def test_what_is_about_to_be_written_at_the_end_is_written(tmp_path: Path) -> None:
    """A batch that waits for a busy disk when the journal is closed is not lost."""
    path = tmp_path / "journal"
    async with PrimeService(Settings(workers=1)) as service:
        job = await finished(service, Range(0, 1000))
    journal = await Journal.open(path)
    gate = threading.Event()
    busy = asyncio.ensure_future(journal._in_thread(gate.wait))
    journal.note(job)
    await eventually(lambda: not journal._jobs)
    closing = asyncio.ensure_future(journal.close())
    for _ in range(10):  # it comes as far as it can
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(busy, closing)
    again = await Journal.open(path)
    known, _ = await again.load()
    await again.close()
    assert [one.id for one in known] == [job.id]
