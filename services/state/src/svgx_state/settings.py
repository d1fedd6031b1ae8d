"""The settings of the state service."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from svgx_common.settings import PostgresSettings, ServiceSettings
from svgx_state.backups.format.sealing import read_key

SCHEMES = ("file", "s3", "gs", "az", "memory")
"""The schemes of `BACKUP_URL`. `memory` is for tests."""


def _backup_url(text: str) -> str:
    scheme, mark, place = text.strip().partition("://")
    if not text.strip():
        return ""
    if not mark or scheme not in SCHEMES:
        raise ValueError("must begin with file://, s3://, gs:// or az://")
    if scheme == "file" and not place.startswith("/"):
        raise ValueError("must name a folder by its whole path, such as file:///backups")
    if "@" in place:
        raise ValueError("must not contain credentials; they have variables of their own")
    if scheme not in ("file", "memory") and not place.strip("/"):
        raise ValueError("must name a bucket")
    return text.strip()


def _backup_key(key: SecretStr) -> SecretStr:
    read_key(key.get_secret_value())
    return key


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
    backup_url: Annotated[str, AfterValidator(_backup_url)] = ""
    """The folder or bucket of the backups: file://, s3://, gs:// or az://. Without it, there are no backups."""
    backup_key: Annotated[SecretStr, AfterValidator(_backup_key)] = SecretStr("")
    """The key that encrypts backups, 32 bytes in base64. Without it, backups are not encrypted."""
    backup_keep: int = Field(0, ge=0)
    """Newest backups that are kept. With 0 here and in `backup_keep_days`, all are kept."""
    backup_keep_days: int = Field(0, ge=0, le=3650)
    """Days for which backups are kept."""
