"""The settings of the state service."""

from typing import Self

from pydantic import Field, model_validator

from svgx_common.settings import PostgresSettings, RedisUrl, ServiceSettings
from svgx_state.values.types import DEFAULT_TYPES, Backend, StateTypes


class StateSettings(PostgresSettings, ServiceSettings):
    """Environment variables of the same names. The defaults suit a laptop and a small pod."""

    worker_count: int = Field(3, ge=1, le=256)
    """Processes that merge, export and render. One account may use half of them at a time. With three or more, an
    account's exports and a compaction leave one free."""
    worker_memory_mb: int = Field(1024, ge=64)
    """MiB of address space that one worker may use."""
    worker_timeout_seconds: float = Field(30.0, gt=0, le=600)
    """Seconds for one export or compaction. Then its process is killed."""
    compact_after_entries: int = Field(500, ge=1)
    """Journal entries after a canvas's newest snapshot that make a new snapshot due."""
    compact_after_bytes: int = Field(1024 * 1024, ge=1)
    """Bytes of journal entries after a canvas's newest snapshot that make a new snapshot due."""
    compact_concurrency: int = Field(1, ge=1, le=64)
    """Canvases compacted at a time. Each takes a worker and a database connection."""
    journal_days_ahead: int = Field(7, ge=1, le=366)
    """Days after today for which partitions of the journal are made."""
    redis_url: RedisUrl = "redis://localhost:6379/0"
    """Used only while a state type names Redis as its backend."""
    redis_pool_size: int = Field(10, ge=1, le=1000)
    """Connections of a replica's pool to Redis."""
    state_types: StateTypes = Field(default_factory=lambda: dict(DEFAULT_TYPES))
    """The types of stored values by name, each with `backend`, `ttl_seconds`, `max_bytes` and `shared`. A setting
    replaces all types."""
    values_per_account: int = Field(1000, ge=1, le=100_000)
    """Keys that one account may have in each backend. The shared values count as one account."""
    value_bytes_per_account: int = Field(8 * 1024 * 1024, ge=1)
    """Bytes of all values that one account may have in each backend."""
    value_cache_bytes: int = Field(16 * 1024 * 1024, ge=0)
    """Bytes of values from PostgreSQL that a replica caches. 0 turns the cache off."""

    @model_validator(mode="after")
    def _no_memory_in_production(self) -> Self:
        for name, each in self.state_types.items():
            if self.in_production and each.backend is Backend.MEMORY:
                raise ValueError(
                    f"STATE_TYPES: {name} is in memory, which other replicas do not see; "
                    "use postgresql or redis in production"
                )
        return self

    @property
    def uses_redis(self) -> bool:
        """Whether a state type is in Redis."""
        return any(each.backend is Backend.REDIS for each in self.state_types.values())
