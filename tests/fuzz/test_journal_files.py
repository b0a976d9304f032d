"""Journals that were damaged: what is taken up from one is true, or nothing of it is touched."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primesvc import PrimeService, Range, Settings, State
from primesvc.errors import JournalUnusable
from primesvc.jobs.journal import Journal
from primesvc.jobs.records import write_parameters
from primesvc.kinds.count import Count
from tests.fuzz.journals import (
    Files,
    assert_found,
    assert_may_be_true,
    edited,
    keys,
    opened,
    right_of,
)
from tests.fuzz.search import cases, damages

EMPTY = re.compile(rb"(?<=\0{16})\0+(?=\0{16})")
"""The inside of what is empty in a file: zeros among zeros."""


async def test_what_is_not_damaged_is_taken_up(
    path: Path, closed: Files, former: Files, old: Files
) -> None:
    """Nothing that is right is refused: as it was closed, and of earlier versions."""
    found = {}
    for name, files in (("closed", closed), ("former", former), ("old", old)):
        files.write(path)
        for _ in range(2):
            result = await opened(path)
            assert result is not None
            assert_may_be_true(result)
            found[name] = keys(result)
        assert len(found[name][0]) == 7
        assert len(found[name][1]) == 16
    assert found["closed"] == found["former"] == found["old"]


# --- bytes ---------------------------------------------------------------------------------------


@cases(80)
@given(st.data())
async def test_damaged_bytes(path: Path, closed: Files, data: st.DataObject) -> None:
    """Whatever was done to the bytes, what is found is what was written, or nothing is touched."""
    right = await right_of(path, closed)
    damaged = closed.main
    for _ in range(data.draw(st.integers(1, 3))):
        damaged = data.draw(damages(damaged))
    await assert_found(path, Files(damaged), right)


@cases(40)
@given(st.data())
async def test_damaged_bytes_after_a_kill(path: Path, killed: Files, data: st.DataObject) -> None:
    """The same for what a killed process has left: the file, and what stands beside it."""
    right = await right_of(path, killed)
    main, wal = killed
    if data.draw(st.booleans()):
        main = data.draw(damages(main))
    else:
        wal = data.draw(damages(wal))
    await assert_found(path, Files(main, wal), right)


@cases(40)
@given(st.data())
async def test_damaged_bytes_of_version_1(path: Path, old: Files, data: st.DataObject) -> None:
    """Rows without a check sum are taken up only if they may be true."""
    Files(data.draw(damages(old.main))).write(path)
    found = await opened(path)
    if found is not None:
        assert_may_be_true(found)


@cases(40)
@given(st.data())
async def test_damaged_bytes_of_version_2(path: Path, former: Files, data: st.DataObject) -> None:
    """What an earlier version wrote is led up only if it is as it was written."""
    right = await right_of(path, former)
    await assert_found(path, Files(data.draw(damages(former.main))), right)


@pytest.mark.slow
async def test_no_byte_of_a_row_can_change(path: Path, closed: Files) -> None:
    """Each byte of the file, one by one: a change is found out, or changes nothing of a row.

    The inside of what is empty is left out: four fifths of the file.
    """
    right = await right_of(path, closed)
    empty = {at for run in EMPTY.finditer(closed.main) for at in range(*run.span())}
    assert len(empty) < len(closed.main)
    for at in sorted(set(range(len(closed.main))) - empty):
        damaged = bytearray(closed.main)
        damaged[at] ^= 0x15
        await assert_found(path, Files(bytes(damaged)), right)


# --- services ------------------------------------------------------------------------------------


@cases(15)
@given(st.data())
async def test_a_service_starts_or_says_so(path: Path, killed: Files, data: st.DataObject) -> None:
    """A service with a damaged journal has true jobs, or does not start."""
    main, wal = killed
    Files(main, data.draw(damages(wal))).write(path)
    service = PrimeService(Settings(workers=1, journal=str(path)))
    with suppress(JournalUnusable):
        async with service:
            done = {job.range: job.count for job in service.jobs if job.state is State.SUCCEEDED}
            assert done.get(Range(0, 10**5), 9592) == 9592


async def test_a_job_too_large_for_the_table_stays_in_the_journal(
    path: Path, closed: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """With less memory for jobs than before, one that does not fit is told of and kept."""
    closed.write(path)
    huge = Range(0, 2**63)
    edited(
        path,
        ("UPDATE job SET id = ?, parameters = ? WHERE state = 'queued'",
         (Count(huge).job_id, write_parameters(Count(huge).parameters))),
        sums=True,
    )  # fmt: skip
    async with PrimeService(Settings(workers=1, journal=str(path))) as service:
        assert len(service.jobs) == 6
    assert f"{huge} stays in the journal" in caplog.text
    journal = await Journal.open(path)
    jobs, _ = await journal.load()
    await journal.close()
    assert Count(huge) in [job.question for job in jobs]
