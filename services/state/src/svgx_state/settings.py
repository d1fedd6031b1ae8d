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
    journal_retention_days: int = Field(30, ge=0, le=3660)
    """Full days before today for which the journal is kept; 0 keeps it without end. Canvases keep their content, and
    their past can be read within the retention."""
    database_disk_gb: float = Field(0, ge=0)
    """GB (10^9 bytes) that the database may use on its disk, for the forecast in the metrics; 0 makes no forecast."""
    version_quiet_seconds: float = Field(60.0, gt=0, le=86400)
    """Seconds after the last edit of a canvas at which it gets an automatic version."""
    version_busy_seconds: float = Field(600.0, gt=0, le=86400)
    """Seconds after the first edit that is in no version, at which a canvas in use gets an automatic version."""
    version_all_hours: float = Field(1.0, ge=0, le=8760)
    """Hours for which all versions are kept. Of older ones without a name, the last of each hour is kept."""
    version_hourly_hours: float = Field(24.0, ge=0, le=8760)
    """Hours after which the last version of each day (UTC) is kept of those without a name."""
    version_max_unnamed: int = Field(300, ge=1, le=10_000)
    """Versions of a canvas without a name. Beyond it, the oldest are deleted."""
    version_max_named: int = Field(300, ge=1, le=10_000)
    """Versions of a canvas with a name. Beyond it, a further name is refused."""
