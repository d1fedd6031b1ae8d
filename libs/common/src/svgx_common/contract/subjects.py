"""Subjects that are not operations, and who may publish and subscribe to what."""

from dataclasses import dataclass
from typing import Literal

CanvasChannel = Literal["edit", "sync", "awareness", "update", "presence", "access"]

REVOKED = "svgx.auth.revoked"
"""Auth's broadcast of sessions and tokens that count no more: a `RevocationList`."""

RATE_LIMITS_CHANGED = "svgx.state.rate_limits.changed"
"""State's broadcast: rate limits were set. Its payload is the new `RateLimits`."""

SERVICES = ("auth", "state", "collab", "gateway")


def canvas(canvas_id: str, channel: CanvasChannel) -> str:
    """The subject of one canvas's channel.

    `edit` and `sync` are requests that only the holder answers; `awareness` goes to the holder without an answer;
    `update` and `presence` are the holder's broadcasts; `access` is state's: a role on the canvas changed.
    """
    return f"svgx.canvas.{canvas_id}.{channel}"


def replica(service: str, replica_id: str) -> str:
    """The subject that asks one replica whether it lives."""
    return f"svgx.replica.{service}.{replica_id}"


def blob(service: str, replica_id: str, blob_id: str) -> str:
    """The subject under which a large payload is pulled from its sender."""
    return f"svgx.blob.{service}.{replica_id}.{blob_id}"


@dataclass(frozen=True, slots=True)
class Permissions:
    """NATS subjects one service may publish to and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


_PUBLISH: dict[str, tuple[str, ...]] = {
    "auth": (REVOKED,),
    "state": ("svgx.canvas.*.access", RATE_LIMITS_CHANGED),
    "collab": (
        "svgx.state.>",
        "svgx.replica.collab.*",
        "svgx.canvas.*.edit",
        "svgx.canvas.*.sync",
        "svgx.canvas.*.update",
        "svgx.canvas.*.presence",
        "svgx.collab.open",
    ),
    "gateway": (
        "svgx.gateway.>",
        "svgx.auth.>",
        "svgx.state.>",
        "svgx.collab.>",
        "svgx.canvas.*.edit",
        "svgx.canvas.*.sync",
        "svgx.canvas.*.awareness",
        "svgx.replica.>",
        "$SRV.>",
    ),
}

_SUBSCRIBE: dict[str, tuple[str, ...]] = {
    "auth": ("svgx.auth.>",),
    "state": ("svgx.state.>",),
    "collab": (
        "svgx.collab.>",
        "svgx.canvas.*.edit",
        "svgx.canvas.*.sync",
        "svgx.canvas.*.awareness",
        "svgx.canvas.*.access",
    ),
    "gateway": (
        "svgx.gateway.>",
        RATE_LIMITS_CHANGED,
        "svgx.canvas.*.update",
        "svgx.canvas.*.presence",
        "svgx.canvas.*.access",
        REVOKED,
    ),
}


def permissions(service: str) -> Permissions:
    """What `service` may do on the bus: its own subjects, its callees, replies, and pulling large payloads."""
    return Permissions(
        publish=(*_PUBLISH[service], "_INBOX.>", "svgx.blob.>"),
        subscribe=(
            *_SUBSCRIBE[service],
            "$SRV.>",
            f"_INBOX.{service}.>",
            f"svgx.blob.{service}.>",
            f"svgx.replica.{service}.*",
        ),
    )
