"""How log lines look when primesvc is a program of its own."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.helpers import WAIT_S

SCRIPT = """
import logging
from primesvc import logs
logs.configure({form!r})
log = logging.getLogger("some.part")
log.debug("unwanted")
log.info("a %s", 'quoted " word')
try:
    1 / 0
except ZeroDivisionError:
    log.exception("two\\nlines")
"""

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def logged(form: str) -> list[str]:
    """The lines that a process far east of Greenwich writes which logs in this form."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(form=form)],
        capture_output=True, text=True, timeout=WAIT_S, check=True, env={"TZ": "Asia/Tokyo"},
    )  # fmt: skip
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_text_is_for_people() -> None:
    """Time, level and message on a line, tracebacks below."""
    first, *rest = logged("text")
    assert re.fullmatch(rf'{TIME} INFO a quoted " word', first)
    assert re.fullmatch(rf"{TIME} ERROR two", rest[0])
    assert rest[-1] == "ZeroDivisionError: division by zero"


def test_json_is_an_object_a_line() -> None:
    """Whatever is in the message, and with the traceback in it."""
    first, second = map(json.loads, logged("json"))
    assert (first["level"], first["logger"], first["message"]) == (
        "INFO", "some.part", 'a quoted " word',
    )  # fmt: skip
    assert (second["level"], second["message"]) == ("ERROR", "two\nlines")
    assert "ZeroDivisionError" in second["traceback"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_times_are_in_utc(form: str) -> None:
    """Wherever the machine is."""
    found = re.search(TIME, logged(form)[0])
    assert found is not None
    assert abs(datetime.fromisoformat(found[0]) - datetime.now(UTC)) < timedelta(minutes=5)
