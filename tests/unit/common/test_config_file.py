"""The configuration file: the guide's keys, and everything wrong at once."""

from pathlib import Path

import pytest

from svgx_auth.settings import AuthSettings
from svgx_collab.settings import CollabSettings
from svgx_common.settings import ServiceSettings, load
from svgx_gateway.settings import GatewaySettings
from svgx_state.settings import StateSettings
from tests.unit.house_rules.sources import ROOT

SECRET = "hunter2" * 6


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that `SVGX_CONFIG` names."""
    path = tmp_path / "config.yaml"
    monkeypatch.setenv("SVGX_CONFIG", str(path))
    return path


def complaints(kind: type[ServiceSettings], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is printed, without its beginning."""
    with pytest.raises(SystemExit) as ended:
        load(kind)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert "hunter2" not in printed
    lines = printed.splitlines()
    assert all(line.startswith("svgx: ") for line in lines)
    return [line.rpartition("config.yaml: ")[2].removeprefix("svgx: ") for line in lines]


def test_the_guides_file_configures_every_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-CONFIG-1 with `config/production.yaml` as it is delivered."""
    monkeypatch.setenv("SVGX_CONFIG", str(ROOT / "config/production.yaml"))
    monkeypatch.setenv("JWT_SECRET", SECRET)
    auth, state = load(AuthSettings), load(StateSettings)
    gateway, collab = load(GatewaySettings), load(CollabSettings)
    for settings in (auth, state, gateway, collab):
        assert settings.environment == "production"
        assert settings.health_check_interval == 30
        assert settings.prometheus_enabled
    assert state.postgres_url == "postgresql://user:pass@postgres:5432/svgx"
    assert (state.database_pool_size, state.database_connections) == (20, 50)
    assert (auth.jwt_expires_in, auth.jwt_secret.get_secret_value()) == (3600, SECRET)
    assert (gateway.redis_pool_size, gateway.rate_limit_requests_per_minute) == (10, 100)
    assert gateway.jwt_secret.get_secret_value() == SECRET
    assert collab.redis_url == "redis://redis-cluster:6379/0"


def test_environment_over_file_over_defaults(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-CONFIG-1."""
    write.write_text(
        "log_level: WARNING\ndrain_seconds: 7\napi_port: ${PORT:-81}\nenvironment: ${STAGE}${NONE:-!}\n"
        "security: {jwt_secret: '${NOWHERE}', rate_limit_requests_per_minute: 7}\n"
        "gateway: {hsts_seconds: 5, trusted_proxies: 10.0.0.0/8}\nstate: {anything: goes}\n"
    )
    monkeypatch.setenv("DRAIN_SECONDS", "9")
    monkeypatch.setenv("LOG_LEVEL", "")
    monkeypatch.setenv("STAGE", "test")
    # What the environment has is not looked for in the file, nor what that would need.
    monkeypatch.setenv("JWT_SECRET", SECRET)
    settings = load(GatewaySettings)
    assert (settings.drain_seconds, settings.log_level, settings.api_port) == (9, "WARNING", 81)
    assert (settings.environment, settings.hsts_seconds) == ("test!", 5)
    assert (settings.rate_limit_requests_per_minute, settings.trusted_proxies) == (7, "10.0.0.0/8")
    assert settings.redis_url == "redis://localhost:6379/0"


def test_everything_wrong_is_said_at_once(
    write: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-CONFIG-2: in the file and in the environment, one line each, without a value."""
    write.write_text(
        "log_levl: hunter2\napi_port: hunter2\nsecurity:\n  jwt_secret: ${MISSING}\n  jwt_secre: hunter2\n"
        "  cors_origins: ${A:?hunter2}\ndatabase: {pool_size: hunter2}\n"
        "gateway:\n  hsts_second: hunter2\n  trusted_proxies: hunter2\n"
    )
    monkeypatch.setenv("DRAIN_SECONDS", "hunter2")
    found = complaints(GatewaySettings, capsys)
    assert found[:5] == [
        "log_levl: unknown key; did you mean log_level?",
        "security.jwt_secret: MISSING is not set in the environment",
        "security.jwt_secre: unknown key; did you mean security.jwt_secret?",
        "security.cors_origins: write references as ${NAME} or ${NAME:-default}",
        "gateway.hsts_second: unknown key; did you mean gateway.hsts_seconds?",
    ]
    assert {line.partition(":")[0] for line in found[5:]} == {
        "DRAIN_SECONDS",
        "api_port",
        "gateway.trusted_proxies",
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a: [hunter2", "line 1, column 12: is not YAML"),
        ("hunter2: : x", "line 1, column 10: is not YAML"),
        ("- hunter2", "must be a mapping of keys to values"),
        ("hunter2", "must be a mapping of keys to values"),
        ("database: hunter2", "database: unknown key; did you mean database.url?"),
        ("a: !!python/object/apply:os.system [hunter2]", "line 1, column 4: is not YAML"),
        (None, "no such file or directory"),
    ],
)
def test_a_file_that_is_none(
    write: Path, capsys: pytest.CaptureFixture[str], content: str | None, complaint: str
) -> None:
    """Proves R-CONFIG-2."""
    if content is not None:
        write.write_text(content)
    assert complaints(CollabSettings, capsys) == [complaint]


def test_an_empty_file_is_one(write: Path) -> None:
    """Proves R-CONFIG-1."""
    write.write_text("# nothing\n")
    assert load(CollabSettings) == CollabSettings()


def test_references_within_lists_are_replaced(
    write: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-CONFIG-1: a client secret stands in a list of providers; one that is not set is said."""
    write.write_text(
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
    (line,) = complaints(AuthSettings, capsys)
    assert line == "auth.oidc_providers: CLIENT_SECRET is not set in the environment"
    write.write_text(
        "auth:\n  jwt_secret: ${JWT}\n  oidc_providers: [{name: a, issuer: 'hunter2'}]\n"
    )
    issuer, client_id = complaints(AuthSettings, capsys)
    assert issuer.startswith("auth.oidc_providers.0.issuer: ")
    assert client_id.startswith("auth.oidc_providers.0.client_id: ")
