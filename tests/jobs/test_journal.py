"""The journal: what a service takes up again, and files it must not touch."""

import asyncio
import fcntl
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from pytest_aiohttp.plugin import AiohttpClient

from primesvc import PrimeService, Range, Settings, State, create_app, service_of
from primesvc.errors import JournalUnusable
from primesvc.formats.text import JSON
from primesvc.jobs import journal as journals
from primesvc.jobs.job import Job
from primesvc.jobs.journal import Journal
from primesvc.jobs.notes import MOST_DROPS, MOST_PIECES
from primesvc.jobs.recorder import Recorder
from primesvc.jobs.schema import APPLICATION_ID, SCHEMA_VERSION
from primesvc.kinds.primes import Primes
from primesvc.results.layout import Layout
from primesvc.results.result import Result
from primesvc.sieve.grid import SEGMENTS
from tests import program
from tests.helpers import WAIT_S, assert_problem, eventually, fetch, submit


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
    journal = journal_of(service_of(app))
    job_id = await submit(client, 4, 11)
    await fetch(client, job_id)
    await eventually(lambda: journal.snapshot().behind_s == 0)
    before = journal.writes
    for _ in range(200):
        assert await submit(client, 4, 11) == job_id
        assert await fetch(client, job_id) == '"[5, 7, 11]"\n'
    assert journal.snapshot().behind_s == 0
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


def journal_of(service: PrimeService) -> Journal:
    """The journal of a service."""
    recorder = service.runtime.recorder
    assert isinstance(recorder, Recorder)
    return recorder.journal


async def let_write(journal: Journal, *, may: bool) -> None:
    """Take its disk away from a journal, or give it back."""
    database = journal._file._database  # the only way to it
    assert database is not None
    sql = f"PRAGMA query_only = {'OFF' if may else 'ON'}"
    await journal._in_thread(lambda: database.execute(sql))


async def test_an_error_of_the_disk_does_not_stop_the_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the journal cannot be written, one line says so, and jobs go on; it tells how it does."""
    async with journaled(tmp_path / "journal") as service:
        await let_write(journal_of(service), may=False)
        for end in range(1000, 1100):
            assert (await finished(service, Range(0, end))).count == 168 + sum(
                end >= prime for prime in (1009, 1013, 1019, 1021, 1031, 1033, 1039, 1049, 1051,
                                           1061, 1063, 1069, 1087, 1091, 1093, 1097)
            )  # fmt: skip
        snapshot = service.snapshot().journal
        assert snapshot is not None
        assert snapshot.waiting >= 100
        assert snapshot.behind_s > 0
        assert "readonly" in str(snapshot.problem)
    assert caplog.text.count("cannot be written") == 1
    assert "is closed without its last" in caplog.text


async def test_what_could_not_be_written_is_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs that came and went meanwhile are as they are; a line says that it works again."""
    caplog.set_level("INFO")
    path = tmp_path / "journal"
    async with journaled(path) as service:
        deleted = await finished(service, Range(0, 100))
        journal = journal_of(service)
        await eventually(lambda: journal.snapshot().behind_s == 0)
        await let_write(journal, may=False)
        service.forget(deleted)
        kept = await finished(service, Range(0, 200))
        service.forget(await finished(service, Range(0, 300)))
        await eventually(lambda: journal.snapshot().problem is not None)
        await let_write(journal, may=True)
        await eventually(lambda: journal.snapshot().behind_s == 0)
        assert journal.snapshot().problem is None
    assert "is written again" in caplog.text
    async with journaled(path) as service:
        assert [job.id for job in service.jobs] == [kept.id]


async def test_what_could_not_be_written_is_written_at_the_stop(tmp_path: Path) -> None:
    """Also if the disk works again only right before."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        journal = journal_of(service)
        await let_write(journal, may=False)
        kept = await finished(service, Range(0, 200))
        await eventually(lambda: journal.snapshot().problem is not None)
        await let_write(journal, may=True)
    async with journaled(path) as service:
        assert [job.id for job in service.jobs] == [kept.id]


async def test_a_disk_that_hangs_takes_no_memory(tmp_path: Path) -> None:
    """What cannot be written is not piled up: of jobs that came and went nothing is kept."""
    async with PrimeService(Settings(workers=1)) as service:
        job = await finished(service, Range(0, 1000))
    journal = await Journal.open(tmp_path / "journal")
    gate = threading.Event()
    hanging = asyncio.ensure_future(journal._in_thread(gate.wait))  # as a write would
    for index in range(MOST_PIECES + 1000):
        journal.note_pieces([(SEGMENTS.signature, index, 0, 0)])
        journal.drop_pieces(SEGMENTS.signature, range(10**9 + index, 10**9 + index + 1))
        journal.note(job)
        journal.forget(job.id)
    assert len(journal._waiting.jobs) == 0
    assert len(journal._waiting.pieces) == MOST_PIECES
    assert len(journal._waiting.dropped) == MOST_DROPS
    gate.set()
    await hanging
    await eventually(lambda: journal.snapshot().behind_s == 0)
    await journal.close()


async def test_a_disk_that_hangs_holds_no_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The journal is given up after a while, and a line says that something is lost."""
    monkeypatch.setattr(journals, "HANG_S", 0.1)
    gate = threading.Event()
    try:
        async with asyncio.timeout(WAIT_S), journaled(tmp_path / "journal") as service:
            journal = journal_of(service)
            hanging = asyncio.ensure_future(journal._in_thread(gate.wait))
            await finished(service, Range(0, 100))
            await eventually(lambda: journal.snapshot().problem == "its disk hangs")
    finally:
        gate.set()
    await hanging
    assert "is closed without its last" in caplog.text


async def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """The file and those beside it are for its owner alone, also if they were for all before."""
    path = tmp_path / "journal"
    for _ in range(2):
        async with journaled(path) as service:
            await finished(service, Range(0, 100))
            modes = {entry.name: entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path)}
            assert modes == dict.fromkeys(modes, 0o600)
            assert {"journal", "journal-wal"} <= modes.keys()
        path.chmod(0o644)


async def test_it_is_no_fifo(tmp_path: Path) -> None:
    """To open one would block until somebody writes to it."""
    path = tmp_path / "journal"
    os.mkfifo(path)
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(JournalUnusable, match="not a regular file"):
            await Journal.open(path)


@contextmanager
def leased(path: Path) -> Iterator[threading.Event]:
    """A file whose open blocks, as on a file system that does not answer, until this ends.

    The event is set once somebody opens it.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        pytest.skip("this system has no leases on files")
    opened = threading.Event()
    before = signal.signal(signal.SIGIO, lambda *_: opened.set())
    try:
        with path.open("wb") as file:
            try:
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            except OSError as error:
                pytest.skip(f"no lease on a file here: {error}")
            yield opened
    finally:
        signal.signal(signal.SIGIO, before)


async def test_a_file_that_does_not_open_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that does not answer is no reason to wait for ever."""
    monkeypatch.setattr(journals, "OPEN_S", 0.2)
    path = tmp_path / "journal"
    with leased(path), pytest.raises(JournalUnusable, match="did not open"):
        await Journal.open(path)


@pytest.mark.process
def test_signals_are_answered_while_it_opens(tmp_path: Path) -> None:
    """SIGTERM ends a server that waits for its journal's file system, at once and in order."""
    path = tmp_path / "journal"
    with leased(path) as opened:
        server = program.Server("--journal", str(path))
        try:
            program.eventually(opened.is_set)
            server.signal(signal.SIGTERM)
            assert server.ends() == 0
        finally:
            server.stop()


async def test_a_promise_is_kept_before_anybody_is_told(tmp_path: Path) -> None:
    """With `journal_sync` a job that was submitted is in the file, also one that was there."""
    path = tmp_path / "journal"
    async with journaled(path, journal_sync=True) as service:
        journal = journal_of(service)
        for end in range(100, 130):
            jobs = await asyncio.gather(*(service.submit(Range(0, end)) for _ in range(3)))
            assert {job.id for job in jobs} <= journal._in_file


async def test_a_promise_that_cannot_be_kept_is_not_made(
    tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    """Both calls answer 503 until the journal is written again; then the job is found."""
    app = create_app(Settings(workers=1, journal=str(tmp_path / "journal"), journal_sync=True))
    client = await aiohttp_client(app)
    journal = journal_of(service_of(app))
    await let_write(journal, may=False)
    for url in ("/primes?start_num=4&end_num=11", "/jobs?start=4&end=11") * 2:
        async with client.post(url) as response:
            problem = await assert_problem(response, 503, "urn:primesvc:problem:journal-behind")
            assert "readonly" in problem["detail"]
            assert int(response.headers["Retry-After"]) > 0
    await let_write(journal, may=True)
    await eventually(lambda: journal.snapshot().problem is None)
    job_id = await submit(client, 4, 11)
    assert await fetch(client, job_id) == '"[5, 7, 11]"\n'
    await let_write(journal, may=False)
    async with client.delete(f"/jobs/{job_id}") as response:
        await assert_problem(
            response, 503, "urn:primesvc:problem:journal-behind", says="it is done"
        )
    await let_write(journal, may=True)
    async with client.delete(f"/jobs/{job_id}") as response:
        await assert_problem(response, 410, "urn:primesvc:problem:job-gone")


async def test_what_ended_is_promised_too(tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    """With `journal_sync` who cancels or deletes a job is told so when the file says so."""
    path = tmp_path / "journal"
    settings = Settings(workers=1, journal=str(path), journal_sync=True)
    client = await aiohttp_client(create_app(settings))
    async with client.post(f"/jobs?start=0&end={10**12}") as response:
        job_id = (await response.json())["id"]

    def states() -> list[tuple[str]]:
        for name in ("journal", "journal-wal"):  # nobody else may open them
            shutil.copy(tmp_path / name, tmp_path / name.replace("journal", "copy"))
        with closing(sqlite3.connect(tmp_path / "copy")) as file:
            return file.execute("SELECT state FROM job").fetchall()

    for _ in range(2):
        async with client.post(f"/jobs/{job_id}/cancel") as response:
            assert response.status == 200
            assert states() == [("cancelled",)]
    async with client.delete(f"/jobs/{job_id}") as response:
        assert response.status == 204
        assert states() == []


async def test_what_is_about_to_be_written_at_the_end_is_written(tmp_path: Path) -> None:
    """A batch that waits for a busy disk when the journal is closed is not lost."""
    path = tmp_path / "journal"
    async with PrimeService(Settings(workers=1)) as service:
        job = await finished(service, Range(0, 1000))
    journal = await Journal.open(path)
    gate = threading.Event()
    busy = asyncio.ensure_future(journal._in_thread(gate.wait))
    journal.note(job)
    await eventually(lambda: not journal._waiting)
    closing = asyncio.ensure_future(journal.close())
    for _ in range(10):  # it comes as far as it can
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(busy, closing)
    again = await Journal.open(path)
    known, _ = await again.load()
    await again.close()
    assert [one.id for one in known] == [job.id]
