"""The configuration file: YAML with the operations guide's keys, one file for all services.

A service takes from it what it has a setting for: the guide's keys, settings that every service has by their names, and
whatever stands in the section of the service's own name. `${NAME}` is the environment variable, `${NAME:-text}` with a
text where it is not set.
"""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from svgx_common.contract.subjects import SERVICES

VARIABLE = "SVGX_CONFIG"
"""The environment variable that names the file."""

GUIDE: dict[str, str | None] = {
    "database.url": "postgres_url",
    "database.pool_size": "database_pool_size",
    "database.max_overflow": "database_max_overflow",
    "redis.url": "redis_url",
    "redis.pool_size": "redis_pool_size",
    "nats.url": "nats_url",
    "security.jwt_secret": "jwt_secret",
    "security.jwt_expires_in": "jwt_expires_in",
    "security.rate_limit_requests_per_minute": "rate_limit_requests_per_minute",
    "security.cors_origins": "cors_origins",
    "monitoring.prometheus_enabled": "prometheus_enabled",
    "monitoring.health_check_interval": "health_check_interval",
    # Read by the charts.
    "scaling.min_replicas": None,
    "scaling.max_replicas": None,
    "scaling.target_cpu_utilization": None,
}
"""Keys and the settings they are."""

_SECTIONS = {key.partition(".")[0] for key in GUIDE}
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(slots=True)
class Found:
    """Values by setting, the key each was found under, and what is wrong with the file, by line for people."""

    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reader:
    """What one service looks for. `own`: its settings; `common`: those all services have.

    `taken` are set in the environment: they are not looked at, so that what they refer to need not exist.
    """

    service: str
    own: Collection[str]
    common: Collection[str]
    taken: Collection[str]

    def read(self, path: Path) -> Found:
        """What the file has for the service. Values are in no error: they may be secrets."""
        found = Found()
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            found.errors.append((error.strerror or "cannot be read").lower())
        except UnicodeDecodeError:
            found.errors.append("is not UTF-8")
        except yaml.MarkedYAMLError as error:
            # Its text quotes the file.
            mark = error.problem_mark
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            found.errors.append(f"{where}is not YAML")
        except yaml.YAMLError:
            found.errors.append("is not YAML")
        else:
            if content is not None and not isinstance(content, dict):
                found.errors.append("must be a mapping of keys to values")
                content = {}
            for key, setting, value in _entries(content or {}, self.service):
                self._take(found, key, setting, value)
        return found

    def _take(self, found: Found, key: str, setting: str | None, value: Any) -> None:
        if setting is None or value is None:
            return
        in_own_section = key.startswith(f"{self.service}.")
        known = self.own if in_own_section else self.common
        if setting not in known and key not in GUIDE:
            keys = [*GUIDE, *self.common]
            if in_own_section:
                keys = [f"{self.service}.{each}" for each in self.own]
            close = get_close_matches(key, keys, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            found.errors.append(f"{key}: unknown key{hint}")
        elif setting in self.own and setting not in self.taken:
            found.keys[setting] = key
            try:
                found.values[setting] = _expanded(value)
            except KeyError as missing:
                found.errors.append(f"{key}: {missing.args[0]} is not set in the environment")
            except ValueError as error:
                found.errors.append(f"{key}: {error}")


def _entries(content: dict[Any, Any], service: str) -> Iterator[tuple[str, str | None, Any]]:
    """Key, setting (None for what only the charts read) and value."""
    for top, value in content.items():
        name = str(top)
        if name in SERVICES and name != service:
            continue
        if (name in _SECTIONS or name == service) and isinstance(value, dict):
            for inner, item in value.items():
                key = f"{name}.{inner}"
                yield key, str(inner) if name == service else GUIDE.get(key, key), item
        else:
            yield name, name, value


def _expanded(value: Any) -> Any:
    """`value` with references replaced, also within lists and mappings.

    Raises `KeyError` with the name of a variable that is not set, and `ValueError` for references of another form: they
    would be taken as they stand, a secret's too.
    """
    if isinstance(value, list):
        return [_expanded(each) for each in value]
    if isinstance(value, dict):
        return {key: _expanded(each) for key, each in value.items()}
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        name, otherwise = match.groups()
        content = os.environ.get(name)
        if content or (content is not None and otherwise is None):
            return content
        if otherwise is None:
            raise KeyError(name)
        return otherwise

    if "${" in _REFERENCE.sub("", value):
        raise ValueError("write references as ${NAME} or ${NAME:-default}")
    return _REFERENCE.sub(variable, value)
