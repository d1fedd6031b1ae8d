"""Environment variables that every service process needs and that are not settings.

The development stack sets them, and each Dockerfile repeats them. Tests refuse other values in the Dockerfiles, in the
charts and in docker-compose.yml.
"""

from collections.abc import Mapping
from types import MappingProxyType

PROCESS_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # Log lines appear immediately, also through a pipe.
        "PYTHONUNBUFFERED": "1",
        # glibc keeps freed buffers up to these sizes, and reuses them (mallopt(3)). Otherwise each buffer gets a new
        # mapping. Filling 8 MB of a new mapping takes ten times as long, because the kernel provides the memory page
        # by page. `MemoryWatch` returns the kept buffers to the system when this delays few clients
        # (docs/decisions/0087-freed-buffers-are-kept-until-a-quiet-moment.md).
        "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
        "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
    }
)
