"""How much memory there is to use."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

UNKNOWN_BYTES: Final = 4 * 2**30
"""What is assumed where the system does not say (Windows)."""

_V2, _V1 = "memory.max", "memory.limit_in_bytes"


def usable_memory_bytes(
    cgroup: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> int:
    """Bytes of memory this process may use: the machine's, capped by its container's limit.

    A limit may stand at any group above the process's own (cgroup v2, or the
    memory controller of v1); the least of them counts.
    """
    return min([_machine_bytes(), *_limits(cgroup, mount)])


def _machine_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_BYTES


def _limits(cgroup: Path, mount: Path) -> Iterator[int]:
    for folder, name in _groups(cgroup, mount):
        # A container sees its own group as the root, but the path of the whole machine.
        for group in (folder, *folder.parents):
            if not group.is_relative_to(mount):
                break
            try:
                yield int((group / name).read_text())
            except (OSError, ValueError):  # not there, or "max"
                continue


def _groups(cgroup: Path, mount: Path) -> Iterator[tuple[Path, str]]:
    """The folder of the process's group and the file of its limit, in v2 and in v1."""
    try:
        lines = cgroup.read_text().splitlines()
    except OSError:
        lines = []
    yield mount, _V2
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield mount / path.lstrip("/"), _V2
        elif "memory" in controllers.split(","):
            yield mount / "memory" / path.lstrip("/"), _V1
