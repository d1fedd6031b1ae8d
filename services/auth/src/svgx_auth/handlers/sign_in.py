"""The operations that open a session: log-in with a password, and sign-in at an OpenID Connect provider."""

from typing import Any

from prometheus_client import Counter

from svgx_auth.accounts import Account, Accounts
from svgx_auth.audit import Audit, Origin
from svgx_auth.names import name_key
from svgx_auth.oidc.identities import Identities
from svgx_auth.oidc.settings import OidcProvider
from svgx_auth.oidc.sign_ins import SignIns
from svgx_auth.passwords.attempts import Attempts, address_key
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.passwords.queue import PasswordQueue
from svgx_auth.sessions import Sessions
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.auth import LOGIN, LoginRequest, Tokens
from svgx_common.contract.errors import (
    BadRequest,
    Forbidden,
    InvalidCredentials,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.oidc import (
    OIDC_CALLBACK,
    OIDC_LOGIN,
    OidcCallbackRequest,
    OidcLoginRequest,
)
from svgx_common.contract.operation import Redirect
from svgx_common.messaging.responder import Call, Responder

FAILED_LOGINS = Counter(
    "svgx_engine_failed_logins",
    "Log-ins that were refused, also sign-ins with OpenID Connect and log-ins after too many attempts, but not log-ins"
    " that the password queue refused.",
)


class SignInHandlers:
    """The handlers of `LOGIN`, `OIDC_LOGIN` and `OIDC_CALLBACK`."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        sessions: Sessions,
        passwords: Passwords,
        attempts: Attempts,
        queue: PasswordQueue,
        sign_ins: SignIns,
        identities: Identities,
        audit: Audit,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._attempts = attempts
        self._queue = queue
        self._sign_ins = sign_ins
        self._identities = identities
        self._audit = audit

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(LOGIN, self.login)
        responder.answer(OIDC_LOGIN, self.oidc_login)
        responder.answer(OIDC_CALLBACK, self.oidc_callback)

    async def login(self, request: LoginRequest, call: Call) -> Tokens:
        """Open a session for a username or e-mail address with the account's password.

        An unknown account, a wrong password and a disabled account get the same error after the same time.
        """
        # Wait for a turn before the first query, because log-ins that wait must not use up the database connections.
        async with self._queue.log_in(address_key(call.client.address)):
            return await self._log_in_and_audit(request, call)

    async def _log_in_and_audit(self, request: LoginRequest, call: Call) -> Tokens:
        account = await self._accounts.by_login(request.username)
        try:
            return await self._log_in(request, account, Origin.of(call))
        except (InvalidCredentials, TooManyRequests) as error:
            FAILED_LOGINS.inc()
            is_invalid = isinstance(error, InvalidCredentials)
            await self._audit.note(
                AuditEvent.LOG_IN_FAILED if is_invalid else AuditEvent.LOG_IN_DELAYED,
                Origin.of(call),
                user_id=account.user.id if account else None,
            )
            raise

    async def _log_in(self, request: LoginRequest, account: Account | None, by: Origin) -> Tokens:
        attempt = await self._attempts.log_in(
            account.user.id if account else None, name_key(request.username), by.client.address
        )
        matches = await self._passwords.verify(
            request.password, account.password_hash if account else None
        )
        if account is None or not matches or account.disabled:
            await self._attempts.failed(attempt)
            raise InvalidCredentials
        await self._attempts.succeeded(attempt)
        if account.password_hash is not None and await self._passwords.outdated(
            request.password, account.password_hash
        ):
            account = await self._accounts.rehash(account, request.password)
        return await self._sessions.open(account, by)

    async def oidc_login(self, request: OidcLoginRequest, _: Call) -> Redirect:
        """Redirect the browser to the provider."""
        return await self._sign_ins.begin(request.provider)

    async def oidc_callback(self, request: OidcCallbackRequest, call: Call) -> Tokens:
        """Open a session for the browser that returns from the provider."""
        by = Origin.of(call)
        identity: tuple[OidcProvider, dict[str, Any]] | None = None
        try:
            identity = provider, claims = await self._sign_ins.finish(request)
            account = await self._identities.account(provider, claims, by)
            return await self._sessions.open(account, by, provider=request.provider)
        except (BadRequest, Forbidden, InvalidCredentials, Unauthenticated) as error:
            FAILED_LOGINS.inc()
            await self._audit.note(
                AuditEvent.LOG_IN_FAILED,
                by,
                user_id=identity and await self._identities.user_id(*identity),
                provider=request.provider,
                reason=error.detail,
            )
            raise
