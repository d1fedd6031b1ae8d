"""The links to the gateways. A flush sends each gateway the parts of all canvases together.

A part is a broadcast, a canvas's presence, a receipt or a refusal.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter, Histogram

from svgx_common.contract.collab import (
    LINK_TO_GATEWAY,
    LinkBroadcast,
    LinkPresence,
    LinkReceipt,
    LinkRefusal,
    LinkToGateway,
)
from svgx_common.contract.errors import Unavailable
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.link_codec import encode_to_gateway

log = structlog.get_logger(__name__)

MAX_PART_BYTES = 128 * 1024
"""Largest update on a link, in bytes.

A larger update is sent alone, on its canvas's own subject, so that it delays no other canvas.
"""

MAX_MESSAGE_BYTES = 256 * 1024
"""Size of a message's parts, in bytes, beyond which the next part begins another message.

The last part of a message may exceed this size. Even so, the message is below NATS's `max_payload`.
"""

PART_OVERHEAD_BYTES = 128
"""Bytes that are counted for the ids and numbers of one part."""

MESSAGES = Counter("svgx_engine_collab_link_messages", "Messages on the links to gateways.")
PARTS = Histogram(
    "svgx_engine_collab_link_parts",
    "Broadcasts, presence, receipts and refusals in one message to a gateway.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)

_GATEWAY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_gateway_id(text: str) -> bool:
    """Return whether the text is allowed as a gateway's id. The id becomes part of a NATS subject."""
    return _GATEWAY_ID.fullmatch(text) is not None


@dataclass(slots=True)
class _Message:
    """The parts of one message to a gateway, and their bytes."""

    broadcasts: list[LinkBroadcast] = field(default_factory=list)
    presence: list[LinkPresence] = field(default_factory=list)
    receipts: list[LinkReceipt] = field(default_factory=list)
    refusals: list[LinkRefusal] = field(default_factory=list)
    size: int = 0

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self.broadcasts) + len(self.presence) + len(self.receipts) + len(self.refusals)


class GatewayLinks:
    """The parts that wait for the next flush, by gateway. `on_part` is called for each new part, without arguments."""

    def __init__(self, bus: Bus, on_part: Callable[[], None]) -> None:
        self._bus = bus
        self._on_part = on_part
        self._waiting: dict[str, list[_Message]] = {}

    @property
    def is_empty(self) -> bool:
        """True when no part waits for the next flush."""
        return not self._waiting

    def broadcast(self, gateway: str, broadcast: LinkBroadcast) -> None:
        """Add the broadcast of one canvas."""
        self._message(gateway, len(broadcast.update)).broadcasts.append(broadcast)

    def presence(self, gateway: str, presence: LinkPresence) -> None:
        """Add the presence of one canvas."""
        self._message(gateway, len(presence.update)).presence.append(presence)

    def receipt(self, gateway: str, receipt: LinkReceipt) -> None:
        """Add the receipt of a batch that is committed."""
        self._message(gateway, 8 * len(receipt.rejected)).receipts.append(receipt)

    def refuse(self, gateway: str, number: int, *, same_holder: bool) -> None:
        """Add the refusal of a batch. The gateway sends the batch again, in a separate request.

        `same_holder` means that this replica holds the canvas, and may accept the batch later.
        """
        self._message(gateway, 0).refusals.append(LinkRefusal(number, int(same_holder)))

    async def flush(self) -> int:
        """Send all parts. Return the largest number of parts for one gateway.

        If NATS is unreachable for too long, parts are lost. The gateways then notice the gap in the broadcasts, and
        resend the batches that have no receipt.
        """
        waiting, self._waiting = self._waiting, {}
        most = 0
        for gateway, messages in waiting.items():
            subject = LINK_TO_GATEWAY.subject_of(gateway_id=gateway)
            most = max(most, sum(map(len, messages)))
            for parts in messages:
                message = LinkToGateway(
                    tuple(parts.broadcasts),
                    tuple(parts.presence),
                    tuple(parts.receipts),
                    tuple(parts.refusals),
                )
                MESSAGES.inc()
                PARTS.observe(len(parts))
                try:
                    await self._bus.publish(subject, encode_to_gateway(message))
                except Unavailable:
                    log.warning("a message to a gateway could not be sent", gateway=gateway)
        return most

    def _message(self, gateway: str, size: int) -> _Message:
        """Return the message for the next part, and add the part's `size` in bytes to it."""
        self._on_part()
        messages = self._waiting.setdefault(gateway, [])
        if not messages or messages[-1].size > MAX_MESSAGE_BYTES:
            messages.append(_Message())
        messages[-1].size += size + PART_OVERHEAD_BYTES
        return messages[-1]
