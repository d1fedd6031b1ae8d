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
    journal_days_ahead: int = Field(7, ge=1, le=366)
    """Days after today for which partitions of the journal are made."""
    quota_account_journal_mb: int = Field(512, ge=1, le=2**20)
    """MiB that the edits of one account add to the journal in a day (UTC), until an admin sets other quotas."""
    quota_account_canvases: int = Field(1000, ge=1, le=10_000_000)
    """Canvases that one account created and that are not deleted."""
    quota_account_canvases_per_hour: int = Field(100, ge=1, le=10_000_000)
    """Canvases that one account creates in an hour."""
    quota_account_canvases_per_day: int = Field(500, ge=1, le=10_000_000)
    """Canvases that one account creates in a day."""
    quota_canvas_journal_mb: int = Field(2048, ge=1, le=2**20)
    """MiB that all edits on one canvas add to the journal in a day (UTC)."""
    quota_canvas_content_mb: int = Field(128, ge=1, le=2**20)
    """MiB of a canvas's newest snapshot and of the journal after it."""
    quota_admin_factor: int = Field(10, ge=1, le=1000)
    """Admins have so many times the quotas of the other accounts."""
    quota_flush_seconds: float = Field(2.0, gt=0, le=60)
    """Seconds between two times at which a replica stores the counts of journal bytes."""
