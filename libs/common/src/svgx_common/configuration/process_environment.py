"""Environment variables that every service process needs and that are not settings.

The development stack sets them, and each Dockerfile repeats them. Tests refuse other values in the Dockerfiles, in the
charts and in docker-compose.yml.
"""

from collections.abc import Mapping
from types import MappingProxyType

PROCESS_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # Log lines appear at once, also through a pipe.
        "PYTHONUNBUFFERED": "1",
        # With a fixed threshold, glibc returns large buffers to the system when they are freed (mallopt(3)). In the
        # heap, a small object above them would keep them (docs/decisions/0077-small-threshold-of-mmap.md).
        "MALLOC_MMAP_THRESHOLD_": str(64 * 1024),
    }
)
