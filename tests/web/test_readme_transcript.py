"""The README's transcripts with curl: what they show is what happens."""

import asyncio
import re
import shutil
import time
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.helpers import WAIT_S

Client = TestClient[web.Request, web.Application]

README = Path(__file__).parents[2] / "README.md"

ADDRESS = "http://127.0.0.1:8080"
"""Where the service listens in the README."""

Step = tuple[str, str]


def transcripts() -> list[list[Step]]:
    """The commands of each transcript, with what they print."""
    blocks = re.findall(
        r"^```console\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    steps = [re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE) for block in blocks]
    return [each for each in steps if all(command.startswith("curl ") for command, _ in each)]


def pattern(printed: str) -> re.Pattern[str]:
    """What may be printed: three dots stand for anything on a line."""
    return re.compile(re.escape(printed).replace(re.escape("..."), ".*"))


async def run(command: str, address: str) -> str:
    """What a command prints, when the service is at an address."""
    # Without the counters, and without rest of the environment's wishes.
    command = command.replace("curl ", "curl --disable --silent ", 1).replace(ADDRESS, address)
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(WAIT_S):
        printed, _ = await process.communicate()
    return printed.decode()


def test_there_are_transcripts() -> None:
    """The README shows the original contract, and the life of a job."""
    commands = [command for steps in transcripts() for command, _ in steps]
    for shown in ("/primes?start_num", "/result/", "dry_run", "/events", "offset=", "/cancel",
                  "?state=", "DELETE"):  # fmt: skip
        assert any(shown in command for command in commands), shown
    assert all(ADDRESS in command for command in commands)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize("steps", transcripts(), ids=lambda steps: str(steps[0][0])[:50])
async def test_a_transcript_is_true(client: Client, steps: list[Step]) -> None:
    """Every command prints what stands behind it, also on a machine that is slow to begin."""
    address = str(client.make_url("/")).rstrip("/")
    for command, expected in steps:
        deadline = time.monotonic() + WAIT_S
        printed = await run(command, address)
        # What is only read may not be there yet.
        while not pattern(expected).fullmatch(printed) and " -X " not in command:
            assert time.monotonic() < deadline, f"{command} prints {printed}, not {expected}"
            printed = await run(command, address)
        assert pattern(expected).fullmatch(printed), f"{command} prints {printed}, not {expected}"
