"""The configuration file: its keys, its references to variables, and the messages about its mistakes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from svgx_auth.settings import AuthSettings
from svgx_collab.settings import CollabSettings
from svgx_common.settings import ServiceSettings, load
from svgx_gateway.settings import GatewaySettings
from svgx_state.settings import StateSettings
from svgx_state.values.types import DEFAULT_TYPES
from tests.unit.house_rules.sources import ROOT

SECRET = "hunter2" * 6


@pytest.fixture
def config_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path that `SVGX_CONFIG` names. The file does not exist yet."""
    path = tmp_path / "config.yaml"
    monkeypatch.setenv("SVGX_CONFIG", str(path))
    return path


def messages(kind: type[ServiceSettings], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the messages that loading the settings prints, without their prefix."""
    with pytest.raises(SystemExit) as exit_:
        load(kind)
    assert exit_.value.code == 2
    printed = capsys.readouterr().err
    assert "hunter2" not in printed
    lines = printed.splitlines()
    assert all(line.startswith("svgx: ") for line in lines)
    return [line.rpartition("config.yaml: ")[2].removeprefix("svgx: ") for line in lines]


def test_production_file_configures_every_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-CONFIG-1 with `config/production.yaml`."""
    monkeypatch.setenv("SVGX_CONFIG", str(ROOT / "config/production.yaml"))
    monkeypatch.setenv("JWT_SECRET", SECRET)
    auth, state = load(AuthSettings), load(StateSettings)
    gateway, collab = load(GatewaySettings), load(CollabSettings)
    for settings in (auth, state, gateway, collab):
        assert settings.environment == "production"
        assert settings.health_check_interval == 30
        assert settings.prometheus_enabled
    assert state.postgres_url == "postgresql://user:pass@postgres:5432/svgx"
    assert (state.database_pool_size, state.database_connections) == (3, 3)
    assert (auth.jwt_expires_in, auth.jwt_secret.get_secret_value()) == (3600, SECRET)
    assert (gateway.redis_pool_size, gateway.rate_limit_requests_per_minute) == (10, 100)
    assert gateway.jwt_secret.get_secret_value() == SECRET
    assert collab.redis_url == state.redis_url == "redis://redis-cluster:6379/0"
    assert state.state_types == DEFAULT_TYPES


def test_environment_overrides_the_file_and_the_file_overrides_defaults(
    config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-CONFIG-1: each setting is taken from the first source that has it."""
    config_path.write_text(
        "log_level: WARNING\ndrain_seconds: 7\napi_port: ${PORT:-81}\nenvironment: ${STAGE}${NONE:-!}\n"
        "security: {jwt_secret: '${NOWHERE}', rate_limit_requests_per_minute: 7}\n"
        "gateway: {hsts_seconds: 5, trusted_proxies: 10.0.0.0/8}\nstate: {anything: goes}\n"
    )
    monkeypatch.setenv("DRAIN_SECONDS", "9")
    monkeypatch.setenv("LOG_LEVEL", "")
    monkeypatch.setenv("STAGE", "test")
    # The environment has the secret, so the reference in the file to the unset variable `NOWHERE` is not an error.
    monkeypatch.setenv("JWT_SECRET", SECRET)
    settings = load(GatewaySettings)
    assert (settings.drain_seconds, settings.log_level, settings.api_port) == (9, "WARNING", 81)
    assert (settings.environment, settings.hsts_seconds) == ("test!", 5)
    assert (settings.rate_limit_requests_per_minute, settings.trusted_proxies) == (7, "10.0.0.0/8")
    assert settings.redis_url == "redis://localhost:6379/0"


def test_variable_that_the_file_refers_to_is_not_reported(
    config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-CONFIG-5: `REDIS_URI` does not count as a misspelt `REDIS_URL`, because the file refers to it."""
    config_path.write_text("redis: {url: '${REDIS_URI}'}\n")
    monkeypatch.setenv("REDIS_URI", "redis://other:6379/0")
    assert load(CollabSettings).redis_url == "redis://other:6379/0"


def test_all_mistakes_are_reported_at_once(
    config_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-CONFIG-2: each mistake has a line without the value, except mistakes in settings of other services."""
    config_path.write_text(
        "log_levl: hunter2\napi_port: hunter2\nsecurity:\n  jwt_secret: ${MISSING}\n  jwt_secre: hunter2\n"
        "  cors_origins: ${A:?hunter2}\ndatabase: {pool_size: hunter2}\n"
        "gateway:\n  hsts_second: hunter2\n  trusted_proxies: hunter2\n"
    )
    monkeypatch.setenv("DRAIN_SECONDS", "hunter2")
    lines = messages(GatewaySettings, capsys)
    assert lines[:5] == [
        "log_levl: unknown key; did you mean log_level?",
        "security.jwt_secret: MISSING is not set in the environment",
        "security.jwt_secre: unknown key; did you mean security.jwt_secret?",
        "security.cors_origins: write references as ${NAME} or ${NAME:-default}",
        "gateway.hsts_second: unknown key; did you mean gateway.hsts_seconds?",
    ]
    assert {line.partition(":")[0] for line in lines[5:]} == {
        "DRAIN_SECONDS",
        "api_port",
        "gateway.trusted_proxies",
    }


def test_unknown_key_without_a_value_is_reported(
    config_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-CONFIG-2: a misspelt key is a mistake with and without a value. A known key may have no value."""
    config_path.write_text(
        "database: {ulr: }\nlog_levl:\nlog_level:\nnats:\nmonitoring: {}\nscaling: {min_replicas: }\n"
        "collab:\n  log_format:\n  log_formt:\n"
    )
    assert messages(CollabSettings, capsys) == [
        "database.ulr: unknown key; did you mean database.url?",
        "log_levl: unknown key; did you mean log_level?",
        "collab.log_formt: unknown key; did you mean collab.log_format?",
    ]
    config_path.write_text("database:\nnats: {url: }\ncollab:\n")
    assert load(CollabSettings) == CollabSettings()


@pytest.mark.parametrize("first", ["general", "own"])
def test_key_of_the_service_precedes_the_general_key_in_any_order(
    config_path: Path, first: str
) -> None:
    """Proves R-CONFIG-1: the reference of the replaced key may name a variable that is not set."""
    general, own = "nats: {url: '${NOWHERE}'}\n", "collab: {nats_url: nats://own:4222}\n"
    config_path.write_text(general + own if first == "general" else own + general)
    assert load(CollabSettings).nats_url == "nats://own:4222"


def test_settings_that_are_equal_or_merged_are_no_repetition(config_path: Path) -> None:
    """Proves R-CONFIG-1: two keys may set one value, and a mapping may replace a key that it merges."""
    config_path.write_text(
        "nats: {url: nats://a:4222}\nnats_url: nats://a:4222\n"
        "auth: &shared {log_level: DEBUG}\ncollab: &merged {<<: *shared, log_level: ERROR}\n"
        "state: {<<: *merged, <<: *shared, log_level: INFO}\n"
    )
    settings = load(CollabSettings)
    assert (settings.nats_url, settings.log_level) == ("nats://a:4222", "ERROR")


@pytest.fixture
def recursion_limit() -> Iterator[None]:
    """Set Python's usual limit of recursion, because other tests of the process may have raised it."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [hunter2", "line 1, column 12: is not YAML"),
        ("hunter2: : x", "line 1, column 10: is not YAML"),
        ("- hunter2", "must be a mapping of keys to values"),
        ("hunter2", "must be a mapping of keys to values"),
        ("database: hunter2", "database: unknown key; did you mean database.url?"),
        ("a: !!python/object/apply:os.system [hunter2]", "line 1, column 4: is not YAML"),
        ("nats:\n  url: a\n  url: hunter2", "line 3, column 3: repeats a key"),
        ("security: {jwt_secret: hunter2}\na: 1\nsecurity:", "line 3, column 1: repeats a key"),
        (
            "nats: {url: nats://a:4222}\nnats_url: hunter2",
            "nats_url: nats.url sets the same to another value",
        ),
        ("a: !!int hunter2", "is not YAML"),
        ("a: !!int ''", "is not YAML"),
        ("a: !!bool hunter2", "is not YAML"),
        ("a: !!timestamp hunter2", "is not YAML"),
        ("a: !!timestamp 2026-02-30", "is not YAML"),
        ("a: " + "[" * 5000, "is not YAML"),
        ("nats_url: &a [hunter2, *a]", "nats_url: contains itself"),
        ("nats: &a {url: *a}", "nats.url: contains itself"),
        ("collab: &a {log_level: {hunter2: *a}}", "collab.log_level: contains itself"),
        (None, "no such file or directory"),
    ],
)
@pytest.mark.usefixtures("recursion_limit")
def test_unreadable_file_is_reported(
    config_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    message: str,
) -> None:
    """Proves R-CONFIG-2: the message has the key, or the position of a syntax error if it is known, and no content."""
    if content is not None:
        config_path.write_text(content)
    assert messages(CollabSettings, capsys) == [message]


@pytest.mark.parametrize("text", ["2026-02-28", "2026-02-30", "2026-02-28 12:00:00"])
def test_value_in_the_form_of_a_date_is_a_text(
    config_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Proves R-CONFIG-1: a password in the form of a date is used as it stands."""
    monkeypatch.setenv("JWT_SECRET", SECRET)
    monkeypatch.setenv("POSTGRES_URL", "postgresql://user:pass@postgres:5432/svgx")
    config_path.write_text(f"auth: {{svgx_admin_password: {text}}}\n")
    assert load(AuthSettings).svgx_admin_password.get_secret_value() == text


def test_empty_file_leaves_the_defaults(config_path: Path) -> None:
    """Proves R-CONFIG-1: a file may contain only comments."""
    config_path.write_text("# nothing\n")
    assert load(CollabSettings) == CollabSettings()


def test_references_within_lists_are_replaced_and_missing_variables_reported(
    config_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-CONFIG-1: a sign-in provider in a list may refer to a variable for its client secret."""
    config_path.write_text(
        """
        auth:
          jwt_secret: ${JWT}
          public_url: https://draw.example.org
          oidc_providers:
            - name: corporate
              issuer: https://id.example.org
              client_id: svgx
              client_secret: ${CLIENT_SECRET}
        """
    )
    monkeypatch.setenv("JWT", SECRET)
    monkeypatch.setenv("POSTGRES_URL", "postgresql://localhost/svgx")
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    (provider,) = load(AuthSettings).oidc_providers
    assert provider.client_secret is not None
    assert provider.client_secret.get_secret_value() == SECRET
    monkeypatch.delenv("CLIENT_SECRET")
    (line,) = messages(AuthSettings, capsys)
    assert line == "auth.oidc_providers: CLIENT_SECRET is not set in the environment"
    config_path.write_text(
        "auth:\n  jwt_secret: ${JWT}\n  oidc_providers: [{name: a, issuer: 'hunter2'}]\n"
    )
    issuer, client_id = messages(AuthSettings, capsys)
    assert issuer.startswith("auth.oidc_providers.0.issuer: ")
    assert client_id.startswith("auth.oidc_providers.0.client_id: ")
