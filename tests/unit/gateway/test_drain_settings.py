"""The settings for a gateway's drain. Its parts must not take longer than the whole drain."""

import pytest

from svgx_common.settings import load
from svgx_gateway.settings import GatewaySettings


def test_drain_shorter_than_its_parts_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gateway does not start if notice and closing of sockets would take longer than the drain. Proves R-FAIL-16."""
    monkeypatch.setenv("DRAIN_NOTICE_SECONDS", "4")
    monkeypatch.setenv("WEBSOCKET_DRAIN_SECONDS", "3")
    monkeypatch.setenv("DRAIN_SECONDS", "6.5")
    with pytest.raises(SystemExit) as ended:
        load(GatewaySettings)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "DRAIN_SECONDS must be at least" in line
    monkeypatch.setenv("DRAIN_SECONDS", "7")
    assert load(GatewaySettings).drain_seconds == 7
