"""Identities at providers, and the accounts that belong to them."""

import secrets
import unicodedata
import uuid
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from svgx_auth import names
from svgx_auth.account_names import is_free, store_names
from svgx_auth.accounts import Account
from svgx_auth.administration import Administration
from svgx_auth.audit import Audit, Origin
from svgx_auth.oidc.settings import OidcProvider
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.auth import Email, UpdateUserRequest, Username
from svgx_common.contract.errors import Conflict, Forbidden, Invalid, NotFound
from svgx_common.contract.policy import Role
from svgx_common.contract.storage.events import UserCreated
from svgx_common.events.outbox import emit
from svgx_common.postgres import Database, Session

_USERNAME: TypeAdapter[str] = TypeAdapter(Username)
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)

_REFUSED = "this account may not sign in"


class Identities:
    """The `identity` table: it links an issuer and a subject to an account.

    Accounts are never linked by e-mail address, because an address may belong to another person later.
    """

    def __init__(self, database: Database, administration: Administration, audit: Audit) -> None:
        self._database = database
        self._administration = administration
        self._audit = audit

    async def account(self, provider: OidcProvider, claims: dict[str, Any], by: Origin) -> Account:
        """Return the account of a provider's user, with the role that the user's claims give now.

        The first sign-in creates the account. An existing account keeps its role when the provider has no `role_claim`.
        The last active admin remains an admin in every case.

        Raises `Forbidden` when the account is disabled or deleted, and when the claims give no role. Without a role,
        the account loses its access (`Administration.suspend_access`), unless it is the last active admin.
        """
        role = provider.role_of(claims)
        if role is None:
            await self._suspend_access(provider, claims, by)
            raise Forbidden("the provider gives you no role here")
        async with self._database.transaction() as session:
            await session.run("lock_accounts")
            row = await session.row("account_of_identity", provider.issuer, claims["sub"])
            if row is None:
                return await self._create(session, provider, claims, role, by)
            if row["disabled_at"] is not None or row["deleted_at"] is not None:
                raise Forbidden(_REFUSED)
            await session.run("clear_refusal", row["id"])
        account = Account.from_row(row)
        if provider.role_claim is None or account.user.role is role:
            return account
        return await self._with_role(account, role, by)

    async def user_id(self, provider: OidcProvider, claims: dict[str, Any]) -> str | None:
        """Return the id of the account of a provider's user, also of a deleted account, or None without one."""
        row = await self._database.row("account_of_identity", provider.issuer, claims["sub"])
        return None if row is None else str(row["id"])

    async def _suspend_access(
        self, provider: OidcProvider, claims: dict[str, Any], by: Origin
    ) -> None:
        row = await self._database.row("account_of_identity", provider.issuer, claims["sub"])
        if row is None:
            return
        try:
            await self._administration.suspend_access(row["id"], by, provider=provider.name)
        except NotFound:
            pass  # the account is deleted, and has no access
        except Conflict:
            pass  # the last admin keeps the role, because only an admin can give it back

    async def _with_role(self, account: Account, role: Role, by: Origin) -> Account:
        request = UpdateUserRequest(user_id=account.user.id, role=role)
        try:
            await self._administration.update(request, by)
        except Conflict:
            return (
                account  # the last admin keeps the role, even when the provider gives another role
            )
        except NotFound:
            # An admin has deleted the account meanwhile.
            raise Forbidden(_REFUSED) from None
        row = await self._database.row("account_by_id", account.user.id)
        if row is None:
            raise Forbidden(_REFUSED)
        return Account.from_row(row)

    async def _create(
        self,
        session: Session,
        provider: OidcProvider,
        claims: dict[str, Any],
        role: Role,
        by: Origin,
    ) -> Account:
        user_id = str(uuid.uuid4())
        email = await _first_free(
            session,
            # Ignore an address that the provider has not verified, because it may belong to another person.
            [claims.get("email") if claims.get("email_verified") is True else None],
            _EMAIL,
            names.email,
        )
        username = await _first_free(
            session, [_preferred_username(claims), email], _USERNAME, names.username
        )
        row = await session.row(
            "create_account",
            user_id,
            username or f"{provider.name}-{secrets.token_hex(4)}",
            email
            or f"{user_id}@{provider.name}.invalid",  # no domain ends in `.invalid` (RFC 2606)
            None,
            role.value,
        )
        assert row is not None
        account = Account.from_row(row)
        await store_names(session, account.user)
        await session.run("add_identity", provider.issuer, claims["sub"], user_id)
        await self._audit.record(
            session, AuditEvent.USER_CREATED, by, user_id=user_id, role=role.value
        )
        await emit(session, UserCreated(user_id=user_id, role=role), actor=by.user_id)
        await self._audit.record(
            session,
            AuditEvent.IDENTITY_LINKED,
            by,
            user_id=user_id,
            provider=provider.name,
            subject=claims["sub"],
        )
        return account


def _preferred_username(claims: dict[str, Any]) -> str | None:
    """Return the user's name at the provider, or None when there is no name.

    Also return None for a name with `@`, because it may be the address of another user.
    """
    name = claims.get("preferred_username")
    # Normalization turns characters that look like `@`, such as U+FF20, into `@`.
    if not isinstance(name, str) or "@" in unicodedata.normalize("NFKC", name):
        return None
    return name


async def _first_free(
    session: Session,
    candidates: list[Any],
    kind: TypeAdapter[str],
    canonical: Callable[[str], str],
) -> str | None:
    """Return, in canonical form, the first candidate that is valid and that no account has as username or address.

    Return None if there is no such candidate.
    """
    for candidate in candidates:
        try:
            name = canonical(kind.validate_python(candidate, strict=True))
        except (ValidationError, Invalid):
            continue
        if await is_free(session, name):
            return name
    return None
