"""The operations with which admins manage accounts and read the audit log, and two operations for other services.

The two operations for other services are `FIND_ACCOUNTS` and `RECORD_AUDIT`. The admins' operations for erasure and
sessions are in the modules `user_erasure` and `user_sessions`. The gateway checks that callers of admins' operations
are admins.
"""

from svgx_auth.accounts import Accounts
from svgx_auth.administration import Administration
from svgx_auth.audit import Audit, Origin
from svgx_auth.handlers.callers import caller_id, refuse_api_key
from svgx_auth.passwords.queue import PasswordQueue
from svgx_common.contract.audit import (
    LIST_AUDIT,
    RECORD_AUDIT,
    REPORTED_EVENTS,
    AuditPage,
    ListAuditRequest,
    RecordAuditRequest,
)
from svgx_common.contract.auth import (
    CREATE_USER,
    DELETE_USER,
    FIND_ACCOUNTS,
    GET_USER,
    LIST_USERS,
    RESTORE_USER,
    UPDATE_USER,
    CreateUserRequest,
    FindAccountsRequest,
    FoundAccounts,
    ListUsersRequest,
    UpdateUserRequest,
    User,
    UserPage,
    UserRequest,
)
from svgx_common.contract.errors import Forbidden
from svgx_common.contract.operation import Empty
from svgx_common.messaging.responder import Call, Responder


class AdministrationHandlers:
    """The handlers of admins' operations on users and the audit log, and of `FIND_ACCOUNTS` and `RECORD_AUDIT`."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        administration: Administration,
        queue: PasswordQueue,
        audit: Audit,
    ) -> None:
        self._accounts = accounts
        self._administration = administration
        self._queue = queue
        self._audit = audit

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(CREATE_USER, self.create_user)
        responder.answer(LIST_USERS, self.list_users)
        responder.answer(GET_USER, self.get_user)
        responder.answer(UPDATE_USER, self.update_user)
        responder.answer(DELETE_USER, self.delete_user)
        responder.answer(RESTORE_USER, self.restore_user)
        responder.answer(LIST_AUDIT, self.list_audit)
        responder.answer(RECORD_AUDIT, self.record_audit)
        responder.answer(FIND_ACCOUNTS, self.find_accounts)

    async def create_user(self, request: CreateUserRequest, call: Call) -> User:
        """Create an account."""
        refuse_api_key(call)
        async with self._queue.signed_in(caller_id(call)):
            return await self._accounts.create(request, Origin.of(call))

    async def list_users(self, request: ListUsersRequest, _: Call) -> UserPage:
        """List accounts."""
        return await self._accounts.page(request)

    async def get_user(self, request: UserRequest, _: Call) -> User:
        """Return an account."""
        return await self._administration.get(request.user_id)

    async def update_user(self, request: UpdateUserRequest, call: Call) -> User:
        """Change an account."""
        refuse_api_key(call)
        if request.password is None:
            return await self._administration.update(request, Origin.of(call))
        async with self._queue.signed_in(caller_id(call)):
            return await self._administration.update(request, Origin.of(call))

    async def delete_user(self, request: UserRequest, call: Call) -> Empty:
        """Delete an account."""
        refuse_api_key(call)
        await self._administration.delete(request.user_id, Origin.of(call))
        return Empty()

    async def restore_user(self, request: UserRequest, call: Call) -> User:
        """Restore a deleted account."""
        refuse_api_key(call)
        return await self._administration.restore(request.user_id, Origin.of(call))

    async def list_audit(self, request: ListAuditRequest, _: Call) -> AuditPage:
        """List entries of the audit log."""
        return await self._audit.page(request)

    async def record_audit(self, request: RecordAuditRequest, call: Call) -> Empty:
        """Record the event of another service. Raises `Forbidden` for an event that only this service records."""
        if request.event not in REPORTED_EVENTS:
            raise Forbidden("only this service records the event", field="event")
        await self._audit.note_reported(request, Origin.of(call))
        return Empty()

    async def find_accounts(self, request: FindAccountsRequest, _: Call) -> FoundAccounts:
        """Tell a service which of the requested accounts exist."""
        return await self._accounts.find(request.user_ids)
