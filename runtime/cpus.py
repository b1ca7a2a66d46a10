"""How many processors this process may really use: its affinity and its container's quota, whichever is less.

Knows the operating system. Knows nothing of who asks.
"""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = CGROUP) -> int:
    """Whole processors, at least 1; a quota of 1.5 counts as 1, because a second thread would be throttled."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, math.floor(_quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """Processors allowed by cgroup v2 (cpu.max) or v1 (cpu.cfs_quota_us), infinite where none is set."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return float(os.cpu_count() or 1)
    if quota in ("max", "-1"):
        return float(os.cpu_count() or 1)
    return int(quota) / int(period)
