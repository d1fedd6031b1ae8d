"""Settings from the environment, checked before anything opens a socket."""

import re
import sys
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from svgx_common.logs import Format

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]@]*)(:[0-9]{1,5})?")


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    hosts = parts.netloc.rpartition("@")[2].split(",")
    return parts.scheme in schemes and all(_HOST.fullmatch(host) for host in hosts)


def _nats_url(text: str) -> str:
    if all(_is_url(each, ("nats", "tls", "ws", "wss")) for each in text.split(",")):
        return text
    raise ValueError("must be like nats://user:password@host:4222, special characters as %XX")


def _postgres_url(text: str) -> str:
    if _is_url(text, ("postgresql", "postgres")):
        return text
    raise ValueError(
        "must be like postgresql://user:password@host:5432/database, special characters as %XX"
    )


_CONFIG = SettingsConfigDict(extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)
"""For every base: of two bases the later one's counts, defaults included."""


class ServiceSettings(BaseSettings):
    """What every service has. Variables are the operations guide's; defaults suit a laptop."""

    model_config = _CONFIG

    environment: str = Field("development", max_length=64)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Format = "auto"
    api_host: str = "0.0.0.0"
    api_port: int = Field(8000, ge=0, le=65535)
    nats_url: Annotated[str, AfterValidator(_nats_url)] = "nats://localhost:4222"
    """One server, or several separated by commas."""
    drain_seconds: float = Field(5.0, ge=0, le=600)
    """Within this time a stopping service finishes what it has."""


class PostgresSettings(BaseSettings):
    """For services with tables."""

    model_config = _CONFIG

    postgres_url: Annotated[str, AfterValidator(_postgres_url)]
    database_pool_size: int = Field(10, ge=1, le=1000)


MIN_SECRET = 32
"""Bytes of a `JWT_SECRET` in production: as long as HS256's hash (RFC 7518, 3.2)."""


class TokenSettings(ServiceSettings):
    """For services that sign or check access tokens."""

    jwt_secret: SecretStr = Field(min_length=1)

    @model_validator(mode="after")
    def _strong_in_production(self) -> Self:
        if (
            self.environment.strip().lower() == "production"
            and self.jwt_secret.get_secret_value()
            and len(self.jwt_secret.get_secret_value().encode()) < MIN_SECRET
        ):
            raise ValueError(f"JWT_SECRET must have at least {MIN_SECRET} bytes in production")
        return self


Settings = TypeVar("Settings", bound=ServiceSettings)


def load(kind: type[Settings]) -> Settings:
    """Read the settings; anything wrong ends the process with one line a setting and status 2."""
    try:
        return kind()
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False, include_context=False):
            name = "_".join(str(part) for part in item["loc"]).upper() or "settings"
            print(f"svgx: {name}: {item['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
    except SettingsError as error:
        # Names the field; the value is only in what it was raised from.
        print(f"svgx: {error}", file=sys.stderr)
        raise SystemExit(2) from None
