"""Thousands of requests, made up from `openapi.json`: no answer is another than it says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

FUZZ: Final = Path(__file__).parent / "fuzz"

EXAMPLES: Final = 250
"""Cases that are made up for each operation, besides those that are worked out."""

LEAST: Final = 3000
"""Cases there must have been in all, for otherwise something was left out."""

TIMEOUT_S: Final = 500.0


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a service that refuses what would take long."""
    command = [sys.executable, "-m", "primesvc", "--port", "0", "--workers", "2"]
    limits = ["--max-span", "1000000", "--max-jobs", "100000"]
    with subprocess.Popen([*command, *limits], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found
            yield found[0]
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 60)
def test_no_request_finds_anything(url: str, tmp_path: Path) -> None:
    """Valid or not, alone or in a sequence, every request gets an answer that the document tells.

    All checks are on: no 5xx, no status, header, type or body that is not told of; what is
    invalid is refused, what is valid is not, and what was deleted is gone.
    """
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
            *("--config-file", str(FUZZ / "schemathesis.toml"), "run", f"{url}/openapi.json"),
            *("--checks", "all", "--max-examples", str(EXAMPLES)),
        ],
        env=os.environ | {"HOOKS": str(FUZZ / "hooks.py")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
    cases = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert cases, run.stdout
    assert int(cases[1]) == int(cases[2]) > LEAST
