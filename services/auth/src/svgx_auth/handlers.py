"""One handler for each operation of the contract."""

from prometheus_client import Counter

from svgx_auth.accounts import Accounts
from svgx_auth.administration import Administration
from svgx_auth.attempts import Attempts
from svgx_auth.passwords import Passwords
from svgx_auth.revocations import Revocations
from svgx_auth.sessions import Sessions
from svgx_common.contract.auth import (
    ChangePasswordRequest,
    CreateUserRequest,
    EndSessionRequest,
    ListRevocationsRequest,
    ListSessionsRequest,
    ListUsersRequest,
    LoginRequest,
    LogoutRequest,
    MeRequest,
    RefreshRequest,
    RevocationList,
    SessionPage,
    Tokens,
    UpdateUserRequest,
    User,
    UserPage,
    UserRequest,
)
from svgx_common.contract.errors import (
    Forbidden,
    Invalid,
    InvalidCredentials,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.operation import Empty
from svgx_common.responder import Call

FAILED_LOGINS = Counter("svgx_engine_failed_logins", "Log-ins refused.")


class Handlers:
    """What the service does, in the contract's terms."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        administration: Administration,
        sessions: Sessions,
        revocations: Revocations,
        passwords: Passwords,
        attempts: Attempts,
    ) -> None:
        self._attempts = attempts
        self._accounts = accounts
        self._administration = administration
        self._revocations = revocations
        self._sessions = sessions
        self._passwords = passwords

    async def login(self, request: LoginRequest, call: Call) -> Tokens:
        """Same error and same time for an unknown account, a wrong password and a disabled account."""
        try:
            return await self._log_in(request, call)
        except (InvalidCredentials, TooManyRequests):
            FAILED_LOGINS.inc()
            raise

    async def _log_in(self, request: LoginRequest, call: Call) -> Tokens:
        attempt = await self._attempts.log_in(request.username, call.client.address)
        account = await self._accounts.by_login(request.username)
        matches = await self._passwords.verify(
            request.password, account.password_hash if account else None
        )
        if account is None or not matches or account.disabled:
            await self._attempts.failed(attempt)
            raise InvalidCredentials
        await self._attempts.succeeded(attempt)
        if self._passwords.outdated(account.password_hash):
            account = await self._accounts.rehash(account, request.password)
        return await self._sessions.open(account, call.client)

    async def refresh(self, request: RefreshRequest, call: Call) -> Tokens:
        """The session goes on."""
        return await self._sessions.refresh(request.refresh_token, call.client)

    async def logout(self, _: LogoutRequest, call: Call) -> Empty:
        """The caller's session ends, unless it has ended already."""
        caller = call.signed_in()
        await self._sessions.end(caller, caller.session_id, "logout")
        return Empty()

    async def list_sessions(self, request: ListSessionsRequest, call: Call) -> SessionPage:
        """The caller's own."""
        return await self._sessions.page(call.signed_in(), request.limit, request.cursor)

    async def end_session(self, request: EndSessionRequest, call: Call) -> Empty:
        """One of the caller's own."""
        if not await self._sessions.end(call.signed_in(), request.session_id, "ended"):
            raise NotFound("you have no live session with this id", field="session_id")
        return Empty()

    async def me(self, _: MeRequest, call: Call) -> User:
        """The caller's account as it is now, not as the token says."""
        account = await self._accounts.by_id(call.signed_in().user_id)
        if account is None or account.disabled:
            raise Unauthenticated
        return account.user

    async def change_password(self, request: ChangePasswordRequest, call: Call) -> Empty:
        """Needs the old one: a token that was left behind takes no account over."""
        caller = call.signed_in()
        account = await self._accounts.by_id(caller.user_id)
        if account is None or account.disabled:
            raise Unauthenticated
        attempt = await self._attempts.confirm(caller.user_id)
        if not await self._passwords.verify(request.old_password, account.password_hash):
            await self._attempts.failed(attempt)
            raise Forbidden("the old password is wrong", field="old_password")
        await self._attempts.succeeded(attempt)
        if request.new_password == request.old_password:
            raise Invalid("new_password: is the old one", field="new_password")
        await self._accounts.change_password(
            account, request.new_password, "new_password", keep_session=caller.session_id
        )
        return Empty()

    async def create_user(self, request: CreateUserRequest, _: Call) -> User:
        """For admins; the gateway checks."""
        return await self._accounts.create(request)

    async def list_users(self, request: ListUsersRequest, _: Call) -> UserPage:
        """For admins; the gateway checks."""
        return await self._accounts.page(request)

    async def get_user(self, request: UserRequest, _: Call) -> User:
        """For admins; the gateway checks."""
        return await self._administration.get(request.user_id)

    async def update_user(self, request: UpdateUserRequest, _: Call) -> User:
        """For admins; the gateway checks."""
        return await self._administration.update(request)

    async def delete_user(self, request: UserRequest, _: Call) -> Empty:
        """For admins; the gateway checks."""
        await self._administration.delete(request.user_id)
        return Empty()

    async def restore_user(self, request: UserRequest, _: Call) -> User:
        """For admins; the gateway checks."""
        return await self._administration.restore(request.user_id)

    async def list_revocations(self, request: ListRevocationsRequest, _: Call) -> RevocationList:
        """For gateways that start, or may have missed something."""
        return await self._revocations.since(request.since)
