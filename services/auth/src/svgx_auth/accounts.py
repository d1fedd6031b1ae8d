"""Accounts: the `account` table."""

import uuid
from dataclasses import dataclass

from svgx_auth import names
from svgx_auth.account_names import refuse_taken_names, store_names
from svgx_auth.audit import SERVICE_ORIGIN, Audit, Origin
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.revocations import Revocations
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.auth import (
    LIST_USERS,
    CreateUserRequest,
    FoundAccount,
    FoundAccounts,
    ListUsersRequest,
    User,
    UserPage,
)
from svgx_common.contract.errors import Conflict
from svgx_common.contract.policy import Role
from svgx_common.contract.storage.events import UserCreated
from svgx_common.events.outbox import emit
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database, Row, Session


@dataclass(frozen=True, slots=True)
class Account:
    """An account and its secrets, which stay in this service.

    `password_hash` is None for an account from an OpenID Connect provider, until an admin sets a password.
    """

    user: User
    password_hash: str | None
    disabled: bool
    token_version: int

    @classmethod
    def from_row(cls, row: Row) -> "Account":
        """Return the account of a row of the `account` table."""
        disabled = row["disabled_at"] is not None
        return cls(user_of(row), row["password_hash"], disabled, row["token_version"])


class Accounts:
    """The `account` table. Usernames and e-mail addresses are compared by their keys (`names.name_key`)."""

    def __init__(
        self, database: Database, passwords: Passwords, revocations: Revocations, audit: Audit
    ) -> None:
        self._audit = audit
        self._database = database
        self._revocations = revocations
        self._passwords = passwords

    async def by_login(self, login: str) -> Account | None:
        """Return the account with this username or e-mail address, or None."""
        row = await self._database.row("account_by_login", login, names.name_key(login))
        return None if row is None else Account.from_row(row)

    async def by_id(self, user_id: str) -> Account | None:
        """Return the account with this id, or None."""
        row = await self._database.row("account_by_id", user_id)
        return None if row is None else Account.from_row(row)

    async def find(self, user_ids: list[str]) -> FoundAccounts:
        """Return the accounts with these ids. Ids of unknown and of deleted accounts are left out."""
        rows = await self._database.rows("accounts_of", user_ids)
        return FoundAccounts(
            items=[
                FoundAccount(
                    id=row["id"], role=Role(row["role"]), disabled=row["disabled_at"] is not None
                )
                for row in rows
            ]
        )

    async def create(self, request: CreateUserRequest, by: Origin) -> User:
        """Create an account.

        Raises `Conflict`, naming the field, when another account has the username or the address. Raises `Invalid`
        for a name that must not be used, and for a password that is easy to guess.
        """
        request = _canonical(request)
        password_hash = await self._hash(request)
        async with self._database.transaction() as session:
            await session.run("lock_accounts")
            return await self._insert(session, request, password_hash, by)

    async def create_first_admin(self, request: CreateUserRequest) -> User | None:
        """Create the first admin. Return None when an admin exists already. Raises the errors of `create`."""
        request = _canonical(request)
        password_hash = await self._hash(request)
        async with self._database.transaction() as session:
            await session.run("lock_accounts")
            # Check under the lock, because another replica may have created an admin with another name.
            if await session.row("any_admin") is not None:
                return None
            return await self._insert(session, request, password_hash, SERVICE_ORIGIN)

    async def has_admin(self) -> bool:
        """Return whether an account with the role admin exists. Disabled accounts count, deleted ones do not."""
        return await self._database.row("any_admin") is not None

    async def has_active_admin(self) -> bool:
        """Return whether an account with the role admin is neither disabled nor deleted."""
        return await self._database.row("active_admin") is not None

    async def rehash(self, account: Account, password: str) -> Account:
        """Hash the account's password again, with the current parameters, and return the changed account.

        When another request changed the hash meanwhile, return the account as stored now if `password` matches the new
        hash. Otherwise, return `account` unchanged; `Sessions.open` then refuses the log-in.
        """
        new_hash = await self._passwords.hash(password)
        row = await self._database.row(
            "renew_password_hash", account.user.id, account.password_hash, new_hash
        )
        if row is not None:
            return Account.from_row(row)
        # Another log-in has renewed the hash, or the password was changed.
        current = await self.by_id(account.user.id)
        matches = await self._passwords.verify(password, current.password_hash if current else None)
        return current if current is not None and matches else account

    async def change_password(self, account: Account, new: str, field: str, by: Origin) -> None:
        """Store a new password, and end all sessions of the account except the caller's.

        Raises `Invalid`, naming `field`, for a password that is easy to guess. Raises `Conflict` when the password was
        changed or hashed again, or the account was disabled or deleted, after the caller read `account`.
        """
        user = account.user
        password_hash = await self._passwords.hash_new(
            new, names=(user.username, user.email), field=field
        )
        async with self._database.transaction() as session:
            row = await session.row(
                "change_password", user.id, account.password_hash, password_hash
            )
            if row is None:
                raise Conflict("the account was changed during this request; try again")
            kept_session = by.caller.session_id if by.caller else None
            ended = await self._revocations.end_other_sessions(
                session, user.id, kept_session, "password"
            )
            await self._audit.record(
                session, AuditEvent.PASSWORD_CHANGED, by, user_id=user.id, sessions_ended=len(ended)
            )
        await self._revocations.announce(ended)

    async def page(self, request: ListUsersRequest) -> UserPage:
        """Return a page of accounts, oldest first. Raises `Invalid` for a cursor that is not the `next` of a page."""
        listing = Listing.of(LIST_USERS, request)
        after = listing.decode(request.cursor)
        rows = await self._database.rows(
            "accounts_after",
            request.limit + 1,
            after and after.at,
            after and after.id,
            request.search,
            request.deleted,
        )
        page, next_cursor = listing.page_of(
            rows, request.limit, lambda row: Cursor(row["created_at"], row["id"])
        )
        return UserPage(items=[user_of(row) for row in page], next=next_cursor)

    async def _hash(self, request: CreateUserRequest) -> str:
        return await self._passwords.hash_new(
            request.password, names=(request.username, request.email)
        )

    async def _insert(
        self, session: Session, request: CreateUserRequest, password_hash: str, by: Origin
    ) -> User:
        await refuse_taken_names(session, request.username, request.email)
        row = await session.row(
            "create_account",
            str(uuid.uuid4()),
            request.username,
            request.email,
            password_hash,
            request.role.value,
        )
        assert row is not None
        user = user_of(row)
        await store_names(session, user)
        await self._audit.record(
            session, AuditEvent.USER_CREATED, by, user_id=user.id, role=user.role.value
        )
        await emit(session, UserCreated(user_id=user.id, role=user.role), actor=by.user_id)
        return user


def _canonical(request: CreateUserRequest) -> CreateUserRequest:
    """Return the request with its names in their stored form. Raises `Invalid`."""
    canonical_names = {
        "username": names.username(request.username),
        "email": names.email(request.email),
    }
    return request.model_copy(update=canonical_names)


def user_of(row: Row) -> User:
    """Return the public part of an account, from a row of the `account` table."""
    return User(
        id=row["id"],
        username=row["username"],
        email=row["email"],
        role=Role(row["role"]),
        created_at=row["created_at"],
        disabled=row["disabled_at"] is not None,
        deleted=row["deleted_at"] is not None,
    )
