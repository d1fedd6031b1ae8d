"""The audit log: its events, and the operations that list and record its entries."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import StringConstraints

from svgx_common.contract.errors import Forbidden
from svgx_common.contract.fields import patterns
from svgx_common.contract.operation import (
    Empty,
    Http,
    Operation,
    PageCursor,
    PageLimit,
    ReplyModel,
    RequestModel,
    Timestamp,
    UserId,
)
from svgx_common.contract.policy import RateClass, Scope


class AuditEvent(StrEnum):
    """The events of the audit log."""

    LOG_IN = "log_in"
    LOG_IN_FAILED = "log_in_failed"
    LOG_IN_DELAYED = "log_in_delayed"
    """A log-in was refused without a check of its password, because too many attempts had failed."""
    LOG_OUT = "log_out"
    SESSION_ENDED = "session_ended"
    SESSIONS_ENDED = "sessions_ended"
    """An admin ended all sessions of the account."""
    REFRESH_REFUSED = "refresh_refused"
    TOKEN_REUSED = "token_reused"
    """A refresh token was used again, which ended its session."""
    PASSWORD_CHANGED = "password_changed"
    PASSWORD_RESET = "password_reset"
    """An admin set a new password."""
    PASSWORD_CHANGE_REFUSED = "password_change_refused"
    USER_CREATED = "user_created"
    IDENTITY_LINKED = "identity_linked"
    """A person's identity at a provider was linked to this account."""
    IDENTITY_REFUSED = "identity_refused"
    """The provider gives the linked person no role any more. The sessions have ended; the API keys are suspended."""
    USER_RENAMED = "user_renamed"
    """The username or the e-mail address was changed."""
    ROLE_CHANGED = "role_changed"
    """With the detail `suspension`, an admin has ended the suspension by a provider, also if the role is the same."""
    USER_DISABLED = "user_disabled"
    USER_ENABLED = "user_enabled"
    USER_DELETED = "user_deleted"
    USER_RESTORED = "user_restored"
    USER_ERASED = "user_erased"
    """The account's personal data was erased; a pseudonym took its place."""
    API_KEY_CREATED = "api_key_created"
    API_KEY_ENDED = "api_key_ended"
    ADMIN_OPERATION = "admin_operation"
    """An admin changed something in a service other than auth, or read data of another user there.

    The detail names the operation and its object.
    """


REPORTED_EVENTS = frozenset({AuditEvent.ADMIN_OPERATION})
"""The events that gateways report. Auth records all other events itself, so no service can forge them."""


class AuditEntry(ReplyModel):
    """An event that `actor` caused and that concerns the account `user`.

    `actor` and `user` are the accounts' present usernames. All other fields are from the time of the event, but the
    erasure of a user empties the fields with the user's personal data.
    """

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
    """`user_id` selects the entries that have this account as `actor` or as `user`.

    `since` is inclusive, `until` exclusive. `limit` is the number of entries on a page; `cursor` is the `next` value of
    the page before.
    """

    event: AuditEvent | None = None
    user_id: UserId | None = None
    address: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=64, pattern=patterns.WITHOUT_NULL)
        ]
        | None
    ) = None
    since: Timestamp | None = None
    until: Timestamp | None = None
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class AuditPage(ReplyModel):
    items: list[AuditEntry]
    next: str | None = None


LIST_AUDIT = Operation(
    subject="svgx.auth.audit.list",
    summary="List audit log entries, newest first",
    request=ListAuditRequest,
    reply=AuditPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/audit/"),
    repeatable=True,
)


class RecordAuditRequest(RequestModel):
    """An event that a gateway reports on behalf of an admin. The admin becomes the entry's `actor`.

    `user_id` is the account that the event concerns, or None. `detail` must hold no secret.
    """

    event: AuditEvent
    user_id: UserId | None = None
    detail: dict[str, str]


RECORD_AUDIT = Operation(
    subject="svgx.auth.audit.record",
    summary="Record in the audit log that an admin used a service other than auth",
    request=RecordAuditRequest,
    reply=Empty,
    scope=Scope.INTERNAL,
    callers=("gateway",),
    rate=RateClass.INTERNAL,
    timeout=5.0,
    errors=(Forbidden,),
)
