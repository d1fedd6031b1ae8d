"""The number of processors that this process may use. A container may have fewer processors than its machine."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_QUOTA_V2 = "cpu.max"
_QUOTA_V1, _PERIOD_V1 = "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"


def usable(cgroup: Path = _CGROUP) -> int:
    """Return the number of processors that the process may use, at least 1.

    On Linux, return the smaller of two numbers: the container's limit (its control group), rounded up, and the number
    of processors to which the process is bound. On other systems, return the number of the machine's processors.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, math.ceil(min(allowed or 1, _quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """Return the number of processors that the control group permits, or infinity without a limit.

    The files of cgroups version 2 are read first, then those of version 1.
    """
    try:
        quota, period = (cgroup / _QUOTA_V2).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / _QUOTA_V1).read_text(encoding="utf-8").strip()
            period = (cgroup / _PERIOD_V1).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return math.inf
    # Without a limit, `quota` is the word `max` in version 2, and -1 in version 1.
    return int(quota) / int(period) if quota.isdigit() else math.inf
