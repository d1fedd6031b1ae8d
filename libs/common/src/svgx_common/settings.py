"""Settings from environment variables, the configuration file and defaults, in this order of priority.

All settings are validated before the process opens a socket.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from svgx_common import config_file
from svgx_common.configuration import build, server_urls, telemetry_variables, variables
from svgx_common.contract.fields.surrogates import has_surrogate
from svgx_common.logs import Format
from svgx_common.nats_server.nkeys import UserKey

NatsUrl = Annotated[str, AfterValidator(server_urls.check_nats)]
PostgresUrl = Annotated[str, AfterValidator(server_urls.check_postgres)]
RedisUrl = Annotated[str, AfterValidator(server_urls.check_redis)]

LARGEST_NUMBER = 2**40
"""The largest number of any setting. Larger numbers overflow in libraries and system calls."""

LONGEST_SECONDS = 10 * 365 * 86400
"""The longest time of any setting, in seconds. Dates and timers overflow after longer times."""

_TIME_SETTING = re.compile(r"(seconds|timeout|interval|expires_in)$")
"""Matches the names of settings that are in seconds."""


def _check_seed(seed: SecretStr) -> SecretStr:
    if seed.get_secret_value():
        UserKey.from_seed(seed.get_secret_value())
    return seed


def _check_host(text: str) -> str:
    host = text.strip().removeprefix("[").removesuffix("]")
    if not server_urls.is_host(f"[{host}]" if ":" in host else host):
        raise ValueError("must be the address or the name of an interface, without a port")
    return host


def _check_environment(text: str) -> str:
    name = text.strip().lower()
    if name != PRODUCTION and get_close_matches(name, [PRODUCTION, "prod", "prd"], cutoff=0.8):
        raise ValueError(f"did you mean {PRODUCTION}? Only this name enables its rules")
    return text


WRONG_SETTING = 2
"""The status with which a process ends because of a wrong setting."""


class WrongSetting(Exception):
    """A setting that proves wrong when the process uses it, such as a password that a server refuses.

    The process ends with one line and status 2.
    """

    def __init__(self, variable: str, text: str) -> None:
        """Create the error. The text must not contain the value, which may be a secret."""
        super().__init__(f"{variable}: {text}")


PRODUCTION = "production"
"""The value of `ENVIRONMENT` with which a service refuses settings that suit only a laptop."""

_CONFIG = SettingsConfigDict(
    extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, allow_inf_nan=False
)
"""The pydantic configuration of every settings class."""


class _Environment(EnvSettingsSource):
    """The environment. A list that is not JSON or too deep stays text. The setting's own check refuses it."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return the value as JSON, or the text itself."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except (ValueError, RecursionError):
            return value


class _Settings(BaseSettings):
    model_config = _CONFIG

    @field_validator("*")
    @classmethod
    def _refuse_unusable(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse numbers that overflow later, and bytes that are not text."""
        if isinstance(value, int | float):
            largest = (
                LONGEST_SECONDS if _TIME_SETTING.search(info.field_name or "") else LARGEST_NUMBER
            )
            if value > largest:
                raise ValueError(f"must be at most {largest}")
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and has_surrogate(text):
            raise ValueError("must be UTF-8")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the environment above the configuration file. `examine` passes the file's values as arguments."""
        return _Environment(settings_cls), init_settings


class ServiceSettings(_Settings):
    """The settings of every service. Each service's README lists its variables; the defaults suit a laptop."""

    model_config = _CONFIG

    environment: Annotated[str, AfterValidator(_check_environment)] = Field(
        "development", max_length=64
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Format = "auto"
    api_host: Annotated[str, AfterValidator(_check_host)] = "0.0.0.0"
    api_port: int = Field(8000, ge=0, le=65535)
    nats_url: NatsUrl = "nats://localhost:4222"
    """The URL of one NATS server, or of several separated by commas. All have the same user and password."""
    nats_nkey_seed: Annotated[SecretStr, AfterValidator(_check_seed)] = SecretStr("")
    """The seed of the service's NATS key, such as `SUA…`, for a server that knows the public key."""
    drain_seconds: float = Field(5.0, ge=0, le=600)
    """Time limit for a stopping service to finish its requests, in seconds."""
    svgx_revision: str = Field(build.UNKNOWN, max_length=64, pattern=r"^[\w.+/-]+$")
    """The revision of the source code, such as a commit's hash. The container images set it, for display."""
    prometheus_enabled: bool = True
    """Serve `/metrics` and `/metrics/prometheus`."""
    health_check_interval: float = Field(30.0, ge=1, le=3600)
    """Seconds between two health checks by the service itself. Each change of the result is logged."""

    @property
    def in_production(self) -> bool:
        """Return whether the environment is production, where settings that suit only a laptop are refused."""
        return self.environment.strip().lower() == PRODUCTION

    def mistakes_in_library_variables(self, environ: Mapping[str, str]) -> Iterable[str]:  # noqa: ARG002
        """Return one line for each wrong variable that only a library reads. The lines contain no values."""
        return ()


class PostgresSettings(_Settings):
    """The settings of services that own tables."""

    model_config = _CONFIG

    postgres_url: PostgresUrl
    database_pool_size: int = Field(10, ge=1, le=1000)
    """Connections of a replica's pool."""
    database_max_overflow: int = Field(0, ge=0, le=1000)
    """Additional connections of the pool under load."""

    @property
    def database_connections(self) -> int:
        """The largest number of connections of the pool."""
        return self.database_pool_size + self.database_max_overflow


MIN_SECRET_BYTES = 32
"""Minimum length of `JWT_SECRET` in production, in bytes: the length of HS256's hash (RFC 7518, 3.2)."""


class TokenSettings(ServiceSettings):
    """The settings of services that sign or verify access tokens."""

    jwt_secret: SecretStr = Field(min_length=1)
    jwt_other_secret: SecretStr = SecretStr("")
    """The next or the previous secret while `jwt_secret` is replaced. Tokens signed with this secret are valid too."""

    @model_validator(mode="after")
    def _strong_in_production(self) -> Self:
        weak = [
            name.upper()
            for name in ("jwt_secret", "jwt_other_secret")
            if 0 < len(getattr(self, name).get_secret_value().encode()) < MIN_SECRET_BYTES
        ]
        if self.in_production and weak:
            names = " and ".join(weak)
            raise ValueError(f"{names} must have at least {MIN_SECRET_BYTES} bytes in production")
        return self


Settings = TypeVar("Settings", bound=ServiceSettings)

_JSON_TYPES = frozenset({"tuple_type", "list_type", "dict_type"})
"""pydantic's error types for a text in place of a list or a mapping."""


def load(kind: type[Settings]) -> Settings:
    """Read and validate the settings.

    A mistake ends the process with status 2, after one line on standard error for each mistake. The lines contain no
    values, because a value may be a secret. `SVGX_CONFIG` names a configuration file (see `config_file`).
    """
    settings, lines = examine(kind)
    if settings is not None and not lines:
        return settings
    for line in lines:
        print(f"svgx: {line}", file=sys.stderr)
    raise SystemExit(WRONG_SETTING)


def examine(kind: type[Settings]) -> tuple[Settings | None, list[str]]:
    """Return the settings, or None when they cannot be used, and one line for each mistake."""
    path, content = _configuration_file(kind)
    lines = [f"{config_file.VARIABLE}: {path}: {error}" for error in content.errors]
    lines += [
        f"{each.name}: unknown variable; did you mean {each.nearest}?"
        for each in _unknown_variables(kind, content)
        if each.refused
    ]
    lines += telemetry_variables.mistakes(os.environ)
    try:
        settings = kind(**content.values)
        return settings, [*lines, *settings.mistakes_in_library_variables(os.environ)]
    except ValidationError as error:
        items = error.errors(include_url=False, include_input=False, include_context=False)
        invalid = {str(item["loc"][0]) for item in items if item["loc"]}
        # pydantic reports one conflict at most, and none besides an invalid field.
        reported = [item["msg"] for item in items if not item["loc"]]
        conflicts = dict.fromkeys([*reported, *_conflicts(kind, invalid)])
        lines += [f"settings: {conflict}" for conflict in conflicts]
        for item in items:
            if not item["loc"]:
                continue
            name = "_".join(str(part) for part in item["loc"])
            setting = str(item["loc"][0])
            if setting in content.values:
                key = ".".join([content.keys[setting], *(str(part) for part in item["loc"][1:])])
                lines.append(f"{config_file.VARIABLE}: {path}: {key}: {item['msg']}")
            elif setting not in content.keys:  # otherwise `content.errors` names the mistake
                text = item["msg"]
                if item["type"] in _JSON_TYPES and len(item["loc"]) == 1:
                    text += ", written as JSON"
                lines.append(f"{name.upper()}: {text}")
    return None, lines


def _conflicts(kind: type[Settings], invalid: set[str]) -> Iterator[str]:
    """Return a text for each conflict between settings.

    A conflict with a setting in `invalid` is left out, because the setting has no value.
    """
    values = {name: each for name, each in valid_values(kind).items() if name not in invalid}
    settings = kind.model_construct(None, **values)
    for name in kind.model_fields.keys() - values.keys():
        settings.__dict__.pop(
            name, None
        )  # a default takes the place of each value that is not given
    for check in kind.__pydantic_decorators__.model_validators.values():
        if check.info.mode == "after":
            try:
                check.func(settings)
            except ValueError as error:
                yield f"Value error, {error}"
            except AttributeError:
                pass  # the check needs a setting in `invalid`


def valid_values(kind: type[Settings]) -> dict[str, Any]:
    """Return the value of each setting that is valid by itself, even if other settings are not valid."""
    _, content = _configuration_file(kind)
    values: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        single = create_model("Single", __base__=_Settings, **{name: (field.annotation, field)})  # type: ignore[call-overload]
        given = {name: content.values[name]} if name in content.values else {}
        with contextlib.suppress(ValidationError):
            values[name] = getattr(single(**given), name)
    return values


def unknown_variables(kind: type[ServiceSettings]) -> list[variables.UnknownVariable]:
    """Return the environment variables that look like misspelt settings of the service.

    A variable is not refused if the configuration file has the setting.
    """
    return _unknown_variables(kind, _configuration_file(kind)[1])


def _unknown_variables(
    kind: type[ServiceSettings], content: config_file.FileContent
) -> list[variables.UnknownVariable]:
    names = {name.upper() for name in kind.model_fields}
    required = {name.upper() for name, field in kind.model_fields.items() if field.is_required()}
    referred = {name.upper() for name in content.references}
    return [
        replace(each, refused=each.refused and each.nearest.lower() not in content.keys)
        for each in variables.unknown_variables(names, os.environ, required=required)
        if each.name not in referred
    ]


def _configuration_file(kind: type[Settings]) -> tuple[str, config_file.FileContent]:
    path = os.environ.get(config_file.VARIABLE, "").strip()
    return path, _read_file(Path(path), kind) if path else config_file.FileContent()


def _read_file(path: Path, kind: type[Settings]) -> config_file.FileContent:
    fields = set(kind.model_fields)
    reader = config_file.Reader(
        kind.__module__.partition(".")[0].removeprefix("svgx_"),
        own=fields,
        common=set(ServiceSettings.model_fields),
        overridden={name for name in fields if os.environ.get(name.upper())},
    )
    return reader.read(path)
