"""Fixtures of the tests of the compute side."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from primesvc.compute.local import LocalBackend
from tests.compute.helpers import Gate


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A closed gate."""
    gate = Gate(tmp_path)
    yield gate
    gate.close()


@pytest.fixture
async def backend() -> AsyncIterator[LocalBackend]:
    """A backend of two processes."""
    backend = LocalBackend(1)
    yield backend
    await backend.close()
