"""Settings of the auth service."""

import os

from pydantic import Field, SecretStr

from svgx_common.settings import PostgresSettings, TokenSettings


class AuthSettings(PostgresSettings, TokenSettings):
    """Environment variables, with their defaults. The Argon2id defaults are OWASP's floor for two passes, or above."""

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
