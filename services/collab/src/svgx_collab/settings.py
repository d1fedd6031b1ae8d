"""The settings of the collab service."""

from pydantic import Field

from svgx_common.settings import ServiceSettings


class CollabSettings(ServiceSettings):
    """Environment variables of the same names, with their defaults."""

    redis_url: str = "redis://localhost:6379/0"
    import_workers: int = Field(1, ge=1, le=64)
    """Imports read at a time. Each takes one process."""
    import_memory_bytes: int = Field(1024 * 1024 * 1024, ge=64 * 1024 * 1024)
    """Bytes of address space that one worker may use."""
    import_timeout_seconds: float = Field(30.0, gt=0, le=600)
    """Seconds for one import. Then its process is killed."""
