"""What can be set about the state service, by environment variables of the same names."""

from pydantic import Field

from svgx_common.settings import PostgresSettings, ServiceSettings


class StateSettings(PostgresSettings, ServiceSettings):
    """Defaults suit a laptop and a small pod."""

    worker_count: int = Field(2, ge=1, le=256)
    """Processes that merge, export and render."""
    worker_memory_mb: int = Field(1024, ge=64)
    """MiB of address space of one of them."""
    worker_timeout_seconds: float = Field(30.0, gt=0, le=600)
    """Time for one piece of their work; then the process is killed."""
    compact_after_entries: int = Field(500, ge=1)
    """Journal entries after a canvas's newest snapshot that make a new one worthwhile."""
    compact_after_bytes: int = Field(1024 * 1024, ge=1)
    """Bytes of them that do."""
    compact_concurrency: int = Field(1, ge=1, le=64)
    """Canvases compacted at a time; each takes a worker and a connection."""
    journal_days_ahead: int = Field(7, ge=1, le=366)
    """Daily partitions of the journal that are made ahead."""
