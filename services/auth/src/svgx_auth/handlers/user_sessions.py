"""The operations with which admins list and end the sessions of any account."""

from svgx_auth.administration import Administration
from svgx_auth.audit import Origin
from svgx_auth.handlers.callers import refuse_api_key
from svgx_auth.sessions import Sessions
from svgx_common.contract.administration.sessions import (
    END_USER_SESSION,
    END_USER_SESSIONS,
    LIST_USER_SESSIONS,
    EndUserSessionRequest,
    ListUserSessionsRequest,
)
from svgx_common.contract.auth import SessionPage, UserRequest
from svgx_common.contract.errors import NotFound
from svgx_common.contract.operation import Empty
from svgx_common.messaging.responder import Call, Responder


class UserSessionHandlers:
    """The handlers of `LIST_USER_SESSIONS`, `END_USER_SESSION` and `END_USER_SESSIONS`."""

    def __init__(self, sessions: Sessions, administration: Administration) -> None:
        self._sessions = sessions
        self._administration = administration

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(LIST_USER_SESSIONS, self.list_sessions)
        responder.answer(END_USER_SESSION, self.end_session)
        responder.answer(END_USER_SESSIONS, self.end_sessions)

    async def list_sessions(self, request: ListUserSessionsRequest, call: Call) -> SessionPage:
        """List an account's live sessions. A deleted account has none."""
        await self._administration.get(request.user_id)
        return await self._sessions.page(request, call.signed_in_caller())

    async def end_session(self, request: EndUserSessionRequest, call: Call) -> Empty:
        """End one of an account's sessions."""
        refuse_api_key(call)
        ended = await self._sessions.end(
            request.user_id, request.session_id, "ended", Origin.of(call)
        )
        if not ended:
            raise NotFound("the account has no live session with this id", field="session_id")
        return Empty()

    async def end_sessions(self, request: UserRequest, call: Call) -> Empty:
        """End all sessions of an account. For the caller's own account, the caller's session ends too."""
        refuse_api_key(call)
        await self._administration.end_sessions(request.user_id, Origin.of(call))
        return Empty()
