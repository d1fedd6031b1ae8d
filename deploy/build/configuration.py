"""The JSON schema of a chart's value `config`: the keys that the service reads from its configuration file.

The chart sets some keys as environment variables: addresses, secrets, the place of backups, the number of password
workers, whether a replica is reserved for busy canvases, and the times of the drain. The schema leaves these keys out,
because a variable overrides the file.
"""

from typing import Any

from svgx_auth.settings import AuthSettings
from svgx_collab.settings import CollabSettings
from svgx_common.config_file import GUIDE_KEYS
from svgx_common.settings import ServiceSettings
from svgx_gateway.settings import GatewaySettings
from svgx_state.settings import StateSettings

SETTINGS: dict[str, type[ServiceSettings]] = {
    "auth": AuthSettings,
    "collab": CollabSettings,
    "state": StateSettings,
    "gateway": GatewaySettings,
}

SET_BY_THE_CHART = {
    "api_host",
    "api_port",
    "backup_key",
    "backup_url",
    "drain_notice_seconds",
    "drain_seconds",
    "jwt_other_secret",
    "jwt_secret",
    "nats_nkey_seed",
    "nats_url",
    "password_workers",
    "postgres_url",
    "redis_url",
    "reserved",
    "svgx_admin_email",
    "svgx_admin_password",
    "svgx_admin_username",
    "websocket_drain_seconds",
}

READ_BY_THE_CHART = {"metrics_port": {"type": "integer", "minimum": 1, "maximum": 65535}}
"""The schema of each key from which the chart also makes Kubernetes objects."""


def schema(service: str) -> dict[str, Any]:
    """Return the schema for the chart of a service. The service itself checks the values at its start."""
    sections: dict[str, set[str]] = {service: set(SETTINGS[service].model_fields)}
    for key, setting in GUIDE_KEYS.items():
        if setting is not None and setting not in SET_BY_THE_CHART:
            section, _, name = key.partition(".")
            sections.setdefault(section, set()).add(name)
    properties = _keys(set(ServiceSettings.model_fields))
    for section, names in sections.items():
        properties[section] = _object(_keys(names))
    return _object(properties)


def _keys(names: set[str]) -> dict[str, Any]:
    """Return a property for each name that is not in `SET_BY_THE_CHART`. Only `READ_BY_THE_CHART` have a type."""
    return {name: READ_BY_THE_CHART.get(name, {}) for name in sorted(names - SET_BY_THE_CHART)}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}
