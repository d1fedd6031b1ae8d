"""The operations on the caller's sessions."""

from svgx_auth.audit import Origin
from svgx_auth.handlers.callers import caller_with_session
from svgx_auth.sessions import Sessions
from svgx_common.contract.auth import (
    END_SESSION,
    LIST_SESSIONS,
    LOGOUT,
    REFRESH,
    EndSessionRequest,
    ListSessionsRequest,
    LogoutRequest,
    RefreshRequest,
    SessionPage,
    Tokens,
)
from svgx_common.contract.errors import NotFound
from svgx_common.contract.operation import Empty
from svgx_common.messaging.responder import Call, Responder


class SessionHandlers:
    """The handlers of `REFRESH`, `LOGOUT`, `LIST_SESSIONS` and `END_SESSION`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(REFRESH, self.refresh)
        responder.answer(LOGOUT, self.logout)
        responder.answer(LIST_SESSIONS, self.list_sessions)
        responder.answer(END_SESSION, self.end_session)

    async def refresh(self, request: RefreshRequest, call: Call) -> Tokens:
        """Exchange a refresh token for new tokens of the same session."""
        return await self._sessions.refresh(request.refresh_token, Origin.of(call))

    async def logout(self, _: LogoutRequest, call: Call) -> Empty:
        """End the caller's session. A session that has ended already is no error."""
        caller = caller_with_session(call)
        await self._sessions.end(caller.user_id, caller.session_id, "logout", Origin.of(call))
        return Empty()

    async def list_sessions(self, request: ListSessionsRequest, call: Call) -> SessionPage:
        """List the caller's live sessions."""
        return await self._sessions.own_page(request, call.signed_in_caller())

    async def end_session(self, request: EndSessionRequest, call: Call) -> Empty:
        """End one of the caller's sessions."""
        ended = await self._sessions.end(
            caller_with_session(call).user_id, request.session_id, "ended", Origin.of(call)
        )
        if not ended:
            raise NotFound("you have no live session with this id", field="session_id")
        return Empty()
