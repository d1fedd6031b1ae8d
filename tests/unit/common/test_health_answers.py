"""The answers of a replica to requests for its health."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

from nats.aio.msg import Msg

from svgx_common.health import Health
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.headers import HEADER_PROBE
from svgx_common.messaging.responder import ProbeAnswer
from svgx_common.runtime import answer_health


@dataclass
class FakeBus:
    """A bus that notes the answers."""

    replica_id: str = "one"
    answers: list[bytes] = field(default_factory=list)

    async def respond(self, reply: str, content: bytes) -> None:
        """Note an answer."""
        assert reply == "inbox"
        self.answers.append(content)


@dataclass
class FakeMessage:
    """A request with these headers."""

    headers: dict[str, str] | None
    reply: str = "inbox"


async def test_health_probe_does_not_wait_for_checks() -> None:
    """A holder that waits for Redis is not frozen, so it answers probes and keeps its canvases. Proves R-FAIL-24."""
    health, bus = Health("collab", "one", "0"), FakeBus()
    health.watch("redis", asyncio.Event().wait)  # type: ignore[arg-type]  # it never returns
    message = cast(Msg, FakeMessage({HEADER_PROBE: "1"}))
    async with asyncio.timeout(10):
        await answer_health(cast(Bus, bus), health, message)
    (answer,) = bus.answers
    assert ProbeAnswer.model_validate_json(answer).replica == "one"


async def test_health_request_without_a_probe_gets_the_report() -> None:
    """The answer is the report as JSON. Proves R-OBS-3."""
    health, bus = Health("collab", "one", "0"), FakeBus()
    await answer_health(cast(Bus, bus), health, cast(Msg, FakeMessage(None)))
    assert bus.answers == [(await health.report()).model_dump_json().encode()]
