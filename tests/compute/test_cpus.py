"""How many processors there are to use."""

import os
from pathlib import Path

import pytest

from primesvc.compute.cpus import usable_cpus


def all_cpus() -> int:
    """The processors the system lets this process run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def quota_file(directory: Path, text: str | bytes) -> Path:
    """A file like cgroup v2's `cpu.max`."""
    path = directory / "cpu.max"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_no_quota_allows_all_processors(tmp_path: Path) -> None:
    """Without a quota it is what the affinity allows."""
    assert usable_cpus(quota_file(tmp_path, "max 100000\n")) == all_cpus()


def test_no_quota_file_allows_all_processors(tmp_path: Path) -> None:
    """Outside of cgroup v2 it is what the affinity allows."""
    assert usable_cpus(tmp_path / "missing") == all_cpus()
    assert usable_cpus(tmp_path) == all_cpus()


@pytest.mark.parametrize(
    ("quota", "processors"),
    [
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("100000 100000\n", 1),
        ("100001 100000\n", 2),
        ("250000 100000\n", 3),
        ("25000 10000", 3),
        ("0 100000\n", 1),
    ],
)
def test_a_quota_is_rounded_up_and_capped(tmp_path: Path, quota: str, processors: int) -> None:
    """A quota counts in whole processors, rounded up, one at least and all at most."""
    assert usable_cpus(quota_file(tmp_path, quota)) == min(processors, all_cpus())


def test_a_large_quota_adds_no_processors(tmp_path: Path) -> None:
    """A quota above what there is changes nothing."""
    assert usable_cpus(quota_file(tmp_path, "100000000 100000\n")) == all_cpus()


@pytest.mark.parametrize(
    "garbage", ["", "\n", "max", "100000", "a b", "1 2 3", "100000 0", b"\xff\xfe\x00 100000"]
)
def test_garbage_counts_as_no_quota(tmp_path: Path, garbage: str | bytes) -> None:
    """A quota that cannot be read is ignored."""
    assert usable_cpus(quota_file(tmp_path, garbage)) == all_cpus()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="it is set so on Linux only")
def test_affinity_counts(tmp_path: Path) -> None:
    """A process that may run on one processor has one, however many the machine has."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cpus(tmp_path / "missing") == 1
    finally:
        os.sched_setaffinity(0, before)


def test_the_real_quota_is_read() -> None:
    """Asked without a file it says a number from 1 to what the affinity allows."""
    assert 1 <= usable_cpus() <= all_cpus()
