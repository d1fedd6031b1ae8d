"""What counts no more before its time: what auth broadcasts and lists."""

from datetime import datetime

from svgx_common.contract.operation import Operation, ReplyModel, RequestModel
from svgx_common.contract.policy import RateClass, Scope
from svgx_common.contract.timestamp import Timestamp


class Revocation(ReplyModel):
    """Access tokens that count no more: all of the session `session_id`, or all of the user below `before_version`.

    An API key is revoked as a session is, its id in the place of the session's.

    `until` is the Unix time, in seconds, from which no such token would count anyway.
    """

    user_id: str
    session_id: str | None = None
    before_version: int | None = None
    until: float
    reason: str


class RevocationList(ReplyModel):
    """`as_of` is the moment up to which a list is complete; a broadcast has none."""

    items: list[Revocation]
    as_of: datetime | None = None


class ListRevocationsRequest(RequestModel):
    """`since` leaves out what was revoked up to then."""

    since: Timestamp | None = None


LIST_REVOCATIONS = Operation(
    subject="svgx.auth.revocations.list",
    summary="What was revoked and still matters",
    request=ListRevocationsRequest,
    reply=RevocationList,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
)
