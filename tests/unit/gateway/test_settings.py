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
