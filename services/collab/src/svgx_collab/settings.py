"""Settings of the collab service."""

from pydantic import Field

from svgx_common.settings import ServiceSettings


class CollabSettings(ServiceSettings):
    """Environment variables, with their defaults."""

    redis_url: str = "redis://localhost:6379/0"
    import_workers: int = Field(1, ge=1, le=64)
    """Imports read at a time; each is a process."""
    import_memory_bytes: int = Field(1024 * 1024 * 1024, ge=64 * 1024 * 1024)
    """Address space a worker may use."""
    import_timeout_seconds: float = Field(30.0, gt=0, le=600)
