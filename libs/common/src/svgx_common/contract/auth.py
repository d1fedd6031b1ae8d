"""Accounts and sign-in: models and operations of the auth service."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, StringConstraints

from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    InvalidCredentials,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.operation import (
    Empty,
    Http,
    Identifier,
    Operation,
    ReplyModel,
    RequestModel,
)
from svgx_common.contract.policy import RateClass, Role, Scope

Username = Annotated[
    str, StringConstraints(min_length=1, max_length=254, pattern=r"^[^\s\x00-\x1f\x7f-\x9f]+$")
]
Email = Annotated[
    str,
    StringConstraints(
        max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$"
    ),
]
NewPassword = Annotated[str, StringConstraints(min_length=12, max_length=1024)]
"""Length, not composition (NIST SP 800-63B-4, 3.1.1.2); the upper bound keeps hashing cheap to refuse."""


Moment = Annotated[
    AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(3000, 1, 1, tzinfo=UTC))
]
"""A time with its zone. The bounds are far from those of Python and PostgreSQL, which differ."""


class User(ReplyModel):
    """An account as others see it."""

    id: str
    username: str
    email: str
    role: Role
    created_at: datetime
    disabled: bool = False
    deleted: bool = False


class LoginRequest(RequestModel):
    """`username` may be the username or the e-mail address."""

    username: Annotated[str, StringConstraints(min_length=1, max_length=254, pattern=r"^[^\x00]+$")]
    password: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Tokens(ReplyModel):
    """`expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"
    expires_in: int
    user: User


class RefreshRequest(RequestModel):
    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=512)]


class MeRequest(RequestModel):
    pass


class LogoutRequest(RequestModel):
    pass


class SessionInfo(ReplyModel):
    """A live session. `address` and `user_agent` are of its last use; `current` is the one that asks."""

    id: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    address: str
    user_agent: str
    current: bool


class ListSessionsRequest(RequestModel):
    """`limit` is sessions a page; `cursor` is the `next` of the page before."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, StringConstraints(max_length=256)] | None = None


class SessionPage(ReplyModel):
    items: list[SessionInfo]
    next: str | None = None


class EndSessionRequest(RequestModel):
    session_id: Identifier


class CreateUserRequest(RequestModel):
    username: Username
    email: Email
    password: NewPassword
    role: Role


class ListUsersRequest(RequestModel):
    """`search` is part of a username or an address, in any case; `deleted` lists deleted accounts instead.

    `limit` is users a page; `cursor` is the `next` of the page before.
    """

    search: (
        Annotated[str, StringConstraints(min_length=1, max_length=254, pattern=r"^[^\x00]+$")]
        | None
    ) = None
    deleted: bool = False

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, StringConstraints(max_length=256)] | None = None


class UserPage(ReplyModel):
    items: list[User]
    next: str | None = None


class UserRequest(RequestModel):
    user_id: Identifier


class UpdateUserRequest(RequestModel):
    """What is left out, or null, stays as it is."""

    user_id: Identifier
    username: Username | None = None
    email: Email | None = None
    role: Role | None = None
    disabled: bool | None = None


class ChangePasswordRequest(RequestModel):
    old_password: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    new_password: NewPassword


class JwksRequest(RequestModel):
    pass


class Jwks(ReplyModel):
    """A JWK Set (RFC 7517) of public keys; empty while access tokens are signed with a secret."""

    keys: list[dict[str, Any]]


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
    PASSWORD_CHANGE_REFUSED = "password_change_refused"
    USER_CREATED = "user_created"
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
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, StringConstraints(max_length=256)] | None = None


class AuditPage(ReplyModel):
    items: list[AuditEntry]
    next: str | None = None


class CreateApiKeyRequest(RequestModel):
    """A key does at most what `role` may (by default, what the account may). `user_id` is for admins."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
    ]
    role: Role | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=366)] = 90
    user_id: Identifier | None = None


class ApiKeyInfo(ReplyModel):
    """A key without its secret. `last_used_at` is right within a minute."""

    id: str
    user_id: str
    name: str
    prefix: str
    role: Role
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class NewApiKey(ApiKeyInfo):
    """`key` is told here and never again."""

    key: str


class ListApiKeysRequest(RequestModel):
    """`user_id` is for admins. `limit` is keys a page; `cursor` is the `next` of the page before."""

    user_id: Identifier | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, StringConstraints(max_length=256)] | None = None


class ApiKeyPage(ReplyModel):
    items: list[ApiKeyInfo]
    next: str | None = None


class EndApiKeyRequest(RequestModel):
    key_id: Identifier


class CheckApiKeyRequest(RequestModel):
    key: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class CheckedApiKey(ReplyModel):
    """Whom a key stands for, and until when, in Unix seconds."""

    key_id: str
    user_id: str
    username: str
    role: Role
    token_version: int
    expires_at: int


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

    since: Moment | None = None


LOGIN = Operation(
    subject="svgx.auth.login",
    summary="Sign in with a username or e-mail address and a password",
    request=LoginRequest,
    reply=Tokens,
    scope=Scope.PUBLIC,
    http=Http("POST", "/auth/login"),
    rate=RateClass.LOGIN,
    errors=(InvalidCredentials, TooManyRequests),
)
REFRESH = Operation(
    subject="svgx.auth.refresh",
    summary="Exchange a refresh token for a new pair of tokens",
    request=RefreshRequest,
    reply=Tokens,
    scope=Scope.PUBLIC,
    http=Http("POST", "/auth/refresh"),
    rate=RateClass.LOGIN,
    errors=(Unauthenticated,),
)
JWKS = Operation(
    subject="svgx.auth.jwks",
    summary="The public keys access tokens are signed with",
    request=JwksRequest,
    reply=Jwks,
    scope=Scope.PUBLIC,
    http=Http("GET", "/.well-known/jwks.json"),
)
ME = Operation(
    subject="svgx.auth.me",
    summary="The account that makes this request",
    request=MeRequest,
    reply=User,
    scope=Scope.SIGNED_IN,
    http=Http("GET", "/auth/me"),
)
LOGOUT = Operation(
    subject="svgx.auth.logout",
    summary="End the session that makes this request",
    request=LogoutRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    http=Http("POST", "/auth/logout", status=204),
    rate=RateClass.WRITE,
)
LIST_SESSIONS = Operation(
    subject="svgx.auth.session.list",
    summary="List the caller's live sessions, newest first",
    request=ListSessionsRequest,
    reply=SessionPage,
    scope=Scope.SIGNED_IN,
    http=Http("GET", "/auth/sessions/"),
)
END_SESSION = Operation(
    subject="svgx.auth.session.end",
    summary="End one of the caller's sessions",
    request=EndSessionRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    http=Http("DELETE", "/auth/sessions/{session_id}", status=204),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
CHANGE_PASSWORD = Operation(
    subject="svgx.auth.password.change",
    summary="Change the caller's password; their other sessions end",
    request=ChangePasswordRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    http=Http("POST", "/auth/password", status=204),
    rate=RateClass.LOGIN,
    errors=(Conflict, Forbidden, TooManyRequests),
)
CREATE_API_KEY = Operation(
    subject="svgx.auth.api_key.create",
    summary="Create an API key; the key is told once",
    request=CreateApiKeyRequest,
    reply=NewApiKey,
    scope=Scope.SIGNED_IN,
    http=Http("POST", "/auth/api-keys/", status=201),
    rate=RateClass.WRITE,
    errors=(Conflict, Forbidden, NotFound),
)
LIST_API_KEYS = Operation(
    subject="svgx.auth.api_key.list",
    summary="List live API keys, newest first",
    request=ListApiKeysRequest,
    reply=ApiKeyPage,
    scope=Scope.SIGNED_IN,
    http=Http("GET", "/auth/api-keys/"),
    errors=(Forbidden,),
)
END_API_KEY = Operation(
    subject="svgx.auth.api_key.end",
    summary="End an API key",
    request=EndApiKeyRequest,
    reply=Empty,
    scope=Scope.SIGNED_IN,
    http=Http("DELETE", "/auth/api-keys/{key_id}", status=204),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
CHECK_API_KEY = Operation(
    subject="svgx.auth.api_key.check",
    summary="Whom an API key stands for",
    request=CheckApiKeyRequest,
    reply=CheckedApiKey,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
    errors=(Unauthenticated,),
)
CREATE_USER = Operation(
    subject="svgx.auth.user.create",
    summary="Create an account",
    request=CreateUserRequest,
    reply=User,
    scope=Scope.ADMIN,
    http=Http("POST", "/admin/users/", status=201),
    rate=RateClass.WRITE,
    errors=(Conflict,),
)
LIST_USERS = Operation(
    subject="svgx.auth.user.list",
    summary="List accounts, oldest first",
    request=ListUsersRequest,
    reply=UserPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/users/"),
)
GET_USER = Operation(
    subject="svgx.auth.user.get",
    summary="One account",
    request=UserRequest,
    reply=User,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/users/{user_id}"),
    errors=(NotFound,),
)
UPDATE_USER = Operation(
    subject="svgx.auth.user.update",
    summary="Change an account's names, address or role, or disable it",
    request=UpdateUserRequest,
    reply=User,
    scope=Scope.ADMIN,
    http=Http("PATCH", "/admin/users/{user_id}"),
    rate=RateClass.WRITE,
    errors=(Conflict, NotFound),
)
DELETE_USER = Operation(
    subject="svgx.auth.user.delete",
    summary="Delete an account; it can be restored",
    request=UserRequest,
    reply=Empty,
    scope=Scope.ADMIN,
    http=Http("DELETE", "/admin/users/{user_id}", status=204),
    rate=RateClass.WRITE,
    errors=(Conflict, NotFound),
)
RESTORE_USER = Operation(
    subject="svgx.auth.user.restore",
    summary="Restore a deleted account; one that is not deleted stays as it is",
    request=UserRequest,
    reply=User,
    scope=Scope.ADMIN,
    http=Http("POST", "/admin/users/restore/"),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
LIST_AUDIT = Operation(
    subject="svgx.auth.audit.list",
    summary="Who did what, when, from where: newest first",
    request=ListAuditRequest,
    reply=AuditPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/audit/"),
)
LIST_REVOCATIONS = Operation(
    subject="svgx.auth.revocations.list",
    summary="What was revoked and still matters",
    request=ListRevocationsRequest,
    reply=RevocationList,
    scope=Scope.INTERNAL,
    rate=RateClass.INTERNAL,
)
