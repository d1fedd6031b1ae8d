"""The audit log of accounts and sign-in: models and the operation that reads it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from svgx_common.contract.operation import Http, Identifier, Operation, ReplyModel, RequestModel
from svgx_common.contract.policy import Scope
from svgx_common.contract.timestamp import Timestamp


class AuditEvent(StrEnum):
    """What is written into the audit log."""

    LOG_IN = "log_in"
    LOG_IN_FAILED = "log_in_failed"
    LOG_IN_DELAYED = "log_in_delayed"
    """Refused without an answer: too many have failed."""
    LOG_OUT = "log_out"
    SESSION_ENDED = "session_ended"
    REFRESH_REFUSED = "refresh_refused"
    TOKEN_REUSED = "token_reused"
    """A spent refresh token was used; its session has ended by it."""
    PASSWORD_CHANGED = "password_changed"
    PASSWORD_RESET = "password_reset"
    """By an admin."""
    PASSWORD_CHANGE_REFUSED = "password_change_refused"
    USER_CREATED = "user_created"
    IDENTITY_LINKED = "identity_linked"
    """Whoever is this at a provider is this account."""
    IDENTITY_REFUSED = "identity_refused"
    """Whoever is this account has no role at the provider any more: sessions have ended, API keys rest."""
    USER_RENAMED = "user_renamed"
    ROLE_CHANGED = "role_changed"
    USER_DISABLED = "user_disabled"
    USER_ENABLED = "user_enabled"
    USER_DELETED = "user_deleted"
    USER_RESTORED = "user_restored"
    API_KEY_CREATED = "api_key_created"
    API_KEY_ENDED = "api_key_ended"


class AuditEntry(ReplyModel):
    """`actor` did it, to the account `user`: names as they are now, ids as they were."""

    id: str
    at: datetime
    event: AuditEvent
    actor_id: str | None
    actor: str | None
    user_id: str | None
    user: str | None
    session_id: str | None
    address: str
    user_agent: str
    detail: dict[str, Any]


class ListAuditRequest(RequestModel):
    """`user_id` is who did it or whom it concerns; `since` is included, `until` is not.

    `limit` is entries a page; `cursor` is the `next` of the page before.
    """

    event: AuditEvent | None = None
    user_id: Identifier | None = None
    address: Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00]+$")] | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, StringConstraints(max_length=256)] | None = None


class AuditPage(ReplyModel):
    items: list[AuditEntry]
    next: str | None = None


LIST_AUDIT = Operation(
    subject="svgx.auth.audit.list",
    summary="Who did what, when, from where: newest first",
    request=ListAuditRequest,
    reply=AuditPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/audit/"),
)
