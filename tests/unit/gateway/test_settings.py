"""Settings of the gateway."""

import pytest

from svgx_common.settings import load
from svgx_gateway.settings import GatewaySettings


@pytest.mark.parametrize(
    ("environment", "said", "allowed"),
    [
        ("development", None, "*"),
        ("production", None, ""),
        (" Production ", "", ""),
        ("production", "*", "*"),
        ("production", "https://draw.example.org", "https://draw.example.org"),
    ],
)
def test_in_production_any_origin_must_be_said(
    monkeypatch: pytest.MonkeyPatch, environment: str, said: str | None, allowed: str
) -> None:
    """Proves R-HTTP-4; for WebSockets, too, as long as they have no origins of their own."""
    monkeypatch.setenv("ENVIRONMENT", environment)
    if said is None:
        monkeypatch.delenv("CORS_ORIGINS", raising=False)
    else:
        monkeypatch.setenv("CORS_ORIGINS", said)
    settings = load(GatewaySettings)
    assert settings.cors_origins == allowed
    assert settings.websocket_origins == ""
