"""The settings of the state service."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from svgx_common.settings import PostgresSettings, RedisUrl, ServiceSettings
from svgx_state.backups.format import target_variables
from svgx_state.backups.format.sealing import read_key
from svgx_state.events.targets import parse_networks
from svgx_state.values.types import DEFAULT_TYPES, Backend, StateTypes

SCHEMES = ("file", "s3", "gs", "az", "memory")
"""The schemes of `BACKUP_URL`. `memory` is for tests."""


def _networks(text: str) -> str:
    try:
        parse_networks(text)
    except ValueError:
        raise ValueError(
            "must be IP addresses or networks such as 10.0.0.0/8, separated by commas"
        ) from None
    return text


def _backup_url(text: str) -> str:
    scheme, mark, place = text.strip().partition("://")
    if not text.strip():
        return ""
    if not mark or scheme not in SCHEMES:
        raise ValueError("must begin with file://, s3://, gs:// or az://")
    if scheme == "file" and not place.startswith("/"):
        raise ValueError("must name a folder by its absolute path, such as file:///backups")
    if "@" in place and scheme != "file":
        raise ValueError("must not contain credentials; set them in the provider's own variables")
    if scheme not in ("file", "memory") and not place.strip("/"):
        raise ValueError("must name a bucket")
    return text.strip()


def _backup_key(key: SecretStr) -> SecretStr:
    read_key(key.get_secret_value())
    return key


class StateSettings(PostgresSettings, ServiceSettings):
    """The settings, read from environment variables of the same names. The defaults suit a laptop and a small pod."""

    worker_count: int = Field(3, ge=1, le=256)
    """Number of worker processes. They merge, export and render canvases.

    One account may use at most half of the processes at a time, and at least one. With three or more processes, an
    account's exports and a compaction leave one process free.
    """
    worker_memory_mb: int = Field(1024, ge=64)
    """Largest address space of one worker, in MiB."""
    worker_timeout_seconds: float = Field(30.0, gt=0, le=600)
    """Time limit for one export or compaction, in seconds. Beyond it, the worker process is killed."""
    compact_after_entries: int = Field(500, ge=1)
    """Number of journal entries after a canvas's newest snapshot at which a new snapshot is due."""
    compact_after_bytes: int = Field(1024 * 1024, ge=1)
    """Size of the journal entries after a canvas's newest snapshot at which a new snapshot is due, in bytes."""
    compact_concurrency: int = Field(1, ge=1, le=64)
    """Largest number of compactions at a time. Each takes a worker and a database connection."""
    links_per_canvas: int = Field(50, ge=1, le=10_000)
    """Largest number of live share links of one canvas."""
    deleted_retention_days: int = Field(30, ge=0, le=36_500)
    """Days after its deletion until a canvas is removed for good. Until then, it can be restored."""
    journal_days_ahead: int = Field(7, ge=1, le=366)
    """Number of days after today for which partitions of the journal are made ahead of time."""
    journal_retention_days: int = Field(30, ge=0, le=3660)
    """Number of full days before today in which the journal is kept; 0 keeps it without end.

    The present content of a canvas does not depend on this setting. Of the time before these days, only versions with a
    name can be read.
    """
    database_disk_gb: float = Field(0, ge=0)
    """GB (10^9 bytes) that the database may use on its disk, for the forecast in the metrics; 0 makes no forecast."""
    version_quiet_seconds: float = Field(60.0, gt=0, le=86400)
    """Seconds from the last edit of a canvas to its automatic version."""
    version_busy_seconds: float = Field(600.0, gt=0, le=86400)
    """Seconds from the first edit that is in no version to an automatic version, if the edits continue."""
    version_all_hours: float = Field(1.0, ge=0, le=8760)
    """Age in hours up to which all versions without a name are kept.

    Later, the last automatic version of each hour stays.
    """
    version_hourly_hours: float = Field(24.0, ge=0, le=8760)
    """Age in hours beyond which only the last version without a name of each day (UTC) is kept."""
    version_max_unnamed: int = Field(300, ge=1, le=10_000)
    """Largest number of versions without a name that a canvas may have. Beyond it, the oldest are deleted."""
    version_max_named: int = Field(300, ge=1, le=10_000)
    """Largest number of versions with a name that a canvas may have. Beyond it, a further name is refused."""
    quota_account_journal_mb: int = Field(512, ge=1, le=2**20)
    """MiB that the edits of one account may add to the journal in a day (UTC), until an admin sets other quotas."""
    quota_account_canvases: int = Field(1000, ge=1, le=10_000_000)
    """Largest number of canvases that one account created and that are not deleted."""
    quota_account_canvases_per_hour: int = Field(100, ge=1, le=10_000_000)
    """Largest number of canvases that one account may create in an hour."""
    quota_account_canvases_per_day: int = Field(500, ge=1, le=10_000_000)
    """Largest number of canvases that one account may create in a day."""
    quota_canvas_journal_mb: int = Field(2048, ge=1, le=2**20)
    """MiB that all edits on one canvas may add to the journal in a day (UTC)."""
    quota_canvas_content_mb: int = Field(128, ge=1, le=2**20)
    """Largest size of a canvas's newest snapshot and the journal after it together, in MiB."""
    quota_admin_factor: int = Field(10, ge=1, le=1000)
    """The factor by which the quotas of other accounts are multiplied to get those of an admin."""
    quota_flush_seconds: float = Field(2.0, gt=0, le=60)
    """Longest time until a replica stores its new counts of journal bytes, in seconds."""
    event_relay_seconds: float = Field(1.0, gt=0, le=60)
    """Seconds between two checks of the outbox of events, and of the deliveries to webhooks."""
    event_retention_days: int = Field(30, ge=1, le=3650)
    """Days for which events and their deliveries are kept."""
    webhook_allowed_networks: Annotated[str, NoDecode, AfterValidator(_networks)] = ""
    """Private networks in which webhooks may be, separated by commas. Public addresses need no entry."""
    webhook_timeout_seconds: float = Field(10.0, gt=0, le=60)
    """Time limit for one attempt at a delivery, in seconds. Beyond it, the attempt fails."""
    webhook_retry_seconds: float = Field(5.0, gt=0, le=3600)
    """Pause after the first failed attempt, in seconds.

    Each later pause is four times as long as the pause before it, up to six hours. Then each pause is varied at random.
    """
    webhook_give_up_seconds: float = Field(86_400.0, gt=0, le=30 * 86_400)
    """Time limit for all attempts at a delivery, in seconds.

    Beyond it, only an admin's request repeats the delivery.
    """
    backup_url: Annotated[str, AfterValidator(_backup_url)] = ""
    """The folder or bucket of the backups: file://, s3://, gs:// or az://. Without it, there are no backups."""
    backup_key: Annotated[SecretStr, AfterValidator(_backup_key)] = SecretStr("")
    """The key that encrypts backups: 32 bytes as base64 or hexadecimal digits.

    Without it, backups are not encrypted.
    """
    backup_keep: int = Field(0, ge=0)
    """Number of newest complete backups of each scope (the state type, canvas and owner) that are kept.

    If this and `backup_keep_days` are 0, all backups are kept.
    """
    backup_keep_days: int = Field(0, ge=0, le=3650)
    """Age in days up to which all complete backups are kept."""
    redis_url: RedisUrl = "redis://localhost:6379/0"
    """The URL of Redis. It is used only while a state type names Redis as its backend."""
    redis_pool_size: int = Field(10, ge=1, le=1000)
    """Largest number of connections to Redis in the pool of a replica."""
    state_types: StateTypes = Field(default_factory=lambda: dict(DEFAULT_TYPES))
    """The types of stored values by name, each with `backend`, `ttl_seconds`, `max_bytes` and `shared`. A value of this
    setting replaces all default types."""
    values_per_account: int = Field(1000, ge=1, le=100_000)
    """Largest number of keys of one account in each backend.

    All shared values together have the limits of one account.
    """
    value_bytes_per_account: int = Field(8 * 1024 * 1024, ge=1)
    """Largest size of all values of one account in each backend, in bytes."""
    value_cache_bytes: int = Field(16 * 1024 * 1024, ge=0)
    """Largest size of a replica's cache of values from PostgreSQL, in bytes. 0 turns the cache off."""

    @property
    def backups_unprotected(self) -> bool:
        """Return whether production stores backups without encryption."""
        key = self.backup_key.get_secret_value()
        return self.in_production and bool(self.backup_url) and not key

    @model_validator(mode="after")
    def _no_memory_in_production(self) -> Self:
        for name, each in self.state_types.items():
            if self.in_production and each.backend is Backend.MEMORY:
                raise ValueError(
                    f"STATE_TYPES: {name} is in memory, where other replicas cannot see it; "
                    "use postgresql or redis in production"
                )
        return self

    def mistakes_in_library_variables(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Return one line for each environment variable of the backups' target with a wrong value.

        The lines contain no values, because a value may be a secret.
        """
        return target_variables.mistakes(self.backup_url, environ)

    @property
    def uses_redis(self) -> bool:
        """Return whether a state type has the backend Redis."""
        return any(each.backend is Backend.REDIS for each in self.state_types.values())
