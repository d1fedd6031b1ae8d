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
        # glibc keeps freed buffers up to these sizes for the next ones (mallopt(3)). In a new mapping, 8 MB take ten
        # times as long to fill, because the system gives it page by page. `MemoryWatch` returns the buffers in a quiet
        # moment (docs/decisions/0087-freed-buffers-are-kept-until-a-quiet-moment.md).
        "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
        "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
    }
)
