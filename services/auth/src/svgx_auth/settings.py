"""Settings of the auth service."""

import os
from typing import Self

from pydantic import Field, SecretStr, model_validator

from svgx_common.settings import PostgresSettings, ServiceSettings

MIN_SECRET = 32
"""Bytes of a `JWT_SECRET` in production: as long as HS256's hash (RFC 7518, 3.2)."""


class AuthSettings(ServiceSettings, PostgresSettings):
    """Environment variables, with their defaults. The Argon2id defaults are OWASP's floor for two passes, or above."""

    jwt_secret: SecretStr = Field(min_length=1)
    jwt_expires_in: int = Field(3600, ge=60, le=86400)
    """Life of an access token, in seconds."""
    refresh_expires_in: int = Field(30 * 86400, ge=3600)
    """Life of a session, in seconds, however often it is refreshed."""
    argon2_memory_kib: int = Field(19 * 1024, ge=19 * 1024)
    argon2_passes: int = Field(2, ge=2)
    argon2_lanes: int = Field(1, ge=1, le=16)
    password_workers: int = Field(os.cpu_count() or 1, ge=1, le=64)
    """Passwords hashed at a time."""
    svgx_admin_username: str = ""
    svgx_admin_email: str = ""
    svgx_admin_password: SecretStr = SecretStr("")
    """The first start creates this account when there is no admin."""

    @model_validator(mode="after")
    def _strong_in_production(self) -> Self:
        if (
            self.environment.strip().lower() == "production"
            and len(self.jwt_secret.get_secret_value().encode()) < MIN_SECRET
        ):
            raise ValueError(f"JWT_SECRET must have at least {MIN_SECRET} bytes in production")
        return self
