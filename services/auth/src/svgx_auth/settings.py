"""Settings of the auth service."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from svgx_auth.keys import key_file
from svgx_auth.oidc.settings import OidcProvider, check_url
from svgx_auth.passwords import processors
from svgx_common.settings import PostgresSettings, TokenSettings

MIN_MEMORY_KIB = 19 * 1024
MIN_PASSES = 2
"""OWASP's minimum for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane."""

MAX_WORKERS = 64
"""Largest number of password workers of a replica. More workers would wait for memory, not for processors."""

MAX_MEMORY_KIB = 4 * 1024 * 1024
MAX_PASSES = 1000
"""Upper limits for Argon2id: 4 GiB and a thousand passes. One hash with these values takes about an hour. Larger values
are refused, because they overflow in the library."""


def _check_key_file(path: Path | None) -> Path | None:
    if path is not None:
        key_file.read(path)
    return path


def _public_url(text: str) -> str:
    return check_url(text) if text else text


class AuthSettings(PostgresSettings, TokenSettings):
    """Environment variables, with their defaults. The Argon2id defaults are OWASP's minimum."""

    jwt_expires_in: int = Field(3600, ge=60, le=86400)
    """Lifetime of an access token, in seconds."""
    refresh_expires_in: int = Field(30 * 86400, ge=3600)
    """Longest lifetime of a session, in seconds. Refreshing does not extend it."""
    refresh_idle_expires_in: int = Field(14 * 86400, ge=3600)
    """Longest time without a refresh, in seconds. Beyond it, the session ends (OWASP ASVS 5.0, 7.3.1)."""
    jwt_keys_file: Annotated[Path | None, AfterValidator(_check_key_file)] = None
    """File of the private keys that sign access tokens. `rotate-keys` makes the file. Without it, JWT_SECRET signs."""
    argon2_memory_kib: int = Field(MIN_MEMORY_KIB, ge=MIN_MEMORY_KIB, le=MAX_MEMORY_KIB)
    argon2_passes: int = Field(MIN_PASSES, ge=MIN_PASSES, le=MAX_PASSES)
    argon2_lanes: int = Field(1, ge=1, le=16)
    password_workers: int = Field(min(processors.usable(), MAX_WORKERS), ge=1, le=MAX_WORKERS)
    """Largest number of passwords that are hashed at the same time."""
    password_queue: int = Field(32, ge=1, le=48)
    """Largest number of log-ins that wait for a password worker. As many requests of signed-in callers may wait too."""
    svgx_admin_username: str = ""
    svgx_admin_email: str = ""
    svgx_admin_password: SecretStr = SecretStr("")
    """Password of the admin that the service creates with `svgx_admin_*` at its start when no admin exists."""
    event_relay_seconds: float = Field(1.0, gt=0, le=60)
    """Seconds between two checks of the outbox of events."""
    event_retention_days: int = Field(30, ge=1, le=3650)
    """Lifetime of events, in days."""

    public_url: Annotated[str, AfterValidator(_public_url)] = ""
    """URL at which browsers reach the gateway. Sign-in providers send browsers back to this URL."""
    oidc_providers: tuple[OidcProvider, ...] = ()
    """OpenID Connect providers at which users may sign in: a JSON list of their settings (see `oidc.settings`)."""

    @property
    def password_slots(self) -> int:
        """Return how many requests may work on a password at the same time.

        These requests also read the database, so two requests for each worker keep the worker busy. They use at most
        three quarters of the database connections. Therefore, even when the database is slow, some connections remain
        for refreshes and the administration.
        """
        return max(1, min(2 * self.password_workers, 3 * self.database_connections // 4))

    @model_validator(mode="after")
    def _check_providers(self) -> Self:
        names = [each.name for each in self.oidc_providers]
        issuers = [each.issuer for each in self.oidc_providers]
        if len(set(names)) < len(names) or len(set(issuers)) < len(issuers):
            raise ValueError("OIDC_PROVIDERS: two providers have the same name or issuer")
        if not self.public_url and any(each.redirect_uri is None for each in self.oidc_providers):
            raise ValueError("PUBLIC_URL: is required for OIDC_PROVIDERS without redirect_uri")
        return self

    @model_validator(mode="after")
    def _check_idle_time(self) -> Self:
        if self.refresh_idle_expires_in < self.jwt_expires_in:
            raise ValueError(
                "REFRESH_IDLE_EXPIRES_IN must be at least JWT_EXPIRES_IN, because clients refresh after that time"
            )
        return self
