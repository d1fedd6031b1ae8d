"""The sessions of any account: models and operations of the auth service for admins."""

from svgx_common.contract.auth import EndSessionRequest, SessionPage, UserRequest
from svgx_common.contract.errors import NotFound
from svgx_common.contract.operation import (
    Empty,
    Http,
    Operation,
    PageCursor,
    PageLimit,
    UserId,
)
from svgx_common.contract.policy import RateClass, Scope


class ListUserSessionsRequest(UserRequest):
    """`limit` is the number of sessions on a page; `cursor` is the `next` value of the page before."""

    limit: PageLimit = 50
    cursor: PageCursor | None = None


class EndUserSessionRequest(EndSessionRequest):
    user_id: UserId


LIST_USER_SESSIONS = Operation(
    subject="svgx.auth.user.session.list",
    summary="List an account's live sessions, newest first",
    request=ListUserSessionsRequest,
    reply=SessionPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/users/{user_id}/sessions/"),
    repeatable=True,
    errors=(NotFound,),
)
END_USER_SESSION = Operation(
    subject="svgx.auth.user.session.end",
    summary="End one of an account's sessions",
    request=EndUserSessionRequest,
    reply=Empty,
    scope=Scope.ADMIN,
    http=Http("DELETE", "/admin/users/{user_id}/sessions/{session_id}", status=204),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
END_USER_SESSIONS = Operation(
    subject="svgx.auth.user.session.end_all",
    summary="End all sessions and access tokens of an account; its API keys stay valid",
    request=UserRequest,
    reply=Empty,
    scope=Scope.ADMIN,
    http=Http("DELETE", "/admin/users/{user_id}/sessions/", status=204),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
