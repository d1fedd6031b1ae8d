"""Auth may start before the state service, to which it relays events."""

import asyncio
from typing import Any

import pytest

from svgx_common import background
from svgx_common.messaging.bus import Bus
from svgx_devstack import DevStack
from tests.integration.auth.conftest import replica
from tests.integration.auth.test_accounts import create


class RelayLog:
    """A replacement for a logger. It keeps the level of each line about the relay of events."""

    def __init__(self) -> None:
        self.levels: asyncio.Queue[str] = asyncio.Queue()

    def info(self, _: str, **fields: Any) -> None:
        """Note a line of the level `info`."""
        self._note("info", fields)

    def warning(self, _: str, **fields: Any) -> None:
        """Note a warning."""
        self._note("warning", fields)

    def _note(self, level: str, fields: dict[str, Any]) -> None:
        if fields.get("work") == "relay events":
            self.levels.put_nowait(level)


async def test_missing_state_service_causes_no_warning_at_the_start_of_auth(
    backing: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-OBS-16: before the state service runs, auth logs at the level `info` that it cannot relay an event."""
    log = RelayLog()
    monkeypatch.setattr(background, "log", log)
    async with replica(backing):
        bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "test")
        try:
            await create(bus)
            async with asyncio.timeout(20):
                assert await log.levels.get() == "info"
        finally:
            await bus.close()
