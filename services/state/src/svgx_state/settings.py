"""The settings of the state service."""

from pydantic import Field

from svgx_common.settings import PostgresSettings, ServiceSettings


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
    links_per_canvas: int = Field(50, ge=1, le=10_000)
    """Live share links that one canvas may have."""
    deleted_retention_days: int = Field(30, ge=0, le=36_500)
    """Days after its deletion for which a canvas can be restored. Then it is removed for good."""
    journal_days_ahead: int = Field(7, ge=1, le=366)
    """Days after today for which partitions of the journal are made."""
