"""The Python code of the README and the handbook: it runs, and prints what its comments say."""

import asyncio
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from tests.docs.pages import ROOT, blocks
from tests.helpers import WAIT_S, fetch, submit

Client = TestClient[web.Request, web.Application]

BLOCKS = blocks("python")
SERVED = {code: where for code, where in BLOCKS.items() if "web.run_app(" in code}
PROGRAMS = {code: where for code, where in BLOCKS.items() if code not in SERVED}


def test_there_is_code() -> None:
    """All ways are shown: an application, a service without HTTP, a client, a script."""
    assert SERVED
    for shown in ("async with PrimeService(", "async with PrimeClient(", "with connect("):
        assert any(shown in code for code in PROGRAMS), shown


@pytest.mark.parametrize("code", BLOCKS, ids=list(BLOCKS.values()))
def test_code_can_be_copied(code: str) -> None:
    """Worker processes import the main module again: what may start some has a guard."""
    assert 'if __name__ == "__main__":' in code or "primesvc" not in code
    compile(code, "block", "exec")


@pytest.mark.parametrize("code", PROGRAMS, ids=list(PROGRAMS.values()))
async def test_a_program_prints_what_it_says(client: Client, code: str, tmp_path: Path) -> None:
    """Run as a script, beside a service if it wants one, it prints what its comments say."""
    said = re.findall(r"print\(.*\)\s+# (.+)$", code, re.MULTILINE)
    assert said, "the block tells behind each print, in a comment, what it prints"
    file = tmp_path / "program.py"
    file.write_text(code.replace("http://127.0.0.1:8080", str(client.make_url(""))), "utf-8")
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(file),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        out, errors = await asyncio.wait_for(program.communicate(), WAIT_S)
    finally:
        if program.returncode is None:
            program.kill()
    assert (program.returncode, errors.decode()) == (0, "")
    assert out.decode().splitlines() == said


@pytest.mark.parametrize("code", SERVED, ids=list(SERVED.values()))
async def test_an_application_serves(
    aiohttp_client: AiohttpClient, code: str, tmp_path: Path
) -> None:
    """The parent application answers the contract under the prefix that it mounts."""
    file = tmp_path / "parent.py"
    file.write_text(code, "utf-8")
    client = await aiohttp_client(import_file(file).make_parent())
    (prefix,) = re.findall(r'add_subapp\(\s*"(.+?)/?"', code)
    job_id = await submit(client, 4, 11, prefix=prefix)
    assert await fetch(client, job_id, prefix=prefix) == '"[5, 7, 11]"\n'


def import_file(path: Path) -> Any:
    """The module in a file, under a name of its own; its main guard does not run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
