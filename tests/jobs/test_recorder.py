"""What the journal is told: no more of pieces than unfinished jobs can go on from."""

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from primesvc import PrimeService, Range, Settings
from primesvc.jobs.job import Job
from primesvc.jobs.journal import Journal
from primesvc.jobs.recorder import _without
from primesvc.jobs.records import Piece
from primesvc.kinds.primes import Primes
from primesvc.sieve.engine import load_engine, summarise
from primesvc.sieve.grid import SEGMENTS
from tests.helpers import WAIT_S, eventually

LONG = Range(SEGMENTS.piece(20_000).start, SEGMENTS.piece(22_000).end)
"""A range of whole pieces that is not finished while a test runs."""


def journaled(path: Path) -> PrimeService:
    """A service with a journal."""
    return PrimeService(Settings(workers=2, journal=str(path)))


async def pieces_in(path: Path) -> list[Piece]:
    """The pieces that a journal holds."""
    journal = await Journal.open(path)
    _, pieces = await journal.load()
    await journal.close()
    return pieces


async def finished(service: PrimeService, range_: Range) -> Job:
    """A range that is sieved."""
    async with asyncio.timeout(WAIT_S):
        return await (await service.submit(range_)).wait()


async def test_pieces_go_with_their_job_while_another_runs_on(tmp_path: Path) -> None:
    """A service that is never idle does not fill its journal with work that is over."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        long = await service.submit(Primes(LONG))
        await finished(service, Range(0, 10**9))
        await eventually(lambda: long.collected.pieces_done >= 5)
    pieces = await pieces_in(path)
    assert len(pieces) >= 5
    assert all(index in long.collected.plan.indices for _, index, _, _ in pieces)


async def test_pieces_that_two_jobs_collect_stay_for_the_other(tmp_path: Path) -> None:
    """What one job leaves another may still go on from."""
    path = tmp_path / "journal"
    part = Range(LONG.start, LONG.start + 10**9)
    async with journaled(path) as service:
        long = await service.submit(Primes(LONG))
        await finished(service, part)
    indices = {index for _, index, _, _ in await pieces_in(path)}
    # All but the last, of which only a part was counted.
    assert indices >= set(SEGMENTS.cover(part)[:-1])
    assert indices <= set(long.collected.plan.indices)


async def test_a_cancelled_job_leaves_no_pieces(tmp_path: Path) -> None:
    """It does not go on, so there is nothing to go on from."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        job = await service.submit(Primes(LONG))
        await eventually(lambda: job.collected.pieces_done >= 5)
        service.cancel(job)
        await eventually(lambda: service.jobs.unfinished == 0)
    assert await pieces_in(path) == []


async def test_what_is_sieved_for_a_reader_is_not_noted(tmp_path: Path) -> None:
    """A result that is read again and again does not write."""
    path = tmp_path / "journal"
    async with PrimeService(Settings(workers=2, journal=str(path), cache_bytes=1)) as service:
        job = await (await service.submit(Range(0, 10**8))).wait()
        before = service.runtime.store.stats.sieved
        async for _ in service.primes(job):
            pass
        assert service.runtime.store.stats.sieved > before
        journal = service.snapshot().journal
        assert journal is not None
        assert journal.waiting == 0
    assert await pieces_in(path) == []


async def test_pieces_that_no_job_wants_are_dropped_at_the_start(tmp_path: Path) -> None:
    """Those of a job that is in the journal no more, or that succeeded meanwhile, go."""
    path = tmp_path / "journal"
    async with journaled(path) as service:
        job = await service.submit(Primes(LONG))
        await eventually(lambda: job.collected.pieces_done >= 5)
    journal = await Journal.open(path)
    unwanted = {7, job.collected.plan.indices.stop}
    for index in unwanted:
        found = summarise(load_engine("auto"), SEGMENTS.piece(index))
        journal.note_pieces([(SEGMENTS.signature, index, found.count, found.digits)])
    await journal.close()
    async with journaled(path) as service:
        assert service.job(Primes(LONG).job_id).state
    indices = {index for _, index, _, _ in await pieces_in(path)}
    assert set(job.collected.plan.indices) & indices
    assert not unwanted & indices


ranges = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda ends: range(*sorted(ends)))


@given(ranges, st.lists(ranges, max_size=6))
def test_what_is_without_others_is_in_none_of_them(indices: range, others: list[range]) -> None:
    """Indices are cut as sets are."""
    found = [index for run in _without(indices, others) for index in run]
    assert found == sorted(set(indices).difference(*others))
