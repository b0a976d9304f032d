"""How much memory there is to use."""

from pathlib import Path

import pytest

from primesvc.compute.memory import usable_memory_bytes

MIB = 2**20


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """The file that says which groups the process is in."""
    return tmp_path / "cgroup"


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """Where the groups are mounted."""
    path = tmp_path / "fs"
    path.mkdir()
    return path


def limit(folder: Path, name: str, text: str) -> None:
    """Give a group a limit."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_without_limits_it_is_the_memory_of_the_machine(group: Path, mount: Path) -> None:
    """Where there are no groups, or none that sets a limit, all of it may be used."""
    machine = usable_memory_bytes(group, mount)
    assert machine > 256 * MIB
    group.write_text("0::/\n")
    limit(mount, "memory.max", "max\n")
    assert usable_memory_bytes(group, mount) == machine


def test_a_container_sees_its_limit_at_the_root(group: Path, mount: Path) -> None:
    """In a container the path of the group is often that of the machine outside."""
    group.write_text("0::/docker/0123abcd\n")
    limit(mount, "memory.max", f"{64 * MIB}\n")
    assert usable_memory_bytes(group, mount) == 64 * MIB


def test_the_least_of_the_limits_above_counts(group: Path, mount: Path) -> None:
    """A service of systemd has its limit in its own group, or in a slice above it."""
    group.write_text("0::/user.slice/app.service\n")
    limit(mount / "user.slice", "memory.max", f"{32 * MIB}\n")
    limit(mount / "user.slice" / "app.service", "memory.max", f"{48 * MIB}\n")
    assert usable_memory_bytes(group, mount) == 32 * MIB
    limit(mount / "user.slice" / "app.service", "memory.max", f"{16 * MIB}\n")
    assert usable_memory_bytes(group, mount) == 16 * MIB


def test_the_first_version_of_groups_is_known_too(group: Path, mount: Path) -> None:
    """There the memory has a tree of its own, and no limit is a huge number."""
    group.write_text("9:cpu,cpuacct:/x\n4:memory:/box\n0::/\n")
    limit(mount / "memory" / "box", "memory.limit_in_bytes", f"{40 * MIB}\n")
    limit(mount / "memory", "memory.limit_in_bytes", "9223372036854771712\n")
    assert usable_memory_bytes(group, mount) == 40 * MIB


@pytest.mark.parametrize("text", ["", "garbage", "1:2", ":::\n", "0::/../../etc\n", "4:memory\n"])
def test_what_cannot_be_read_sets_no_limit(group: Path, mount: Path, text: str) -> None:
    """Neither a strange list of groups nor a strange limit is an error."""
    machine = usable_memory_bytes(group.with_name("missing"), mount)
    group.write_text(text)
    limit(mount, "memory.max", "a lot")
    assert usable_memory_bytes(group, mount) == machine
