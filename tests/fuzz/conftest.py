"""Fixtures of the journals that are damaged."""

from pathlib import Path

import pytest

from tests.fuzz.journals import Files, earlier, make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal of the test lies, alone in its folder."""
    folder = tmp_path / "alone"
    folder.mkdir()
    return folder / "journal"


@pytest.fixture
async def killed(tmp_path: Path) -> Files:
    """A journal whose process was killed."""
    return (await make(tmp_path / "alone"))[0]


@pytest.fixture
async def closed(path: Path) -> Files:
    """A journal that was closed."""
    return (await make(path.parent))[1]


@pytest.fixture
def old(path: Path, closed: Files) -> Files:
    """A journal of version 1."""
    return earlier(path.parent, closed, 1)


@pytest.fixture
def former(path: Path, closed: Files) -> Files:
    """A journal of version 2."""
    return earlier(path.parent, closed, 2)
