"""Whose account somebody at a provider is: the `identity` table."""

import secrets
import unicodedata
import uuid
from typing import Any

from pydantic import TypeAdapter, ValidationError

from svgx_auth.accounts import Account
from svgx_auth.administration import Administration
from svgx_auth.audit import Audit, Origin
from svgx_auth.oidc.settings import OidcProvider
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.auth import Email, UpdateUserRequest, Username
from svgx_common.contract.errors import Conflict, Forbidden, NotFound
from svgx_common.contract.policy import Role
from svgx_common.postgres import Database, Session

_USERNAME: TypeAdapter[str] = TypeAdapter(Username)
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)


class Identities:
    """Links accounts by issuer and subject, and by nothing else: an address may be somebody else's tomorrow."""

    def __init__(self, database: Database, administration: Administration, audit: Audit) -> None:
        self._database = database
        self._administration = administration
        self._audit = audit

    async def account(self, provider: OidcProvider, claims: dict[str, Any], by: Origin) -> Account:
        """The account of whoever these claims are about, made at the first sign-in, with the role they mean now.

        Raises `Forbidden` for those without a role, whose account has nothing left then, and for accounts that are
        disabled or deleted.
        """
        role = provider.role_of(claims)
        if role is None:
            await self._shut_out(provider, claims, by)
            raise Forbidden("nobody has given you a role here")
        async with self._database.transaction() as session:
            await session.run("lock_accounts")
            row = await session.row("account_of_identity", provider.issuer, claims["sub"])
            if row is None:
                return await self._create(session, provider, claims, role, by)
            if row["disabled_at"] is not None or row["deleted_at"] is not None:
                raise Forbidden("this account may not sign in")
            await session.run("accept_identity", row["id"])
        account = Account.of(row)
        if provider.role_claim is None or account.user.role is role:
            return account
        return await self._with_role(account, role, by)

    async def _shut_out(self, provider: OidcProvider, claims: dict[str, Any], by: Origin) -> None:
        row = await self._database.row("account_of_identity", provider.issuer, claims["sub"])
        if row is None:
            return
        try:
            await self._administration.shut_out(row["id"], by, provider=provider.name)
        except NotFound:
            pass  # it is deleted: there is nothing left
        except Conflict:
            pass  # the last admin stays one, and would otherwise be nobody's any more

    async def _with_role(self, account: Account, role: Role, by: Origin) -> Account:
        request = UpdateUserRequest(user_id=account.user.id, role=role)
        try:
            await self._administration.update(request, by)
        except Conflict:
            return account  # the last admin stays one, whatever a provider says
        row = await self._database.row("account_by_id", account.user.id)
        if row is None:
            raise Forbidden("this account may not sign in")
        return Account.of(row)

    async def _create(
        self,
        session: Session,
        provider: OidcProvider,
        claims: dict[str, Any],
        role: Role,
        by: Origin,
    ) -> Account:
        user_id = str(uuid.uuid4())
        email = await _free(
            session,
            # Not an address that anybody could have typed at the provider.
            [claims.get("email") if claims.get("email_verified") is True else None],
            _EMAIL,
        )
        username = await _free(session, [_name(claims), email], _USERNAME)
        row = await session.row(
            "create_account",
            user_id,
            username or f"{provider.name}-{secrets.token_hex(4)}",
            email or f"{user_id}@{provider.name}.invalid",  # a name that nobody has (RFC 2606)
            None,
            role.value,
        )
        assert row is not None
        await session.run("add_identity", provider.issuer, claims["sub"], user_id)
        await self._audit.record(
            session, AuditEvent.USER_CREATED, by, user_id=user_id, role=role.value
        )
        await self._audit.record(
            session,
            AuditEvent.IDENTITY_LINKED,
            by,
            user_id=user_id,
            provider=provider.name,
            subject=claims["sub"],
        )
        return Account.of(row)


def _name(claims: dict[str, Any]) -> str | None:
    """What somebody is called at the provider, unless it looks like an address: nobody has verified it."""
    name = claims.get("preferred_username")
    # Other signs than `@` look like it, such as U+FF20; they are the same in this form.
    if not isinstance(name, str) or "@" in unicodedata.normalize("NFKC", name):
        return None
    return name


async def _free(session: Session, wanted: list[Any], kind: TypeAdapter[str]) -> str | None:
    """The first of these that may be a name and is nobody's."""
    for each in wanted:
        try:
            name = kind.validate_python(each, strict=True)
        except ValidationError:
            continue
        taken = await session.row("names_taken", name, name)
        if taken is not None and not taken["username"]:
            return name
    return None
