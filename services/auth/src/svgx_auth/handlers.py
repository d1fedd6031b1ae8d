"""One handler for each operation of the contract."""

from prometheus_client import Counter

from svgx_auth.accounts import Account, Accounts
from svgx_auth.administration import Administration
from svgx_auth.api_keys import ApiKeys
from svgx_auth.audit import Audit, Origin
from svgx_auth.keys.signing import Signing
from svgx_auth.oidc.identities import Identities
from svgx_auth.oidc.sign_ins import SignIns
from svgx_auth.passwords.attempts import Attempts
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.revocations import Revocations
from svgx_auth.sessions import Sessions
from svgx_common.contract.api_keys import (
    CHECK_API_KEY,
    CREATE_API_KEY,
    END_API_KEY,
    LIST_API_KEYS,
    ApiKeyPage,
    CheckApiKeyRequest,
    CheckedApiKey,
    CreateApiKeyRequest,
    EndApiKeyRequest,
    ListApiKeysRequest,
    NewApiKey,
)
from svgx_common.contract.audit import LIST_AUDIT, AuditEvent, AuditPage, ListAuditRequest
from svgx_common.contract.auth import (
    CHANGE_PASSWORD,
    CREATE_USER,
    DELETE_USER,
    END_SESSION,
    GET_USER,
    JWKS,
    LIST_SESSIONS,
    LIST_USERS,
    LOGIN,
    LOGOUT,
    ME,
    REFRESH,
    RESTORE_USER,
    UPDATE_USER,
    ChangePasswordRequest,
    CreateUserRequest,
    EndSessionRequest,
    Jwks,
    JwksRequest,
    ListSessionsRequest,
    ListUsersRequest,
    LoginRequest,
    LogoutRequest,
    MeRequest,
    RefreshRequest,
    SessionPage,
    Tokens,
    UpdateUserRequest,
    User,
    UserPage,
    UserRequest,
)
from svgx_common.contract.errors import (
    BadRequest,
    Forbidden,
    Invalid,
    InvalidCredentials,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from svgx_common.contract.oidc import (
    OIDC_CALLBACK,
    OIDC_LOGIN,
    OidcCallbackRequest,
    OidcLoginRequest,
)
from svgx_common.contract.operation import Empty, Redirect
from svgx_common.contract.revocations import (
    LIST_REVOCATIONS,
    ListRevocationsRequest,
    RevocationList,
)
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call, Responder

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
        audit: Audit,
        signing: Signing,
        api_keys: ApiKeys,
        sign_ins: SignIns,
        identities: Identities,
    ) -> None:
        self._sign_ins = sign_ins
        self._identities = identities
        self._api_keys = api_keys
        self._signing = signing
        self._audit = audit
        self._attempts = attempts
        self._accounts = accounts
        self._administration = administration
        self._revocations = revocations
        self._sessions = sessions
        self._passwords = passwords

    def register(self, responder: Responder) -> None:
        """Answer every operation of the service."""
        responder.answer(LOGIN, self.login)
        responder.answer(REFRESH, self.refresh)
        responder.answer(OIDC_LOGIN, self.oidc_login)
        responder.answer(OIDC_CALLBACK, self.oidc_callback)
        responder.answer(JWKS, self.jwks)
        responder.answer(ME, self.me)
        responder.answer(LOGOUT, self.logout)
        responder.answer(LIST_SESSIONS, self.list_sessions)
        responder.answer(END_SESSION, self.end_session)
        responder.answer(CREATE_USER, self.create_user)
        responder.answer(LIST_USERS, self.list_users)
        responder.answer(GET_USER, self.get_user)
        responder.answer(UPDATE_USER, self.update_user)
        responder.answer(DELETE_USER, self.delete_user)
        responder.answer(RESTORE_USER, self.restore_user)
        responder.answer(CHANGE_PASSWORD, self.change_password)
        responder.answer(CREATE_API_KEY, self.create_api_key)
        responder.answer(LIST_API_KEYS, self.list_api_keys)
        responder.answer(END_API_KEY, self.end_api_key)
        responder.answer(CHECK_API_KEY, self.check_api_key)
        responder.answer(LIST_AUDIT, self.list_audit)
        responder.answer(LIST_REVOCATIONS, self.list_revocations)

    async def login(self, request: LoginRequest, call: Call) -> Tokens:
        """Same error and same time for an unknown account, a wrong password and a disabled account."""
        account = await self._accounts.by_login(request.username)
        try:
            return await self._log_in(request, account, Origin.of(call))
        except (InvalidCredentials, TooManyRequests) as refused:
            FAILED_LOGINS.inc()
            wrong = isinstance(refused, InvalidCredentials)
            await self._audit.note(
                AuditEvent.LOG_IN_FAILED if wrong else AuditEvent.LOG_IN_DELAYED,
                Origin.of(call),
                user_id=account.user.id if account else None,
            )
            raise

    async def _log_in(self, request: LoginRequest, account: Account | None, by: Origin) -> Tokens:
        attempt = await self._attempts.log_in(request.username, by.client.address)
        matches = await self._passwords.verify(
            request.password, account.password_hash if account else None
        )
        if account is None or not matches or account.disabled:
            await self._attempts.failed(attempt)
            raise InvalidCredentials
        await self._attempts.succeeded(attempt)
        if account.password_hash is not None and self._passwords.outdated(account.password_hash):
            account = await self._accounts.rehash(account, request.password)
        return await self._sessions.open(account, by)

    async def refresh(self, request: RefreshRequest, call: Call) -> Tokens:
        """The session goes on."""
        return await self._sessions.refresh(request.refresh_token, Origin.of(call))

    async def oidc_login(self, request: OidcLoginRequest, _: Call) -> Redirect:
        """To the provider."""
        return await self._sign_ins.begin(request.provider)

    async def oidc_callback(self, request: OidcCallbackRequest, call: Call) -> Tokens:
        """Back from the provider: a session like any other."""
        by = Origin.of(call)
        try:
            return await self._come_back(request, by)
        except (BadRequest, Forbidden, InvalidCredentials, Unauthenticated) as refused:
            FAILED_LOGINS.inc()
            await self._audit.note(
                AuditEvent.LOG_IN_FAILED,
                by,
                user_id=None,
                provider=request.provider,
                reason=refused.detail,
            )
            raise

    async def _come_back(self, request: OidcCallbackRequest, by: Origin) -> Tokens:
        returned = await self._sign_ins.returned(request)
        provider = returned.provider
        await provider.check_issuer(request.iss)
        if request.error is not None or request.code is None:
            raise Unauthenticated("you have not signed in at the provider")
        claims = await provider.exchange(
            request.code, nonce=returned.nonce, verifier=returned.verifier
        )
        account = await self._identities.account(provider.settings, claims, by)
        return await self._sessions.open(account, by, provider=request.provider)

    async def jwks(self, _: JwksRequest, __: Call) -> Jwks:
        """For gateways, and for whoever wants to check tokens."""
        return Jwks(keys=self._signing.public())

    async def logout(self, _: LogoutRequest, call: Call) -> Empty:
        """The caller's session ends, unless it has ended already."""
        caller = _in_person(call)
        await self._sessions.end(caller, caller.session_id, "logout", Origin.of(call))
        return Empty()

    async def list_sessions(self, request: ListSessionsRequest, call: Call) -> SessionPage:
        """The caller's own."""
        return await self._sessions.page(call.signed_in(), request.limit, request.cursor)

    async def end_session(self, request: EndSessionRequest, call: Call) -> Empty:
        """One of the caller's own."""
        ended = await self._sessions.end(
            _in_person(call), request.session_id, "ended", Origin.of(call)
        )
        if not ended:
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
        caller = _in_person(call)
        account = await self._accounts.by_id(caller.user_id)
        if account is None or account.disabled:
            raise Unauthenticated
        try:
            await self._confirm(account, request.old_password)
        except (Forbidden, TooManyRequests):
            await self._audit.note(
                AuditEvent.PASSWORD_CHANGE_REFUSED, Origin.of(call), user_id=caller.user_id
            )
            raise
        if request.new_password == request.old_password:
            raise Invalid("new_password: is the old one", field="new_password")
        await self._accounts.change_password(
            account, request.new_password, "new_password", Origin.of(call)
        )
        return Empty()

    async def _confirm(self, account: Account, password: str) -> None:
        attempt = await self._attempts.confirm(account.user.id)
        if not await self._passwords.verify(password, account.password_hash):
            await self._attempts.failed(attempt)
            raise Forbidden("the old password is wrong", field="old_password")
        await self._attempts.succeeded(attempt)

    async def create_user(self, request: CreateUserRequest, call: Call) -> User:
        """For admins; the gateway checks."""
        _not_by_key(call)
        return await self._accounts.create(request, Origin.of(call))

    async def list_users(self, request: ListUsersRequest, _: Call) -> UserPage:
        """For admins; the gateway checks."""
        return await self._accounts.page(request)

    async def get_user(self, request: UserRequest, _: Call) -> User:
        """For admins; the gateway checks."""
        return await self._administration.get(request.user_id)

    async def update_user(self, request: UpdateUserRequest, call: Call) -> User:
        """For admins; the gateway checks."""
        _not_by_key(call)
        return await self._administration.update(request, Origin.of(call))

    async def delete_user(self, request: UserRequest, call: Call) -> Empty:
        """For admins; the gateway checks."""
        _not_by_key(call)
        await self._administration.delete(request.user_id, Origin.of(call))
        return Empty()

    async def restore_user(self, request: UserRequest, call: Call) -> User:
        """For admins; the gateway checks."""
        _not_by_key(call)
        return await self._administration.restore(request.user_id, Origin.of(call))

    async def create_api_key(self, request: CreateApiKeyRequest, call: Call) -> NewApiKey:
        """For oneself; admins for others."""
        return await self._api_keys.create(request, _in_person(call), Origin.of(call))

    async def list_api_keys(self, request: ListApiKeysRequest, call: Call) -> ApiKeyPage:
        """One's own; admins also others'."""
        return await self._api_keys.page(request, call.signed_in())

    async def end_api_key(self, request: EndApiKeyRequest, call: Call) -> Empty:
        """One's own; admins also others'."""
        await self._api_keys.end(request.key_id, _in_person(call), Origin.of(call))
        return Empty()

    async def check_api_key(self, request: CheckApiKeyRequest, _: Call) -> CheckedApiKey:
        """For gateways."""
        return await self._api_keys.check(request.key)

    async def list_audit(self, request: ListAuditRequest, _: Call) -> AuditPage:
        """For admins; the gateway checks."""
        return await self._audit.page(request)

    async def list_revocations(self, request: ListRevocationsRequest, _: Call) -> RevocationList:
        """For gateways that start, or may have missed something."""
        return await self._revocations.since(request.since)


def _in_person(call: Call) -> Caller:
    """The caller, who has signed in."""
    _not_by_key(call)
    return call.signed_in()


def _not_by_key(call: Call) -> None:
    """A key that was stolen makes no others, and takes no account over."""
    if call.caller is not None and call.caller.by_key:
        raise Forbidden("not with an API key: sign in")
