"""Accounts, log-in and sessions: models and operations of the auth service."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from svgx_common.contract.errors import (
    Conflict,
    Forbidden,
    InvalidCredentials,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.fields import patterns
from svgx_common.contract.operation import (
    Empty,
    Http,
    Identifier,
    Operation,
    PageCursor,
    PageLimit,
    ReplyModel,
    RequestModel,
    UserId,
)
from svgx_common.contract.policy import RateClass, Role, Scope

MAX_NAME_LENGTH = 254
"""Largest number of characters of a username or an e-mail address, as it is sent and as it is stored."""

Username = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH, pattern=patterns.USERNAME),
    Field(examples=["ada"]),
]
Email = Annotated[
    str,
    StringConstraints(max_length=MAX_NAME_LENGTH, pattern=patterns.EMAIL),
    Field(examples=["ada@example.org"]),
]
NewPassword = Annotated[
    str,
    StringConstraints(min_length=12, max_length=1024),
    Field(examples=["seven teal lanterns over Delft"]),
]
"""A new password. It has a minimum length, but no rule about characters (NIST SP 800-63B-4, 3.1.1.2).

The maximum length limits the hashing cost.
"""

Password = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024),
    Field(examples=["correct horse battery staple"]),
]


class User(ReplyModel):
    """An account, without its secrets."""

    id: str
    username: str
    email: str
    role: Role
    created_at: datetime
    disabled: bool = False
    deleted: bool = False


class LoginRequest(RequestModel):
    """`username` is the username or the e-mail address."""

    username: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH, pattern=patterns.WITHOUT_NULL),
        Field(examples=["ada"]),
    ]
    password: Password


class Tokens(ReplyModel):
    """An access token and a refresh token. `expires_in` is the access token's lifetime in seconds."""

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"
    expires_in: int
    user: User


class RefreshRequest(RequestModel):
    refresh_token: Annotated[
        str,
        StringConstraints(min_length=1, max_length=512),
        Field(examples=["hXt0Y1m3pJkq9c1n2Zb4uR7s8wV5x6y7aBcDeFgHiJk"]),
    ]


class MeRequest(RequestModel):
    pass


class LogoutRequest(RequestModel):
    pass


class SessionInfo(ReplyModel):
    """A live session. `address` and `user_agent` are from its last use; `current` marks the caller's own session."""

    id: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    address: str
    user_agent: str
    current: bool


class ListSessionsRequest(RequestModel):
    """`limit` is the number of sessions on a page; `cursor` is the `next` value of the page before."""

    limit: PageLimit = 50
    cursor: PageCursor | None = None


class SessionPage(ReplyModel):
    items: list[SessionInfo]
    next: str | None = None


class EndSessionRequest(RequestModel):
    session_id: Annotated[Identifier, Field(examples=["c3a1d9e2-8f4b-4e57-a6c0-7b5d2e1f0a94"])]


class CreateUserRequest(RequestModel):
    username: Username
    email: Email
    password: Annotated[NewPassword, Field(examples=["correct horse battery staple"])]
    role: Annotated[Role, Field(examples=["editor"])]


class ListUsersRequest(RequestModel):
    """`search` is a part of a username or an e-mail address, ignoring case. `deleted` selects deleted accounts only.

    `limit` is the number of users on a page; `cursor` is the `next` value of the page before.
    """

    search: (
        Annotated[
            str,
            StringConstraints(
                min_length=1, max_length=MAX_NAME_LENGTH, pattern=patterns.WITHOUT_NULL
            ),
        ]
        | None
    ) = None
    deleted: bool = False
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class UserPage(ReplyModel):
    items: list[User]
    next: str | None = None


class UserRequest(RequestModel):
    user_id: UserId


class FindAccountsRequest(RequestModel):
    user_ids: Annotated[list[Identifier], Field(min_length=1, max_length=1000)]


class FoundAccount(ReplyModel):
    """An account that is not deleted, with its role in the whole system."""

    id: str
    role: Role
    disabled: bool


class FoundAccounts(ReplyModel):
    items: list[FoundAccount]


class UpdateUserRequest(RequestModel):
    """Fields that are absent or null stay unchanged. A new `password` ends all sessions of the account."""

    user_id: UserId
    username: Annotated[Username | None, Field(examples=["ada"])] = None
    email: Annotated[Email | None, Field(examples=["ada@example.org"])] = None
    role: Annotated[Role | None, Field(examples=["editor"])] = None
    disabled: bool | None = None
    password: Annotated[NewPassword | None, Field(examples=["correct horse battery staple"])] = None


class ChangePasswordRequest(RequestModel):
    old_password: Password
    new_password: NewPassword


class JwksRequest(RequestModel):
    pass


class Jwks(ReplyModel):
    """A JWK Set (RFC 7517) of public keys, including keys that do not sign yet.

    The set is empty if auth signs access tokens with its secret only.
    """

    keys: list[dict[str, Any]]


LOGIN = Operation(
    subject="svgx.auth.login",
    summary="Log in with a username or e-mail address and a password",
    request=LoginRequest,
    reply=Tokens,
    scope=Scope.PUBLIC,
    http=Http("POST", "/auth/login"),
    rate=RateClass.LOGIN,
    password=True,
    errors=(InvalidCredentials, TooManyRequests),
)
REFRESH = Operation(
    subject="svgx.auth.refresh",
    summary="Exchange a refresh token for a new pair of tokens",
    request=RefreshRequest,
    reply=Tokens,
    scope=Scope.PUBLIC,
    http=Http("POST", "/auth/refresh"),
    # The class is not LOGIN, because failed log-ins from an address must not stop other users' refreshes from it.
    rate=RateClass.WRITE,
    repeatable=True,
    errors=(Unauthenticated,),
)
JWKS = Operation(
    subject="svgx.auth.jwks",
    summary="Get the public keys that verify access tokens",
    request=JwksRequest,
    reply=Jwks,
    scope=Scope.PUBLIC,
    http=Http("GET", "/.well-known/jwks.json"),
    repeatable=True,
)
ME = Operation(
    subject="svgx.auth.me",
    summary="Get the caller's account",
    request=MeRequest,
    reply=User,
    scope=Scope.SIGNED_IN,
    http=Http("GET", "/auth/me"),
    repeatable=True,
)
LOGOUT = Operation(
    subject="svgx.auth.logout",
    summary="End the caller's session",
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
    repeatable=True,
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
    password=True,
    errors=(Conflict, Forbidden, TooManyRequests),
)
CREATE_USER = Operation(
    subject="svgx.auth.user.create",
    summary="Create an account",
    request=CreateUserRequest,
    reply=User,
    scope=Scope.ADMIN,
    http=Http("POST", "/admin/users/", status=201),
    rate=RateClass.WRITE,
    password=True,
    errors=(Conflict,),
)
LIST_USERS = Operation(
    subject="svgx.auth.user.list",
    summary="List accounts, oldest first",
    request=ListUsersRequest,
    reply=UserPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/users/"),
    repeatable=True,
)
GET_USER = Operation(
    subject="svgx.auth.user.get",
    summary="Get one account",
    request=UserRequest,
    reply=User,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/users/{user_id}"),
    repeatable=True,
    errors=(NotFound,),
)
UPDATE_USER = Operation(
    subject="svgx.auth.user.update",
    summary="Change an account's username, e-mail address, role or password, or disable it",
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
    summary="Restore a deleted account; an account that is not deleted stays unchanged",
    request=UserRequest,
    reply=User,
    scope=Scope.ADMIN,
    http=Http("POST", "/admin/users/restore/"),
    rate=RateClass.WRITE,
    errors=(Conflict, NotFound),
)
FIND_ACCOUNTS = Operation(
    subject="svgx.auth.account.find",
    summary="Get the roles of accounts; unknown and deleted accounts are left out",
    request=FindAccountsRequest,
    reply=FoundAccounts,
    scope=Scope.INTERNAL,
    callers=("state",),
    rate=RateClass.INTERNAL,
    timeout=5.0,
    max_body=128 * 1024,
    repeatable=True,
)
