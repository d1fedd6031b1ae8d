"""One handler for each operation of the contract."""

from prometheus_client import Counter

from svgx_auth.accounts import Accounts
from svgx_auth.passwords import Passwords
from svgx_auth.sessions import Sessions
from svgx_common.contract.auth import (
    CreateUserRequest,
    ListUsersRequest,
    LoginRequest,
    MeRequest,
    RefreshRequest,
    Tokens,
    User,
    UserPage,
)
from svgx_common.contract.errors import InvalidCredentials, Unauthenticated
from svgx_common.responder import Call

FAILED_LOGINS = Counter("svgx_engine_failed_logins", "Log-ins refused.")


class Handlers:
    """What the service does, in the contract's terms."""

    def __init__(self, accounts: Accounts, sessions: Sessions, passwords: Passwords) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords

    async def login(self, request: LoginRequest, _: Call) -> Tokens:
        """Same error and same time for an unknown account, a wrong password and a disabled account."""
        account = await self._accounts.by_login(request.username)
        matches = await self._passwords.verify(
            request.password, account.password_hash if account else None
        )
        if account is None or not matches or account.disabled:
            FAILED_LOGINS.inc()
            raise InvalidCredentials
        if self._passwords.outdated(account.password_hash):
            await self._accounts.rehash(account, request.password)
        return await self._sessions.open(account)

    async def refresh(self, request: RefreshRequest, _: Call) -> Tokens:
        """The session goes on."""
        return await self._sessions.refresh(request.refresh_token)

    async def me(self, _: MeRequest, call: Call) -> User:
        """The caller's account as it is now, not as the token says."""
        account = await self._accounts.by_id(call.signed_in().user_id)
        if account is None or account.disabled:
            raise Unauthenticated
        return account.user

    async def create_user(self, request: CreateUserRequest, _: Call) -> User:
        """For admins; the gateway checks."""
        return await self._accounts.create(request)

    async def list_users(self, request: ListUsersRequest, _: Call) -> UserPage:
        """For admins; the gateway checks."""
        return await self._accounts.page(request.limit, request.cursor)
