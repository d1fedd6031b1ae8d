"""Subjects of the messaging library: for replies, large payloads, connection checks, health reports and drains."""

from svgx_common.contract.operation import SERVICES, Channel, Empty, ReplyModel, ServiceName

INBOX = "_INBOX."
"""The prefix of reply subjects. Each service subscribes below `_INBOX.<service>` only."""


def inbox_prefix(service: str) -> str:
    """Return the prefix of a service's reply subjects."""
    return f"{INBOX}{service}"


def is_inbox(subject: str) -> bool:
    """Return whether a reply may be sent to this subject.

    The sender of a request chooses its reply subject. Without this check a service would answer on any subject that
    a compromised peer names, with the permissions of the answering service.
    """
    return subject.startswith(INBOX)


def replica_subject(service: str, replica_id: str) -> str:
    """Return the subject of requests for the health report of one replica."""
    return f"svgx.replica.{service}.{replica_id}"


def blob_subject(service: str, replica_id: str, blob_id: str) -> str:
    """Return the subject under which receivers pull a large payload from its sender."""
    return f"svgx.blob.{service}.{replica_id}.{blob_id}"


def echo_subject(service: str, replica_id: str) -> str:
    """Return the subject on which a process answers the requests that it sends to itself over NATS.

    The answer shows that the NATS server has processed the earlier subscriptions of the process's connection.
    """
    return f"svgx.echo.{service}.{replica_id}"


def queue_group(service: str) -> str:
    """Return the name of a service's NATS queue group. The service has the same name in the NATS micro protocol."""
    return f"svgx-{service}"


class ReplicaLeft(ReplyModel):
    """A replica that has ended its drain."""

    service: ServiceName
    replica: str


REPLICA_LEFT = Channel(
    subject="svgx.replicas.left",
    summary="A replica's last message at the end of its drain, so that the gateways do not report it as silent",
    publishers=SERVICES,
    subscribers=("gateway",),
    payload=ReplicaLeft,
)
DRAIN_ORDER = Channel(
    subject="svgx.replica.{service}.{replica_id}.drain",
    summary="An admin's order to one replica, through a gateway: drain and end, as after SIGTERM",
    publishers=("gateway",),
    subscribers=SERVICES,
    payload=Empty,
    reply=Empty,
)
