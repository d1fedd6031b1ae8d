"""Revocations: sessions, tokens and API keys that were ended before they expired."""

from datetime import datetime

from svgx_common.contract.operation import Channel, Operation, ReplyModel, RequestModel, Timestamp
from svgx_common.contract.policy import RateClass, Scope


class Revocation(ReplyModel):
    """Revoked access tokens: those of the session `session_id`, or the user's tokens below version `before_version`.

    An API key is revoked like a session; `session_id` is then the key's id.

    `until` is the Unix time, in seconds, until which gateways keep the revocation: the time at which the last of these
    tokens expires, and for an API key at most a day after its end.
    """

    user_id: str
    session_id: str | None = None
    before_version: int | None = None
    until: float
    reason: str


class RevocationList(ReplyModel):
    """Revocations. The list is complete up to the time `as_of`, which is None in a broadcast."""

    items: list[Revocation]
    as_of: datetime | None = None


class ListRevocationsRequest(RequestModel):
    """Revocations up to the time `since` are left out."""

    since: Timestamp | None = None


LIST_REVOCATIONS = Operation(
    subject="svgx.auth.revocations.list",
    summary="List revocations of tokens that have not expired yet",
    request=ListRevocationsRequest,
    reply=RevocationList,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    repeatable=True,
)

REVOKED = Channel(
    subject="svgx.auth.revoked",
    summary="Auth's broadcast of new revocations: sessions, API keys and token versions",
    publishers=("auth",),
    # A share link gives access only while the account that created it is active and has the needed role. When the
    # account changes, state tells the gateways to check the access to the canvas again.
    subscribers=("gateway", "state"),
    payload=RevocationList,
)
