"""Jobs about some of the primes: the same as for all of them, and exact at every cut."""

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest

from primesvc import PrimeService, Range, Selection, Settings, State
from primesvc.jobs.job import Job
from primesvc.kinds.base import Question
from primesvc.kinds.count import Count
from primesvc.kinds.primes import Primes
from primesvc.sieve.engine import list_primes, load_engine
from primesvc.sieve.grid import CELLS, SEGMENTS
from primesvc.sieve.range import MAX_NUMBER
from tests.helpers import WAIT_S, eventually
from tests.sieve.test_selection import SELECTIONS

TWINS = Selection("twins")

CUT = SEGMENTS.piece(3).start
"""Where two segments meet, and two cells."""


async def done(service: PrimeService, question: Question) -> Job:
    """The job for a question, once it succeeded."""
    async with asyncio.timeout(WAIT_S):
        return await (await service.submit(question)).wait()


async def primes_of(service: PrimeService, question: Primes) -> list[int]:
    """The primes that the job for a question gives to read."""
    arrays = [array async for array in service.primes(await done(service, question))]
    found: list[int] = np.concatenate([np.empty(0, np.uint64), *arrays]).tolist()
    return found


def constellations(selection: Selection, range_: Range) -> list[int]:
    """The first primes of the constellations that lie in the range, found in a set of primes."""
    primes = list_primes(load_engine("auto"), range_).tolist()
    known = set(primes)
    return [
        prime
        for prime in primes
        if prime % selection.modulus == selection.residue
        and any(all(prime + offset in known for offset in form) for form in selection.forms)
    ]


async def test_listed_and_counted(service: PrimeService) -> None:
    """Both kinds find what testing each number finds, also at cuts and at both ends of the line."""
    ranges = [
        Range(0, 1), Range(3, 5), Range(3, 4), Range(0, 3000), Range(CUT - 700, CUT + 700),
        Range(10**12 + 7, 10**12 + 3000), Range(MAX_NUMBER - 3000, MAX_NUMBER),
    ]  # fmt: skip
    for selection in SELECTIONS:
        for range_ in ranges:
            expected = constellations(selection, range_)
            question = Primes(range_, selection)
            assert await primes_of(service, question) == expected, question.key
            assert (await done(service, Count(range_, selection))).count == len(expected)


async def test_pieces_of_both_grids_are_cut_alike(service: PrimeService) -> None:
    """A range of many segments, where a constellation crosses many cuts, and a random part."""
    random_ = random.Random(7)  # noqa: S311 - any part will do
    whole = Range(0, CELLS.piece(0).span * 72)
    for selection in (TWINS, Selection("0,1000"), Selection("triplets", 5, 1)):
        expected = np.array(constellations(selection, whole))
        assert await primes_of(service, Primes(whole, selection)) == expected.tolist()
        start = random_.randrange(whole.end)
        part = Range(start, min(start + 10**5, whole.end))
        inside = (expected >= part.start) & (expected <= part.end - selection.reach)
        assert await primes_of(service, Primes(part, selection)) == expected[inside].tolist()


def test_ids() -> None:
    """Each selection has an id of its own, and a job without one the id it always had."""
    range_ = Range(4, 11)
    keys = [Primes(range_, selection).key for selection in SELECTIONS]
    assert len({*keys, *(Count(range_, selection).key for selection in SELECTIONS)}) == 2 * len(
        keys
    )
    assert Primes(range_, TWINS).key == "primes:4:11:twins"
    assert Count(range_, Selection("0,2,6", 30, 11)).key == "count:4:11:0,2,6:30:11"
    assert Primes(range_, Selection()).job_id == "fa406b46-00c5-559f-acd0-89e1e40bb04f"


async def test_they_share_no_pieces(service: PrimeService) -> None:
    """What is known of one selection is not taken for another, nor for all primes."""
    range_ = Range(0, 10**6)
    counts = {
        selection: (await done(service, Count(range_, selection))).count
        for selection in (TWINS, Selection("cousins"), Selection(modulus=4, residue=1), Selection())
    }
    assert list(counts.values()) == [8169, 8144, 39175, 78498]


async def test_what_overlaps_is_not_sieved_again(service: PrimeService) -> None:
    """A second job of the same selection finds the pieces of the first one."""
    await done(service, Primes(Range(0, 10 * CUT), TWINS))
    sieved = service.runtime.store.stats.sieved
    await done(service, Primes(Range(CUT, 9 * CUT), TWINS))
    assert service.runtime.store.stats.sieved == sieved


async def test_after_a_restart(tmp_path: Path) -> None:
    """A finished job is there again; one that was interrupted goes on from its pieces."""
    settings = Settings(workers=2, journal=str(tmp_path / "journal"))
    long = Count(Range(10**13, 10**13 + 10**11), Selection("sexy"))
    async with PrimeService(settings) as service:
        before = await done(service, Primes(Range(0, 10**7), TWINS))
        job = await service.submit(long)
        await eventually(lambda: job.progress > 0)
        sieved = service.runtime.store.stats.sieved
    async with PrimeService(settings) as service:
        after = service.job(before.id)
        assert (after.state, after.count, after.question) == (
            State.SUCCEEDED, before.count, before.question,
        )  # fmt: skip
        again = service.job(long.job_id)
        await eventually(lambda: again.collected.pieces_done > 0)
        assert again.state is State.RUNNING
        assert service.runtime.store.stats.sieved < sieved + again.collected.pieces_done
        service.cancel(again)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("selection", "count"),
    [(TWINS, 3424506), (Selection(modulus=4, residue=1), 25423491),
     (Selection(modulus=4, residue=3), 25424042)],
    ids=str,
)  # fmt: skip
async def test_published_counts(service: PrimeService, selection: Selection, count: int) -> None:
    """Below 10^9 there are as many as published."""
    assert (await done(service, Count(Range(0, 10**9), selection))).count == count
