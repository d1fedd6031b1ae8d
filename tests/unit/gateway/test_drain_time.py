"""The times of a stop have to fit each other."""

import pytest

from svgx_common.settings import load
from svgx_gateway.settings import GatewaySettings


def test_a_drain_fits_into_its_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves R-FAIL-16: else sockets would be closed all at once, when the time is up."""
    monkeypatch.setenv("DRAIN_NOTICE_SECONDS", "4")
    monkeypatch.setenv("WEBSOCKET_DRAIN_SECONDS", "3")
    monkeypatch.setenv("DRAIN_SECONDS", "6.5")
    with pytest.raises(SystemExit) as ended:
        load(GatewaySettings)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "DRAIN_SECONDS must be no less than" in line
    monkeypatch.setenv("DRAIN_SECONDS", "7")
    assert load(GatewaySettings).drain_seconds == 7
