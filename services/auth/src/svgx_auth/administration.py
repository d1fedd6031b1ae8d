"""Changes that admins make to accounts. The last active admin cannot be removed."""

from collections.abc import Iterator, Sequence
from typing import Any

from svgx_auth import names
from svgx_auth.account_names import refuse_taken_names, store_names
from svgx_auth.accounts import Account, user_of
from svgx_auth.audit import Audit, Origin
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.revocations import Revocations
from svgx_common import postgres
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.auth import UpdateUserRequest, User
from svgx_common.contract.errors import Conflict, Forbidden, NotFound
from svgx_common.contract.policy import Role
from svgx_common.contract.storage.events import UserDeleted, UserRestored, UserUpdated
from svgx_common.events.outbox import emit
from svgx_common.postgres import Database

_Change = tuple[AuditEvent, dict[str, Any]]
"""A change of an account, as the audit log records it: the event and its details."""


class Administration:
    """The operations that change, delete and restore accounts.

    Every gateway is told about the sessions and tokens that a change ends.
    """

    def __init__(
        self, database: Database, passwords: Passwords, revocations: Revocations, audit: Audit
    ) -> None:
        self._passwords = passwords
        self._database = database
        self._audit = audit
        self._revocations = revocations

    async def get(self, user_id: str) -> User:
        """Return an account, even a deleted one. Raises `NotFound`."""
        row = await self._database.row("any_account", user_id)
        if row is None:
            raise _account_not_found()
        return user_of(row)

    async def update(self, request: UpdateUserRequest, by: Origin) -> User:
        """Change an account.

        Raises `NotFound`. Raises `Conflict` for a name that another account has, and when the change would remove the
        last active admin. Raises `Invalid` for a name that must not be used, and for a password that is easy to guess.
        Raises `Forbidden` when callers set the password of their own account, because a stolen access token would
        otherwise be enough to take over the account.
        """
        if request.password is not None and by.caller and by.caller.user_id == request.user_id:
            raise Forbidden(
                "change your own password with POST /auth/password, which needs the old password",
                field="password",
            )
        password_hash = await self._hash(request)
        async with self._database.transaction() as session:
            before = await self._lock(session, request.user_id)
            request = _with_canonical_names(request, before.user)
            if request.username is not None or request.email is not None:
                await refuse_taken_names(session, request.username, request.email, before.user.id)
            role = request.role or before.user.role
            disabled = before.disabled if request.disabled is None else request.disabled
            if role is not Role.ADMIN or disabled:
                await refuse_last_admin(session, before)
            row = await session.row(
                "update_account",
                request.user_id,
                request.username,
                request.email,
                role.value,
                disabled,
                password_hash,
            )
            assert row is not None
            # A role from an admin also ends the suspension of an account without a role at its provider.
            ends_suspension = (
                request.role is not None
                and await session.row("clear_refusal", request.user_id) is not None
            )
            if disabled and not before.disabled:
                ended = await self._revocations.end_sessions_and_tokens(
                    session, request.user_id, "disabled"
                )
            elif password_hash is not None:
                ended = await self._revocations.end_sessions_and_tokens(
                    session, request.user_id, "password"
                )
            elif role is not before.user.role:
                ended = await self._revocations.end_tokens(session, request.user_id)
            else:
                ended = []
            after = user_of(row)
            await store_names(session, after)
            changes = list(_changes(before.user, after, ends_suspension=ends_suspension))
            if password_hash is not None:
                changes.append((AuditEvent.PASSWORD_RESET, {}))
            await self._note_changes(session, after, changes, by)
        await self._revocations.announce(ended)
        return after

    async def suspend_access(self, user_id: str, by: Origin, **detail: str) -> None:
        """Remove the access of an account that no longer has a role at its provider.

        The account becomes a viewer, its sessions and tokens end, and its API keys are refused until the provider or
        an admin gives the account a role again. `detail` is for the audit log.

        Raises `NotFound`, or `Conflict` for the last active admin.
        """
        async with self._database.transaction() as session:
            before = await self._lock(session, user_id)
            await refuse_last_admin(session, before)
            row = await session.row(
                "update_account", user_id, None, None, Role.VIEWER.value, before.disabled, None
            )
            assert row is not None
            await session.run("refuse_identity", user_id)
            ended = await self._revocations.end_sessions_and_tokens(session, user_id, "provider")
            after = user_of(row)
            await self._note_changes(session, after, list(_changes(before.user, after)), by)
            await self._audit.record(
                session, AuditEvent.IDENTITY_REFUSED, by, user_id=user_id, **detail
            )
        await self._revocations.announce(ended)

    async def end_sessions(self, user_id: str, by: Origin) -> None:
        """End all sessions and access tokens of an account. Raises `NotFound`."""
        async with self._database.transaction() as session:
            await self._lock(session, user_id)
            ended = await self._revocations.end_sessions_and_tokens(session, user_id, "ended")
            await self._audit.record(session, AuditEvent.SESSIONS_ENDED, by, user_id=user_id)
        await self._revocations.announce(ended)

    async def delete(self, user_id: str, by: Origin) -> None:
        """Mark an account as deleted; its row stays. Raises `NotFound`, or `Conflict` for the last active admin."""
        async with self._database.transaction() as session:
            await refuse_last_admin(session, await self._lock(session, user_id))
            await session.run("delete_account", user_id)
            ended = await self._revocations.end_sessions_and_tokens(session, user_id, "deleted")
            await self._audit.record(session, AuditEvent.USER_DELETED, by, user_id=user_id)
            await emit(session, UserDeleted(user_id=user_id), actor=by.user_id)
        await self._revocations.announce(ended)

    async def restore(self, user_id: str, by: Origin) -> User:
        """Restore a deleted account; its sessions stay ended.

        A deletion removes neither the account's canvases nor its roles on canvases, so the account can use them again.
        Raises `NotFound` for an id that never existed, and `Conflict` for an erased account.
        """
        async with self._database.transaction() as session:
            stored = await session.row("any_account", user_id)
            if stored is not None and stored["erased_as"] is not None:
                raise Conflict("the account has been erased", field="user_id")
            row = await session.row("restore_account", user_id)
            if row is not None:
                await self._audit.record(session, AuditEvent.USER_RESTORED, by, user_id=user_id)
                await emit(session, UserRestored(user_id=user_id), actor=by.user_id)
        return await self.get(user_id)

    async def _hash(self, request: UpdateUserRequest) -> str | None:
        """Return the hash of the new password, or None. Call this before locking, because hashing is slow."""
        if request.password is None:
            return None
        user = await self.get(request.user_id)
        return await self._passwords.hash_new(
            request.password,
            names=(request.username or user.username, request.email or user.email),
        )

    async def _note_changes(
        self, session: postgres.Session, after: User, changes: Sequence[_Change], by: Origin
    ) -> None:
        """Write the changes of an account to the audit log, and emit one event, unless there are no changes."""
        for event, detail in changes:
            await self._audit.record(session, event, by, user_id=after.id, **detail)
        if changes:
            updated = UserUpdated(user_id=after.id, role=after.role, disabled=after.disabled)
            await emit(session, updated, actor=by.user_id)

    async def _lock(self, session: postgres.Session, user_id: str) -> Account:
        # Without this lock, the last two admins could demote each other at the same time: each transaction would still
        # find the other admin.
        await session.run("lock_accounts")
        row = await session.row("lock_account_for_change", user_id)
        if row is None:
            raise _account_not_found()
        return Account.from_row(row)


def _changes(before: User, after: User, *, ends_suspension: bool = False) -> Iterator[_Change]:
    """Yield the audit events, and their details, for a change of an account.

    `ends_suspension` means that the change also ends the suspension by a provider.
    """
    renamed = {
        field: {"from": getattr(before, field), "to": getattr(after, field)}
        for field in ("username", "email")
        if getattr(before, field) != getattr(after, field)
    }
    if renamed:
        yield AuditEvent.USER_RENAMED, renamed
    if before.role is not after.role or ends_suspension:
        detail = {"from": before.role.value, "to": after.role.value}
        yield AuditEvent.ROLE_CHANGED, detail | ({"suspension": "ended"} if ends_suspension else {})
    if before.disabled != after.disabled:
        yield (AuditEvent.USER_DISABLED if after.disabled else AuditEvent.USER_ENABLED), {}


def _account_not_found() -> NotFound:
    return NotFound("there is no account with this id", field="user_id")


def _with_canonical_names(request: UpdateUserRequest, user: User) -> UpdateUserRequest:
    """Return the request with its new names in their stored form, and without unchanged names. Raises `Invalid`."""
    new_names: dict[str, str | None] = {"username": None, "email": None}
    if request.username is not None and request.username != user.username:
        new_names["username"] = names.username(request.username)
    if request.email is not None and request.email != user.email:
        new_names["email"] = names.email(request.email)
    return request.model_copy(update=new_names)


async def refuse_last_admin(session: postgres.Session, account: Account) -> None:
    """Raise `Conflict` for the last active admin. The transaction must hold the lock on all accounts."""
    if account.user.role is not Role.ADMIN or account.disabled:
        return
    if await session.row("another_admin", account.user.id) is None:
        raise Conflict("this is the last active admin: appoint another first", field="user_id")
