"""Settings of the auth service."""

import pytest

from svgx_auth.settings import AuthSettings
from svgx_common.settings import load


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "postgresql://localhost/svgx")
    monkeypatch.setenv("JWT_SECRET", "short")


def test_short_secret_is_accepted_in_development() -> None:
    """Proves R-AUTH-3: outside production, a short secret is accepted."""
    assert load(AuthSettings).jwt_secret.get_secret_value() == "short"


@pytest.mark.parametrize("name", ["production", "Production", " PRODUCTION "])
def test_short_secret_stops_the_start_in_production(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Proves R-AUTH-3: the error is one line that names the variable and does not contain the secret."""
    monkeypatch.setenv("ENVIRONMENT", name)
    with pytest.raises(SystemExit) as stopped:
        load(AuthSettings)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "JWT_SECRET" in line
    assert "short" not in line


def test_secret_of_32_bytes_is_accepted_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-AUTH-3: the minimum counts bytes, not characters."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("JWT_SECRET", "é" * 16)
    assert load(AuthSettings).environment == "production"


def test_idle_time_below_the_access_token_lifetime_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-AUTH-12: a session must not end before its access token, because clients refresh when the token ends."""
    monkeypatch.setenv("JWT_EXPIRES_IN", "7200")
    monkeypatch.setenv("REFRESH_IDLE_EXPIRES_IN", "7199")
    with pytest.raises(SystemExit):
        load(AuthSettings)
    assert "REFRESH_IDLE_EXPIRES_IN" in capsys.readouterr().err
    monkeypatch.setenv("REFRESH_IDLE_EXPIRES_IN", "7200")
    load(AuthSettings)


def test_argon2_parameters_below_the_minimum_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-AUTH-2: Argon2id parameters below OWASP's minimum stop the start."""
    monkeypatch.setenv("ARGON2_MEMORY_KIB", "1024")
    with pytest.raises(SystemExit):
        load(AuthSettings)


@pytest.mark.parametrize(
    ("workers", "connections", "slots"),
    [("1", "10", 2), ("4", "10", 7), ("64", "7", 5), ("64", "200", 128), ("2", "1", 1)],
)
def test_passwords_use_at_most_three_quarters_of_the_database_connections(
    monkeypatch: pytest.MonkeyPatch, workers: str, connections: str, slots: int
) -> None:
    """Proves R-AUTH-40: at most two requests run for each worker. One request may run even with one connection."""
    monkeypatch.setenv("PASSWORD_WORKERS", workers)
    monkeypatch.setenv("DATABASE_POOL_SIZE", connections)
    assert load(AuthSettings).password_slots == slots
