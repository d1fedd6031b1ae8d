"""Settings and the messages about invalid ones."""

import pytest

from svgx_common.settings import PostgresSettings, ServiceSettings, load


class Settings(ServiceSettings, PostgresSettings):
    """The settings of a service with tables."""

    numbers: tuple[int, ...] = ()


VALID = {"POSTGRES_URL": "postgresql://user:hunter2@db:5432/svgx"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("API_PORT", "hunter2", "API_PORT: Input should be a valid integer"),
        ("API_PORT", "70000", "API_PORT: Input should be less than or equal to 65535"),
        ("LOG_LEVEL", "hunter2", "LOG_LEVEL: Input should be 'DEBUG'"),
        ("DRAIN_SECONDS", "-1", "DRAIN_SECONDS: Input should be greater"),
        ("NATS_URL", "http://user:hunter2@nats:4222", "NATS_URL: Value error, must be like nats"),
        ("NATS_URL", "nats://user:hunter2@nats:port", "NATS_URL: Value error, must be like nats"),
        ("NATS_URL", "nats://a:4222,http://hunter2", "NATS_URL: Value error, must be like nats"),
        ("POSTGRES_URL", "user:hunter2@db", "POSTGRES_URL: Value error, must be like postgresql"),
        ("POSTGRES_URL", "postgresql://u:hunter2/x@db/svgx", "POSTGRES_URL: Value error"),
        ("POSTGRES_URL", "postgresql://u:hunter2#x@db/svgx", "POSTGRES_URL: Value error"),
        ("POSTGRES_URL", "", "POSTGRES_URL: Field required"),
        ("NUMBERS", "[hunter2", "NUMBERS: Input should be a valid tuple, written as JSON"),
        ("NUMBERS", "[" * 50_000, "NUMBERS: Input should be a valid tuple, written as JSON"),
        ("NUMBERS", '["hunter2"]', "NUMBERS_0: Input should be a valid integer"),
        ("NATS_ULR", "hunter2", "NATS_ULR: unknown variable; did you mean NATS_URL?"),
        ("API_HOST", "hunter2:80", "API_HOST: Value error, must be the address"),
        ("API_HOST", "a..hunter2", "API_HOST: Value error, must be the address"),
        ("ENVIRONMENT", "producton", "ENVIRONMENT: Value error, did you mean production?"),
        ("ENVIRONMENT", "Prod", "ENVIRONMENT: Value error, did you mean production?"),
        ("DRAIN_SECONDS", "inf", "DRAIN_SECONDS: Input should be"),
        ("DRAIN_SECONDS", "nan", "DRAIN_SECONDS: Input should be"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2", "OTEL_EXPORTER_OTLP_ENDPOINT: must be a URL"),
    ],
)
def test_invalid_setting_ends_the_process_with_one_line_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    message: str,
) -> None:
    """Proves R-CONFIG-2: the exit status is 2, and the value is not printed because it may be a secret."""
    for key, content in {**VALID, name: value}.items():
        monkeypatch.setenv(key, content)
    with pytest.raises(SystemExit) as ended:
        load(Settings)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"svgx: {message}")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NATS_URL", "nats://user:p%40ss@one:4222,nats://two:4222"),
        ("NATS_URL", "tls://[::1]:4222"),
        ("POSTGRES_URL", "postgres://db/svgx"),
        ("POSTGRES_URL", "postgresql://user:p%2Fss@one:5432,two:5432/svgx?sslmode=require"),
        ("POSTGRES_URL", "postgresql:///svgx?host=/run/postgresql"),
    ],
)
def test_url_forms_of_the_nats_and_postgresql_clients_are_accepted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Proves R-CONFIG-2: several hosts, IPv6, escapes, query parameters and Unix sockets are accepted."""
    for key, content in {**VALID, name: value}.items():
        monkeypatch.setenv(key, content)
    assert getattr(load(Settings), name.lower()) == value


def test_all_mistakes_of_the_environment_are_reported_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-CONFIG-2: a value that is not JSON and a misspelt name hide no other mistake."""
    wrong = {"NUMBERS": "[", "API_PORT": "x", "LOG_LEVLE": "x", "POSTGRES_URL": "x"}
    for key, content in wrong.items():
        monkeypatch.setenv(key, content)
    with pytest.raises(SystemExit):
        load(Settings)
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.split(":")[1].strip() for line in lines) == sorted(wrong)


@pytest.mark.parametrize(
    ("host", "listening"),
    [
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("[::1]", "::1"),
        (" localhost ", "localhost"),
        ("pod-1.svgx.svc", "pod-1.svgx.svc"),
    ],
)
def test_host_is_an_address_or_a_name(
    monkeypatch: pytest.MonkeyPatch, host: str, listening: str
) -> None:
    """Proves R-CONFIG-2: IPv6 addresses are accepted with and without brackets."""
    for key, content in {**VALID, "API_HOST": host}.items():
        monkeypatch.setenv(key, content)
    assert load(Settings).api_host == listening


@pytest.mark.parametrize("name", ["production", "Production", "development", "staging", "eu-1"])
def test_environment_may_have_any_name_but_a_misspelt_production(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Proves R-CONFIG-2: `production` in any case, and names that do not resemble it, are accepted."""
    for key, content in {**VALID, "ENVIRONMENT": name}.items():
        monkeypatch.setenv(key, content)
    settings = load(Settings)
    assert (settings.environment, settings.in_production) == (name, name.lower() == "production")


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-CONFIG-1: compose files and Helm charts leave unused variables empty."""
    for key, content in {**VALID, "API_PORT": "", "DRAIN_SECONDS": ""}.items():
        monkeypatch.setenv(key, content)
    settings = load(Settings)
    assert (settings.api_port, settings.drain_seconds) == (8000, 5.0)
