"""The check whether another replica of collab is alive."""

import time
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from svgx_collab import app
from svgx_collab.app import is_alive
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.headers import HEADER_PROBE


@dataclass
class FakeBus:
    """A bus on which each request fails with `failure`. If `failure` is None, requests are answered.

    A request first blocks the event loop for `blocked_seconds`.
    """

    failure: Exception | None = None
    reachable: bool = True
    blocked_seconds: float = 0.0
    headers: list[Any] = field(default_factory=list)

    @property
    def connection(self) -> "FakeBus":
        return self

    async def request(self, subject: str, *, timeout: float, headers: dict[str, str]) -> None:
        """Answer, or fail."""
        assert (subject, timeout > 0) == ("svgx.replica.collab.other", True)
        self.headers.append(headers)
        time.sleep(self.blocked_seconds)  # noqa: ASYNC251  # blocks the event loop on purpose
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize(
    ("bus", "alive"),
    [
        (FakeBus(), True),
        (FakeBus(NoRespondersError()), False),
        (FakeBus(TimeoutError()), False),
        (FakeBus(TimeoutError(), reachable=False), True),
        (FakeBus(NatsError()), True),
    ],
)
async def test_replica_counts_as_frozen_only_while_nats_answers(bus: FakeBus, alive: bool) -> None:
    """The request is a probe, which the other replica answers without a health check. Proves R-FAIL-24."""
    assert await is_alive(cast(Bus, bus), "other") is alive
    assert bus.headers == [{HEADER_PROBE: "1"}]


@pytest.mark.parametrize(("longest_delay", "alive"), [(60.0, False), (0.05, True)])
async def test_overloaded_replica_does_not_take_a_silent_replica_for_dead(
    monkeypatch: pytest.MonkeyPatch, longest_delay: float, alive: bool
) -> None:
    """A replica that notices the timeout late may not have read the answer yet. Proves R-FAIL-24."""
    monkeypatch.setattr(app, "ALIVE_TIMEOUT", 0.02)
    monkeypatch.setattr(app, "LONGEST_DELAY_SECONDS", longest_delay)
    bus = FakeBus(TimeoutError(), blocked_seconds=0.1)
    assert await is_alive(cast(Bus, bus), "other") is alive
