"""How many processors this process may use."""

import math
import os
from pathlib import Path


def usable_cpus(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Processors this process may use, at least 1: its affinity, capped by its container's quota.

    `os.cpu_count` knows neither: in a container with half a processor on a
    machine of 64 it says 64. `quota_file` is cgroup v2's `cpu.max`.
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cpus = os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cpus = min(cpus, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass
    return max(cpus, 1)
