"""NATS permissions of each service, derived from the operations and channels of the contract.

Of the operations, a service may call only those that name the service as a caller, and answer only its own. A service
may also use its channels and its subjects of the messaging library (see `transport`). Replies need no permission of
their own, because the NATS server allows one response for each received request (`allow_responses`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from svgx_common.contract import CHANNELS, OPERATIONS
from svgx_common.contract.operation import SERVICES, ServiceName
from svgx_common.contract.transport import (
    blob_subject,
    echo_subject,
    inbox_prefix,
    queue_group,
    replica_subject,
)

MAX_RESPONSES = 1
"""Messages that a service may publish to the reply subject of one request."""

RESPONSE_SECONDS = 120
"""Time limit for a response after its request, in seconds. No operation takes longer, even with retries."""

HEALTH_READERS: dict[ServiceName, tuple[ServiceName, ...]] = {
    "auth": ("gateway",),
    "state": ("gateway",),
    # Before a collab replica takes over a lease, it asks whether the lease's holder is alive.
    "collab": ("gateway", "collab"),
    "gateway": ("gateway",),
}
"""The services that may ask the replicas of a service for their health."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """The NATS subjects to which one service may publish and subscribe; `*` matches one part, `>` all later parts."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def permissions(service: ServiceName) -> Permissions:
    """Return the subjects to which a service may publish and subscribe, in a stable order."""
    return Permissions(
        publish=tuple(sorted(_publish(service))), subscribe=tuple(sorted(_subscribe(service)))
    )


def _publish(service: ServiceName) -> Iterator[str]:
    yield from (op.subject for op in OPERATIONS if service in op.callers)
    yield from (channel.pattern for channel in CHANNELS if service in channel.publishers)
    yield from (blob_subject(peer, "*", "*") for peer in _peers(service))
    yield from (
        replica_subject(owner, "*") for owner in SERVICES if service in HEALTH_READERS[owner]
    )
    yield echo_subject(service, "*")
    if service == "gateway":
        yield "$SRV.PING"  # the health summary finds the replicas of all services


def _subscribe(service: ServiceName) -> Iterator[str]:
    yield from (op.subject for op in OPERATIONS if op.service == service)
    yield from (
        # If a channel's subject names the receiving service, each service subscribes only to its own subject.
        channel.pattern_of(service=service)
        for channel in CHANNELS
        if service in channel.subscribers
    )
    yield blob_subject(service, "*", "*")
    yield replica_subject(service, "*")
    yield echo_subject(service, "*")
    yield f"{inbox_prefix(service)}.>"
    for verb in ("PING", "INFO", "STATS"):
        # The discovery subjects of the NATS micro protocol (ADR-32).
        yield f"$SRV.{verb}"
        yield f"$SRV.{verb}.{queue_group(service)}"
        yield f"$SRV.{verb}.{queue_group(service)}.*"


def _peers(service: ServiceName) -> list[ServiceName]:
    """Return the services from which this service may receive a large payload."""
    peers: set[str] = set()
    for operation in OPERATIONS:
        if service in operation.callers:
            peers.add(operation.service)
        if operation.service == service:
            peers.update(operation.callers)
    for channel in CHANNELS:
        if service in channel.subscribers:
            peers.update(channel.publishers)
        if service in channel.publishers and channel.reply is not None:
            peers.update(channel.subscribers)
    return [peer for peer in SERVICES if peer in peers]
