"""The operations with which the state service backs up and restores accounts."""

import json

from svgx_auth.account_names import names_taken, store_names
from svgx_auth.accounts import user_of
from svgx_auth.audit import SERVICE_ORIGIN, Audit
from svgx_auth.erasure.account_erasure import ERASED_DOMAIN, PSEUDONYM
from svgx_auth.revocations import Revocations
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.policy import Role
from svgx_common.contract.revocations import Revocation
from svgx_common.contract.storage.backups import (
    EXPORT_ACCOUNTS,
    IMPORT_ACCOUNTS,
    ExportAccountsRequest,
    ExportedAccounts,
    ImportAccountsRequest,
    ImportedAccounts,
    RefusedAccount,
    StoredAccount,
    StoredApiKey,
    StoredIdentity,
)
from svgx_common.contract.storage.events import UserCreated, UserDeleted, UserEvent, UserUpdated
from svgx_common.events.outbox import emit
from svgx_common.messaging.responder import Call, Responder
from svgx_common.postgres import Database, Row, Session


class AccountBackups:
    """The handlers of `EXPORT_ACCOUNTS` and `IMPORT_ACCOUNTS`. Only the state service may call them."""

    def __init__(self, database: Database, revocations: Revocations, audit: Audit) -> None:
        self._database = database
        self._revocations = revocations
        self._audit = audit

    def register(self, responder: Responder) -> None:
        """Register the handlers of this class with the responder."""
        responder.answer(EXPORT_ACCOUNTS, self.export_accounts)
        responder.answer(IMPORT_ACCOUNTS, self.import_accounts)

    async def export_accounts(self, request: ExportAccountsRequest, _: Call) -> ExportedAccounts:
        """Return a page of all accounts, with password hashes, identities and the hashes of API keys."""
        async with self._database.session() as session:
            rows = await session.rows("accounts_to_back_up", request.after, request.limit)
            count = await session.row("count_accounts")
        assert count is not None
        return ExportedAccounts(items=[_stored_account(row) for row in rows], total=count["total"])

    async def import_accounts(self, request: ImportAccountsRequest, _: Call) -> ImportedAccounts:
        """Add those accounts of a backup that do not exist here. Existing accounts, even deleted ones, are not changed.

        A restore that changed existing accounts could bring back an old password, a role that was taken away, or a
        revoked key. An account is refused when another account has its username, its address or one of its identities.
        Repeating the operation is safe. Access tokens that the added accounts had before are ended.
        """
        added = kept = 0
        refused = []
        ended: list[Revocation] = []
        async with self._database.transaction() as session:
            await session.run("lock_accounts")
            for account in request.items:
                if await session.row("any_account", account.id) is not None:
                    kept += 1
                elif (field := await _conflicting_field(session, account)) is not None:
                    refused.append(RefusedAccount(id=account.id, field=field))
                else:
                    ended += await self._add(session, account)
                    added += 1
        await self._revocations.announce(ended)
        return ImportedAccounts(added=added, kept=kept, refused=refused)

    async def _add(self, session: Session, account: StoredAccount) -> list[Revocation]:
        """Add an account, and return the revocation of its access tokens from before the restore."""
        pseudonym = _pseudonym_of(account)
        row = await session.row(
            "add_stored_account",
            account.id,
            account.username,
            account.email,
            account.password_hash,
            account.role,
            account.created_at,
            account.disabled_at,
            account.deleted_at,
            account.token_version,
            pseudonym,
        )
        assert row is not None
        if pseudonym is None:
            await store_names(session, user_of(row))
        for identity in account.identities:
            await session.run(
                "add_stored_identity",
                identity.issuer,
                identity.subject,
                account.id,
                identity.linked_at,
                identity.refused_at,
            )
        for key in account.api_keys:
            await session.run(
                "add_stored_api_key",
                key.id,
                account.id,
                key.name,
                key.prefix,
                bytes.fromhex(key.hash),
                key.role,
                key.created_at,
                key.expires_at,
                key.last_used_at,
                key.ended_at,
            )
        await self._audit.record(
            session,
            AuditEvent.USER_CREATED,
            SERVICE_ORIGIN,
            user_id=account.id,
            role=account.role,
            from_backup=True,
        )
        for event in _events(account):
            await emit(session, event)
        return await self._revocations.end_tokens(session, account.id)


def _events(account: StoredAccount) -> list[UserEvent]:
    """Return the events of an added account, from which receivers learn its state.

    An erased account has no event, because an event would keep its id (R-LIFE-12).
    """
    if _pseudonym_of(account) is not None:
        return []
    role = Role(account.role)
    events: list[UserEvent] = [UserCreated(user_id=account.id, role=role)]
    if account.disabled_at is not None:
        events.append(UserUpdated(user_id=account.id, role=role, disabled=True))
    if account.deleted_at is not None:
        events.append(UserDeleted(user_id=account.id))
    return events


def _pseudonym_of(account: StoredAccount) -> str | None:
    """Return the pseudonym of an erased account, or None.

    In backups of earlier versions, only the username and the e-mail address show it. A user may have chosen such names,
    so the account must also be deleted and without a password.
    """
    if account.erased_as is not None:
        return account.erased_as
    has_erased_names = (
        PSEUDONYM.fullmatch(account.username) is not None
        and account.email == f"{account.username}{ERASED_DOMAIN}"
    )
    is_erased = (
        has_erased_names and account.deleted_at is not None and account.password_hash is None
    )
    return account.username if is_erased else None


async def _conflicting_field(session: Session, account: StoredAccount) -> str | None:
    """Return the first field of the account with a value that another account has already, or None.

    A name that only looks like another is not refused, because earlier versions accepted such names, and their accounts
    keep them.
    """
    taken_names = await names_taken(
        session, account.username, account.email, account.id, by_key=False
    )
    for field, taken in taken_names.items():
        if taken:
            return field
    for identity in account.identities:
        if await session.row("known_identity", identity.issuer, identity.subject) is not None:
            return "identity"
    return None


def _stored_account(row: Row) -> StoredAccount:
    identities = [StoredIdentity.model_validate(each) for each in json.loads(row["identities"])]
    keys = [StoredApiKey.model_validate(each) for each in json.loads(row["api_keys"])]
    return StoredAccount(
        id=row["id"],
        username=row["username"],
        email=row["email"],
        password_hash=row["password_hash"],
        role=row["role"],
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
        deleted_at=row["deleted_at"],
        erased_as=row["erased_as"],
        token_version=row["token_version"],
        identities=identities,
        api_keys=keys,
    )
