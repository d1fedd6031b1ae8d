"""Environment variables that look like misspelt settings.

A slip is one wrong, missing or additional letter, or two swapped letters.
"""

import pytest

from svgx_common.configuration.variables import (
    UnknownVariable,
    edit_distance,
    unknown_variables,
)

SETTINGS = frozenset(
    {
        *("API_HOST", "API_PORT", "CORS_ORIGINS", "DATABASE_POOL_SIZE", "DRAIN_SECONDS"),
        *("ENVIRONMENT", "JWT_SECRET", "LOG_FORMAT", "LOG_LEVEL", "NATS_URL", "POSTGRES_URL"),
        *("RATE_LIMIT_REQUESTS_PER_MINUTE", "REDIS_URL", "WEBSOCKET_MAX_CONNECTIONS"),
        *("WEBSOCKET_MAX_FRAME_BYTES", "SVGX_ADMIN_PASSWORD"),
    }
)


REQUIRED = frozenset({"JWT_SECRET", "POSTGRES_URL"})


def unknown(*names: str) -> list[UnknownVariable]:
    """Return the unknown variables in an environment with these variables."""
    return list(unknown_variables(SETTINGS, dict.fromkeys(names, "value"), required=REQUIRED))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("NATS_ULR", "NATS_URL"),
        ("nats_urls", "NATS_URL"),
        ("REDIS_UR", "REDIS_URL"),
        ("REDSI_URL", "REDIS_URL"),
        ("POSTGRESS_URL", "POSTGRES_URL"),
        ("POSTGRE_URL", "POSTGRES_URL"),
        ("POSTGRES-URL", "POSTGRES_URL"),
        ("POSTGRES_URI", "POSTGRES_URL"),
        ("JWTSECRET", "JWT_SECRET"),
        ("JWT_SECERT", "JWT_SECRET"),
        ("JWT_SECRETS", "JWT_SECRET"),
        ("LOG_LVL", "LOG_LEVEL"),
        ("LOG_LEVLE", "LOG_LEVEL"),
        ("API_PROT", "API_PORT"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("CORS_ORGINS", "CORS_ORIGINS"),
        ("DRAIN_SECOND", "DRAIN_SECONDS"),
        ("ENVIROMENT", "ENVIRONMENT"),
        ("RATE_LIMIT_REQUEST_PER_MINUTE", "RATE_LIMIT_REQUESTS_PER_MINUTE"),
        ("RATE_LIMITS_REQUEST_PER_MINUTE", "RATE_LIMIT_REQUESTS_PER_MINUTE"),
        ("WEBSOCKETS_MAX_CONNECTION", "WEBSOCKET_MAX_CONNECTIONS"),
        ("SVGX_CONFG", "SVGX_CONFIG"),
        ("SVGX_ADMIN_PASWORD", "SVGX_ADMIN_PASSWORD"),
    ],
)
def test_misspelt_variable_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    """Proves R-CONFIG-5: the service does not start, because the setting with the nearest name is not set."""
    assert unknown(name) == [UnknownVariable(name.upper(), nearest, refused=True)]
    # The setting itself is set, so the other variable may belong to another program.
    assert unknown(name, nearest) == [UnknownVariable(name.upper(), nearest, refused=False)]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("NATS_URI", "NATS_URL"),
        ("REDIS_URI", "REDIS_URL"),
        ("NATS-URI", "NATS_URL"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("LOG-LEVEL", "LOG_LEVEL"),
        ("APIPORT", "API_PORT"),
        ("DATABASE_POOLSIZE", "DATABASE_POOL_SIZE"),
        ("SVGX_URI", "SVGX_URL"),
        ("SVGX_HOMES", "SVGX_HOME"),
        ("SVGX_ADMIN_EMIAL", "SVGX_ADMIN_EMAIL"),
        ("OTEL_EXPORTER_OTLP_ENDPONT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_TRACE_SAMPLER", "OTEL_TRACES_SAMPLER"),
    ],
)
def test_slip_that_may_be_a_name_of_another_program_gives_a_warning(
    name: str, nearest: str
) -> None:
    """Proves R-CONFIG-5: the service starts if other programs may use the name, and the setting has a default.

    It also starts if the nearest name is a variable of a tool or of OpenTelemetry.
    """
    assert unknown(name) == [UnknownVariable(name, nearest, refused=False)]


@pytest.mark.parametrize("reverse", [False, True])
def test_nearest_of_several_settings_does_not_depend_on_their_order(reverse: bool) -> None:
    """Proves R-CONFIG-5: the service's setting with the smallest edit distance to the variable is named.

    The service starts if one of the settings with a similar name is set.
    """
    settings = sorted(("API_PORT", "API_PORTS", "APIS_PORT"), reverse=reverse)

    def of(*names: str) -> list[UnknownVariable]:
        return list(unknown_variables(settings, dict.fromkeys(names, "value")))

    assert of("API_PRT") == [UnknownVariable("API_PRT", "API_PORT", refused=True)]
    assert of("API_PRT", "APIS_PORT") == [UnknownVariable("API_PRT", "API_PORT", refused=False)]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("RATE_LIMIT_PER_MINUTE", "RATE_LIMIT_REQUESTS_PER_MINUTE"),
        ("WEBSOCKET_MAX_FRAME_SIZE", "WEBSOCKET_MAX_FRAME_BYTES"),
        ("CORS_ALLOWED_ORIGINS", "CORS_ORIGINS"),
        ("SVGX_CONFIG_FILE", "SVGX_CONFIG"),
        ("SVGX_ADMIN_PASS", "SVGX_ADMIN_PASSWORD"),
    ],
)
def test_variable_that_begins_like_a_setting_gives_a_warning(name: str, nearest: str) -> None:
    """Proves R-CONFIG-5: the service starts, and the log names the nearest setting."""
    assert unknown(name) == [UnknownVariable(name, nearest, refused=False)]


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "HOSTNAME", "PWD", "LANG", "TZ", "TERM", "SHLVL", "GPG_KEY", "_"),
        *("PYTHON_VERSION", "PYTHONUNBUFFERED", "VIRTUAL_ENV", "PIP_NO_CACHE_DIR", "LC_ALL"),
        *("KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT_443_TCP_ADDR", "SVGX_AUTH_SERVICE_HOST"),
        *("SVGX_GATEWAY_PORT", "SVGX_GATEWAY_PORT_8000_TCP", "SVGX_AUTH_SERVICE_PORT_HTTP"),
        *("NATS_PORT", "NATS_PORT_4222_TCP", "REDIS_SERVICE_PORT", "POSTGRES_PORT_5432_TCP_PROTO"),
        *("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "POSTGRES_HOST", "PGHOST"),
        *("REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB", "REDIS_SSL", "REDIS_ACL"),
        *("NATS_USER", "NATS_VERSION", "NATS_SERVER", "DATABASE_URL", "DATABASE_HOST"),
        *("APP_HOST", "APP_PORT", "APP_ENV", "API_KEY", "API_URL", "API_TOKEN", "WEB_PORT"),
        *("LOG_FILE", "LOG_PATH", "LOG_DIR", "LOGNAME", "LOG_COLOR", "JWT_ISSUER", "JWT_KEY"),
        *("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_PYTHON_LOG_CORRELATION"),
        *("HTTP_PROXY", "NO_PROXY", "MALLOC_ARENA_MAX", "SSL_CERT_FILE", "AWS_REGION", "NODE_ENV"),
        *("SVGX_URL", "SVGX_HOME", "SVGX_ADMIN_EMAIL", "CI", "DEBUG", "PORT", "HOST", "SECRET"),
    ],
)
def test_variable_of_another_program_is_ignored(name: str) -> None:
    """Proves R-CONFIG-5: variables of the image, of Kubernetes and of other programs have no effect."""
    assert unknown(name) == []


def test_empty_variable_is_ignored() -> None:
    """Proves R-CONFIG-5: compose files leave unused variables empty."""
    assert list(unknown_variables(SETTINGS, {"NATS_ULR": ""})) == []


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("", "", 0),
        ("URL", "URL", 0),
        ("URL", "", 3),
        ("ULR", "URL", 1),
        ("SECERT", "SECRET", 1),
        ("LVL", "LEVEL", 2),
        ("USER", "URL", 3),
        ("kitten", "sitting", 3),
    ],
)
def test_edit_distance_counts_slips(one: str, other: str, distance: int) -> None:
    """Two swapped neighbouring letters are one slip. Proves R-CONFIG-5."""
    assert edit_distance(one, other) == edit_distance(other, one) == distance
