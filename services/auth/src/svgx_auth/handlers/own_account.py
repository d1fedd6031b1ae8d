"""The operations on the caller's own account."""

from svgx_auth import names
from svgx_auth.accounts import Account, Accounts
from svgx_auth.audit import Audit, Origin
from svgx_auth.handlers.callers import caller_with_session
from svgx_auth.passwords.attempts import Attempts
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.passwords.queue import PasswordQueue
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.auth import CHANGE_PASSWORD, ME, ChangePasswordRequest, MeRequest, User
from svgx_common.contract.errors import Forbidden, Invalid, TooManyRequests, Unauthenticated
from svgx_common.contract.operation import Empty
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call, Responder


class OwnAccountHandlers:
    """The handlers of `ME` and `CHANGE_PASSWORD`."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        passwords: Passwords,
        attempts: Attempts,
        queue: PasswordQueue,
        audit: Audit,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._attempts = attempts
        self._queue = queue
        self._audit = audit

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(ME, self.me)
        responder.answer(CHANGE_PASSWORD, self.change_password)

    async def me(self, _: MeRequest, call: Call) -> User:
        """Return the caller's account as stored now, which may differ from the access token's claims."""
        account = await self._accounts.by_id(call.signed_in_caller().user_id)
        if account is None or account.disabled:
            raise Unauthenticated
        return account.user

    async def change_password(self, request: ChangePasswordRequest, call: Call) -> Empty:
        """Change the caller's password.

        The old password is required, because a stolen access token must not be enough to take over the account.
        """
        caller = caller_with_session(call)
        async with self._queue.signed_in(caller.user_id):
            await self._change_password(request, call, caller)
        return Empty()

    async def _change_password(
        self, request: ChangePasswordRequest, call: Call, caller: Caller
    ) -> None:
        account = await self._accounts.by_id(caller.user_id)
        if account is None or account.disabled:
            raise Unauthenticated
        try:
            await self._check_old_password(account, request.old_password)
        except (Forbidden, TooManyRequests):
            await self._audit.note(
                AuditEvent.PASSWORD_CHANGE_REFUSED, Origin.of(call), user_id=caller.user_id
            )
            raise
        if names.password(request.new_password) == names.password(request.old_password):
            raise Invalid("new_password: must differ from the old password", field="new_password")
        await self._accounts.change_password(
            account, request.new_password, "new_password", Origin.of(call)
        )

    async def _check_old_password(self, account: Account, password: str) -> None:
        attempt = await self._attempts.confirm(account.user.id)
        if not await self._passwords.verify(password, account.password_hash):
            await self._attempts.failed(attempt)
            raise Forbidden("the old password is wrong", field="old_password")
        await self._attempts.succeeded(attempt)
