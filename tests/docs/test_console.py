"""The console of the README and the handbook: what their transcripts show is what happens."""

import asyncio
import os
import re
import shlex
import shutil
import sys
import time

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from primesvc.cli.parser import make_parser
from tests.docs.pages import ROOT, blocks
from tests.helpers import WAIT_S

Client = TestClient[web.Request, web.Application]

ADDRESS = "http://127.0.0.1:8080"
"""Where the service listens in the transcripts."""

BLOCKS = blocks("console")

SHELL = blocks("sh")
"""What is shown without its output."""

Step = tuple[str, str]


def steps_of(block: str) -> list[Step]:
    """The commands of a transcript, with what they print."""
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def pattern(printed: str) -> re.Pattern[str]:
    """What may be printed: three dots stand for anything on a line."""
    return re.compile(re.escape(printed).replace(re.escape("..."), ".*"))


async def run(command: str, address: str) -> str:
    """What a command prints, when the service is at an address."""
    # Without curl's counters, and without the wishes of whoever runs the tests.
    command = command.replace("curl ", "curl --disable --silent ", 1).replace(ADDRESS, address)
    command = re.sub("^primesvc ", f"{shlex.quote(sys.executable)} -m primesvc ", command)
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PRIMESVC_")}
    process = await asyncio.create_subprocess_shell(
        command,
        stdout=asyncio.subprocess.PIPE,
        env={**environ, "PYTHONPATH": str(ROOT)},
    )
    async with asyncio.timeout(WAIT_S):
        printed, _ = await process.communicate()
    return printed.decode()


def test_there_are_transcripts() -> None:
    """They show the original contract, the life of a job, errors, and the command line."""
    commands = [command for block in BLOCKS for command, _ in steps_of(block)]
    for shown in ("/primes?start_num", "/result/", "dry_run", "/events", "offset=", "/cancel",
                  "?state=", "DELETE", "primesvc count", "primesvc primes"):  # fmt: skip
        assert any(shown in command for command in commands), shown
    for command in commands:
        assert command.startswith("primesvc ") or (
            command.startswith("curl ") and ADDRESS in command
        )


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize("block", BLOCKS, ids=list(BLOCKS.values()))
async def test_a_transcript_is_true(client: Client, block: str) -> None:
    """Every command prints what stands behind it, also on a machine that is slow to begin."""
    address = str(client.make_url("/")).rstrip("/")
    for command, expected in steps_of(block):
        deadline = time.monotonic() + WAIT_S
        printed = await run(command, address)
        # What is only read may not be there yet.
        while not pattern(expected).fullmatch(printed) and " -X " not in command:
            assert time.monotonic() < deadline, f"{command} prints {printed}, not {expected}"
            printed = await run(command, address)
        assert pattern(expected).fullmatch(printed), f"{command} prints {printed}, not {expected}"


@pytest.mark.parametrize("block", SHELL, ids=list(SHELL.values()))
def test_commands_are_ones(block: str) -> None:
    """Every `primesvc` in the shell commands has a command and flags that there are."""
    for words in map(shlex.split, block.replace("|", "\n").replace("&&", "\n").splitlines()):
        if words and words[0].rpartition("/")[2] == "primesvc":
            make_parser().parse_args(words[1:])  # exits if it cannot be read
