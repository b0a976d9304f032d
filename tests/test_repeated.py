"""Trouble that repeats itself: a line at its beginning, one now and then, one at its end."""

import logging

import pytest

from primesvc.repeated import Trouble

log = logging.getLogger("some.part")


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and message of what was logged."""
    return [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> None:
    """Have everything logged."""
    caplog.set_level("INFO")


def test_trouble_that_lasts_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it happens, there is a line when it begins and one when it ends."""
    trouble = Trouble(log, "it works again")
    trouble.end()
    for number in range(1000):
        trouble.note("it failed: %d", number)
    trouble.end()
    trouble.end()
    assert lines(caplog) == [("WARNING", "it failed: 0"), ("INFO", "it works again")]


def test_trouble_that_comes_and_goes_is_told_as_seldom(caplog: pytest.LogCaptureFixture) -> None:
    """What fails every other time does not make a line a failure."""
    trouble = Trouble(log, "it works again")
    for _ in range(1000):
        trouble.note("it failed")
        trouble.end()
    assert lines(caplog) == [("WARNING", "it failed"), ("INFO", "it works again")]


def test_what_was_not_told_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The next line says how often it happened since the one before."""
    trouble = Trouble(log, "it works again", every_s=3600)
    for _ in range(1000):
        trouble.note("it failed: %s", "no")
    trouble._next_s = 0  # an hour later
    trouble.note("it failed: %s", "never")
    assert lines(caplog)[1:] == [
        ("WARNING", "it failed: never (and 999 times since the last such line)")
    ]
