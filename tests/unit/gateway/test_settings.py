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
def test_production_allows_any_origin_only_when_it_is_set(
    monkeypatch: pytest.MonkeyPatch, environment: str, setting: str | None, allowed: str
) -> None:
    """In production `*` has to be set. WebSockets use the same origins unless they have their own. Proves R-HTTP-4."""
    monkeypatch.setenv("ENVIRONMENT", environment)
    if setting is None:
        monkeypatch.delenv("CORS_ORIGINS", raising=False)
    else:
        monkeypatch.setenv("CORS_ORIGINS", setting)
    settings = load(GatewaySettings)
    assert settings.cors_origins == allowed
    assert settings.websocket_origins == ""
