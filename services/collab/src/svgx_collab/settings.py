"""The settings of the collab service."""

from pydantic import Field

from svgx_common.settings import RedisUrl, ServiceSettings


class CollabSettings(ServiceSettings):
    """The settings of the collab service, read from environment variables and the configuration file."""

    redis_url: RedisUrl = "redis://localhost:6379/0"
    import_workers: int = Field(2, ge=1, le=64)
    """Worker processes for imports. Each reads one import at a time. One account may use half of them."""
    import_memory_bytes: int = Field(1024 * 1024 * 1024, ge=64 * 1024 * 1024)
    """Bytes of address space that one worker may use."""
    import_timeout_seconds: float = Field(30.0, gt=0, le=600)
    """Seconds that one import may take. After this time, its worker process is killed."""
