"""Settings from environment variables, the configuration file and defaults, in this order of priority.

All settings are validated before the process opens a socket.
"""

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from svgx_common import config_file
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
"""The pydantic configuration of every settings class."""


class _Settings(BaseSettings):
    model_config = _CONFIG

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Give the environment priority over the configuration file. `load` passes the file's values as arguments."""
        return env_settings, init_settings


class ServiceSettings(_Settings):
    """The settings of every service. Each service's README lists its variables; the defaults suit a laptop."""

    model_config = _CONFIG

    environment: str = Field("development", max_length=64)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Format = "auto"
    api_host: str = "0.0.0.0"
    api_port: int = Field(8000, ge=0, le=65535)
    nats_url: Annotated[str, AfterValidator(_nats_url)] = "nats://localhost:4222"
    """The URL of one NATS server, or of several separated by commas."""
    drain_seconds: float = Field(5.0, ge=0, le=600)
    """Seconds a stopping service has to finish its requests."""
    prometheus_enabled: bool = True
    """Serve `/metrics` and `/metrics/prometheus`."""
    health_check_interval: float = Field(30.0, ge=1, le=3600)
    """Seconds between two health checks by the service itself. Each change of the result is logged."""

    @property
    def in_production(self) -> bool:
        """Return whether the environment is production, where settings that suit only a laptop are refused."""
        return self.environment.strip().lower() == "production"


class PostgresSettings(_Settings):
    """The settings of services that own tables."""

    model_config = _CONFIG

    postgres_url: Annotated[str, AfterValidator(_postgres_url)]
    database_pool_size: int = Field(10, ge=1, le=1000)
    """Connections of a replica's pool."""
    database_max_overflow: int = Field(0, ge=0, le=1000)
    """Additional connections of the pool under load."""

    @property
    def database_connections(self) -> int:
        """The largest number of connections of the pool."""
        return self.database_pool_size + self.database_max_overflow


MIN_SECRET = 32
"""Smallest length of `JWT_SECRET` in production, in bytes: the length of HS256's hash (RFC 7518, 3.2)."""


class TokenSettings(ServiceSettings):
    """The settings of services that sign or verify access tokens."""

    jwt_secret: SecretStr = Field(min_length=1)

    @model_validator(mode="after")
    def _strong_in_production(self) -> Self:
        if (
            self.in_production
            and self.jwt_secret.get_secret_value()
            and len(self.jwt_secret.get_secret_value().encode()) < MIN_SECRET
        ):
            raise ValueError(f"JWT_SECRET must have at least {MIN_SECRET} bytes in production")
        return self


Settings = TypeVar("Settings", bound=ServiceSettings)


def load(kind: type[Settings]) -> Settings:
    """Read and validate the settings.

    A mistake ends the process with status 2, after one line on standard error for each mistake. The lines contain no
    values, because a value may be a secret. `SVGX_CONFIG` names a configuration file (see `config_file`).
    """
    path = os.environ.get(config_file.VARIABLE, "").strip()
    content = _read_file(Path(path), kind) if path else config_file.FileContent()
    lines = [f"{config_file.VARIABLE}: {path}: {error}" for error in content.errors]
    try:
        settings = kind(**content.values)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False, include_context=False):
            name = "_".join(str(part) for part in item["loc"])
            setting = str(item["loc"][0]) if item["loc"] else ""
            if setting in content.values:
                key = ".".join([content.keys[setting], *(str(part) for part in item["loc"][1:])])
                lines.append(f"{config_file.VARIABLE}: {path}: {key}: {item['msg']}")
            elif setting not in content.keys:  # otherwise `content.errors` has it already
                lines.append(f"{name.upper() or 'settings'}: {item['msg']}")
    except SettingsError as error:
        # The exception's text names the field and contains no value. Only its cause contains the value.
        lines.append(str(error))
    else:
        if not lines:
            return settings
    for line in lines:
        print(f"svgx: {line}", file=sys.stderr)
    raise SystemExit(2)


def _read_file(path: Path, kind: type[Settings]) -> config_file.FileContent:
    fields = set(kind.model_fields)
    reader = config_file.Reader(
        kind.__module__.partition(".")[0].removeprefix("svgx_"),
        own=fields,
        common=set(ServiceSettings.model_fields),
        overridden={name for name in fields if os.environ.get(name.upper())},
    )
    return reader.read(path)
