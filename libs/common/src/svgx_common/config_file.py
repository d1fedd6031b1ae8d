"""The configuration file: YAML with the operations guide's keys, one file for all services.

A service reads three kinds of keys: the guide's keys, the names of settings that all services have, and the keys in the
section with the service's name. A key in this section takes precedence over the other two.

In a value, `${NAME}` stands for the value of the environment variable `NAME`. `${NAME:-text}` stands for that value
too, or for `text` if the variable is not set or is empty.
"""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from svgx_common.contract.operation import SERVICES

VARIABLE = "SVGX_CONFIG"
"""The environment variable that names the file."""

GUIDE_KEYS: dict[str, str | None] = {
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
    # No program reads these keys. The values of the Helm charts repeat the guide's numbers for them.
    "scaling.min_replicas": None,
    "scaling.max_replicas": None,
    "scaling.target_cpu_utilization": None,
}
"""The guide's keys, each with the setting that it sets; None when no service reads the key."""


_MERGE = "tag:yaml.org,2002:merge"
"""The tag of the key `<<`. PyYAML merges the mappings of all such keys, so none is lost."""


class _RepeatedKey(yaml.MarkedYAMLError):
    """A mapping has the same key twice."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, except that a date stays a text, and that a mapping has each key once."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return a mapping. Raise `_RepeatedKey` for a repeated key, because the entries of the first would be lost."""
        node = super().compose_mapping_node(anchor)
        known: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in known:
                raise _RepeatedKey(problem_mark=key.start_mark)
            known.add((key.tag, key.value))
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_SECTIONS = {key.partition(".")[0] for key in GUIDE_KEYS}
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


_CONSTRUCTION_ERRORS = (ArithmeticError, AttributeError, LookupError, RecursionError, ValueError)
"""Further errors of PyYAML: for values such as `!!int x`, and for deeply nested values."""


@dataclass(slots=True)
class FileContent:
    """The file's content for one service: the value of each setting, and the key that sets it.

    `errors` has one message for each mistake in the file. `references` has the environment variables to which the file
    refers.
    """

    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    references: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of the configuration file for one service.

    `own` has all settings of this service, and `common` the settings that every service has. Settings in `overridden`
    are set in the environment. Their values in the file are skipped, even if the values refer to variables that do not
    exist.
    """

    service: str
    own: Collection[str]
    common: Collection[str]
    overridden: Collection[str]

    def read(self, path: Path) -> FileContent:
        """Read the file. Messages about mistakes contain no values, because a value may be a secret."""
        content = FileContent()
        try:
            text = path.read_text(encoding="utf-8")
            content.references.update(match[1] for match in _REFERENCE.finditer(text))
            entries = _Loader(text).get_single_data()
        except OSError as error:
            content.errors.append((error.strerror or "cannot be read").lower())
        except UnicodeDecodeError:
            content.errors.append("is not UTF-8")
        except yaml.MarkedYAMLError as error:
            # Report only the position, because the error's text quotes the file.
            mark = error.problem_mark
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            fault = "repeats a key" if isinstance(error, _RepeatedKey) else "is not YAML"
            content.errors.append(where + fault)
        except (yaml.YAMLError, *_CONSTRUCTION_ERRORS):
            content.errors.append("is not YAML")
        else:
            if entries is not None and not isinstance(entries, dict):
                content.errors.append("must be a mapping of keys to values")
                entries = {}
            self._add_all(content, list(_entries(entries or {}, self.service)))
        return content

    def _add_all(self, content: FileContent, entries: list[tuple[str, str | None, Any]]) -> None:
        """Add all entries to the content. A setting in the service's section replaces the same setting elsewhere."""
        own = {
            setting
            for key, setting, value in entries
            if self._is_own(key) and setting is not None and value is not None
        }
        for key, setting, value in entries:
            is_replaced = setting in own and not self._is_own(key)
            self._add(content, key, setting, None if is_replaced else value)

    def _is_own(self, key: str) -> bool:
        """Return whether the key is in the section of the service."""
        return key.startswith(f"{self.service}.")

    def _add(self, content: FileContent, key: str, setting: str | None, value: Any) -> None:
        """Add the value of a key to the content, or a message about a mistake in the key or the value."""
        if setting is None:
            return
        in_own_section = self._is_own(key)
        known = self.own if in_own_section else self.common
        if setting not in known and key not in GUIDE_KEYS:
            keys = [*GUIDE_KEYS, *self.common]
            if in_own_section:
                keys = [f"{self.service}.{each}" for each in self.own]
            close = get_close_matches(key, keys, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            content.errors.append(f"{key}: unknown key{hint}")
        elif value is not None and setting in self.own and setting not in self.overridden:
            other = content.keys.setdefault(setting, key)
            try:
                expanded = _expand(value)
                if content.values.setdefault(setting, expanded) != expanded and other != key:
                    content.errors.append(f"{key}: {other} sets the same to another value")
            except KeyError as missing:
                content.errors.append(f"{key}: {missing.args[0]} is not set in the environment")
            except ValueError as error:
                content.errors.append(f"{key}: {error}")
            except RecursionError:  # an alias that refers to a mapping or list around itself
                content.errors.append(f"{key}: contains itself")


def _entries(content: dict[Any, Any], service: str) -> Iterator[tuple[str, str | None, Any]]:
    """Yield the key, the setting and the value of each entry. The setting is None when no service reads the key."""
    for top, value in content.items():
        name = str(top)
        if name in SERVICES and name != service:
            continue
        if (name in _SECTIONS or name == service) and isinstance(value, dict | None):
            for inner, item in (value or {}).items():
                key = f"{name}.{inner}"
                yield key, str(inner) if name == service else GUIDE_KEYS.get(key, key), item
        else:
            yield name, name, value


def _expand(value: Any) -> Any:
    """Return `value` with its references to environment variables replaced, also within lists and mappings.

    Raise `KeyError` with the name of a variable that is not set. Raise `ValueError` for a reference in another form,
    because its text would otherwise become the value, for example of a secret.
    """
    if isinstance(value, list):
        return [_expand(each) for each in value]
    if isinstance(value, dict):
        return {key: _expand(each) for key, each in value.items()}
    if not isinstance(value, str):
        return value

    def expand(match: re.Match[str]) -> str:
        name, default = match.groups()
        variable = os.environ.get(name)
        if variable or (variable is not None and default is None):
            return variable
        if default is None:
            raise KeyError(name)
        return default

    if "${" in _REFERENCE.sub("", value):
        raise ValueError("write references as ${NAME} or ${NAME:-default}")
    return _REFERENCE.sub(expand, value)
