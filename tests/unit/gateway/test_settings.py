"""Settings of the gateway."""

import pytest

from svgx_common.settings import load
from svgx_gateway.settings import GatewaySettings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "s" * 32)
    monkeypatch.delenv("CORS_ORIGINS", raising=False)


def test_in_production_origins_are_chosen_by_somebody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-HTTP-4: one line that names the variable."""
    assert load(GatewaySettings).cors_origins == "*"
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(SystemExit) as stopped:
        load(GatewaySettings)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "CORS_ORIGINS" in line


@pytest.mark.parametrize("origins", ["*", "https://draw.example.org"])
def test_whatever_was_chosen_holds(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    """Proves R-HTTP-4: any origin too, for who says so."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("CORS_ORIGINS", origins)
    assert load(GatewaySettings).cors_origins == origins
