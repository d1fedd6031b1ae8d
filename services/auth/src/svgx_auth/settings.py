"""Settings of the auth service."""

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from svgx_auth import key_file
from svgx_common.settings import PostgresSettings, TokenSettings

MIN_MEMORY_KIB = 19 * 1024
MIN_PASSES = 2
"""OWASP's floor for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane."""


def _readable(path: Path | None) -> Path | None:
    if path is not None:
        key_file.read(path)
    return path


class AuthSettings(PostgresSettings, TokenSettings):
    """Environment variables, with their defaults. The Argon2id defaults are OWASP's floor."""

    jwt_expires_in: int = Field(3600, ge=60, le=86400)
    """Life of an access token, in seconds."""
    refresh_expires_in: int = Field(30 * 86400, ge=3600)
    """Life of a session, in seconds, however often it is refreshed."""
    refresh_idle_expires_in: int = Field(14 * 86400, ge=3600)
    """Seconds after which a session that is not refreshed ends (OWASP ASVS 5.0, 7.3.1)."""
    jwt_keys_file: Annotated[Path | None, AfterValidator(_readable)] = None
    """Private keys that sign access tokens, made by `rotate-keys`; without it JWT_SECRET signs."""
    argon2_memory_kib: int = Field(MIN_MEMORY_KIB, ge=MIN_MEMORY_KIB)
    argon2_passes: int = Field(MIN_PASSES, ge=MIN_PASSES)
    argon2_lanes: int = Field(1, ge=1, le=16)
    password_workers: int = Field(os.cpu_count() or 1, ge=1, le=64)
    """Passwords hashed at a time."""
    svgx_admin_username: str = ""
    svgx_admin_email: str = ""
    svgx_admin_password: SecretStr = SecretStr("")
    """The first start creates this account when there is no admin."""

    @model_validator(mode="after")
    def _idle_as_long_as_a_token(self) -> Self:
        if self.refresh_idle_expires_in < self.jwt_expires_in:
            raise ValueError(
                "REFRESH_IDLE_EXPIRES_IN must be at least JWT_EXPIRES_IN: clients refresh when that is over"
            )
        return self
