"""Settings from the environment, checked before anything opens a socket."""

import sys
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from svgx_common.logs import Format


class ServiceSettings(BaseSettings):
    """What every service has. Variables are the operations guide's; defaults suit a laptop."""

    model_config = SettingsConfigDict(
        extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    environment: str = Field("development", max_length=64)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Format = "auto"
    api_host: str = "0.0.0.0"
    api_port: int = Field(8000, ge=0, le=65535)
    nats_url: str = "nats://localhost:4222"
    drain_seconds: float = Field(5.0, ge=0, le=600)
    """Within this time a stopping service finishes what it has."""


class PostgresSettings(BaseSettings):
    """For services with tables."""

    postgres_url: str = Field(min_length=1)
    database_pool_size: int = Field(10, ge=1, le=1000)


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
