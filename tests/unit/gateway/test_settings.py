"""The settings of the gateway."""

import pytest

from svgx_common.settings import load
from svgx_gateway.settings import GatewaySettings


@pytest.mark.parametrize(
    ("environment", "setting", "allowed"),
    [
        ("development", None, "*"),
        ("production", None, ""),
        (" Production ", "", ""),
        ("production", "*", "*"),
        ("production", "https://draw.example.org", "https://draw.example.org"),
    ],
)
def test_production_allows_any_origin_only_if_cors_origins_is_a_star(
    monkeypatch: pytest.MonkeyPatch, environment: str, setting: str | None, allowed: str
) -> None:
    """In production, all origins are allowed only if the setting is `*`. Proves R-HTTP-4.

    The setting for WebSockets stays empty, so the same origins apply to them.
    """
    monkeypatch.setenv("ENVIRONMENT", environment)
    if setting is None:
        monkeypatch.delenv("CORS_ORIGINS", raising=False)
    else:
        monkeypatch.setenv("CORS_ORIGINS", setting)
    settings = load(GatewaySettings)
    assert settings.cors_origins == allowed
    assert settings.websocket_origins == ""


@pytest.mark.parametrize(
    ("value", "port"),
    [("", None), ("9100", 9100), ("1", 1), ("65535", 65535)],
)
def test_metrics_port_moves_the_metrics_only_when_it_is_set(
    monkeypatch: pytest.MonkeyPatch, value: str, port: int | None
) -> None:
    """An empty variable counts as not set. Proves R-LIMIT-15."""
    monkeypatch.setenv("METRICS_PORT", value)
    assert load(GatewaySettings).metrics_port == port


@pytest.mark.parametrize("value", ["0", "65536", "-1", "x", "9100.5", "8001"])
def test_gateway_refuses_to_start_with_a_wrong_metrics_port_and_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    """The port of the API is refused too. Proves R-CONFIG-2."""
    monkeypatch.setenv("API_PORT", "8001")
    monkeypatch.setenv("METRICS_PORT", value)
    with pytest.raises(SystemExit) as ended:
        load(GatewaySettings)
    assert ended.value.code == 2
    assert "METRICS_PORT" in capsys.readouterr().err


def test_settings_that_conflict_are_reported_together_with_other_mistakes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-CONFIG-2: a conflict is not reported if one of its settings is a mistake by itself."""
    wrong = {
        "ENVIRONMENT": "production",
        "JWT_SECRET": "short",
        "JWT_OTHER_SECRET": "x" * 32,
        "API_PORT": "8001",
        "METRICS_PORT": "8001",
        "LOG_LEVEL": "LOUD",
        "DRAIN_SECONDS": "x",
        "DRAIN_NOTICE_SECONDS": "600",
    }
    for key, content in wrong.items():
        monkeypatch.setenv(key, content)
    with pytest.raises(SystemExit):
        load(GatewaySettings)
    errors = capsys.readouterr().err
    expected = (
        "LOG_LEVEL: ",
        "DRAIN_SECONDS: ",
        "JWT_SECRET must have",
        "METRICS_PORT must differ",
    )
    assert [text for text in expected if text not in errors] == []
    assert len(errors.splitlines()) == len(expected)
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    monkeypatch.setenv("DRAIN_SECONDS", "5")
    with pytest.raises(SystemExit):
        load(GatewaySettings)
    errors = capsys.readouterr().err
    conflicts = ("DRAIN_SECONDS must be", "JWT_SECRET must have", "METRICS_PORT must differ")
    assert [text for text in conflicts if text not in errors] == []
    assert len(errors.splitlines()) == len(conflicts)
