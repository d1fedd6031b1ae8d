"""Settings: environment over file over defaults, checked before anything opens a socket."""

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
"""For every base: of two bases the later one's counts, defaults included."""


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
        """The environment goes before what the configuration file says, which comes as arguments."""
        return env_settings, init_settings


class ServiceSettings(_Settings):
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
    prometheus_enabled: bool = True
    """Whether `/metrics` and `/metrics/prometheus` answer."""
    health_check_interval: float = Field(30.0, ge=1, le=3600)
    """Seconds between two looks of a service at what it needs, whoever else asks; changes are logged."""

    @property
    def in_production(self) -> bool:
        """Whether what is fine on a laptop is refused."""
        return self.environment.strip().lower() == "production"


class PostgresSettings(_Settings):
    """For services with tables."""

    model_config = _CONFIG

    postgres_url: Annotated[str, AfterValidator(_postgres_url)]
    database_pool_size: int = Field(10, ge=1, le=1000)
    """Connections a replica keeps."""
    database_max_overflow: int = Field(0, ge=0, le=1000)
    """Connections on top of them, under load."""

    @property
    def database_connections(self) -> int:
        """Connections at most."""
        return self.database_pool_size + self.database_max_overflow


MIN_SECRET = 32
"""Bytes of a `JWT_SECRET` in production: as long as HS256's hash (RFC 7518, 3.2)."""


class TokenSettings(ServiceSettings):
    """For services that sign or check access tokens."""

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
    """Read the settings; anything wrong ends the process with one line a setting and status 2.

    `SVGX_CONFIG` names a configuration file (see `config_file`). No line has a value in it.
    """
    path = os.environ.get(config_file.VARIABLE, "").strip()
    found = _read(Path(path), kind) if path else config_file.Found()
    lines = [f"{config_file.VARIABLE}: {path}: {error}" for error in found.errors]
    try:
        settings = kind(**found.values)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False, include_context=False):
            name = "_".join(str(part) for part in item["loc"])
            setting = str(item["loc"][0]) if item["loc"] else ""
            if setting in found.values:
                key = ".".join([found.keys[setting], *(str(part) for part in item["loc"][1:])])
                lines.append(f"{config_file.VARIABLE}: {path}: {key}: {item['msg']}")
            elif setting not in found.keys:  # else the file's fault, which is said already
                lines.append(f"{name.upper() or 'settings'}: {item['msg']}")
    except SettingsError as error:
        # Names the field; the value is only in what it was raised from.
        lines.append(str(error))
    else:
        if not lines:
            return settings
    for line in lines:
        print(f"svgx: {line}", file=sys.stderr)
    raise SystemExit(2)


def _read(path: Path, kind: type[Settings]) -> config_file.Found:
    fields = set(kind.model_fields)
    reader = config_file.Reader(
        kind.__module__.partition(".")[0].removeprefix("svgx_"),
        own=fields,
        common=set(ServiceSettings.model_fields),
        taken={name for name in fields if os.environ.get(name.upper())},
    )
    return reader.read(path)
