"""Accounts: the `account` table."""

import uuid
from dataclasses import dataclass

from svgx_auth.audit import SERVICE, Audit, Origin
from svgx_auth.passwords.hashing import Passwords
from svgx_auth.revocations import Revocations
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.auth import CreateUserRequest, ListUsersRequest, User, UserPage
from svgx_common.contract.errors import Conflict
from svgx_common.contract.policy import Role
from svgx_common.pages import Cursor
from svgx_common.postgres import Database, Row, Session


@dataclass(frozen=True, slots=True)
class Account:
    """An account with what only this service sees of it. Without `password_hash` it signs in elsewhere."""

    user: User
    password_hash: str | None
    disabled: bool
    token_version: int

    @classmethod
    def of(cls, row: Row) -> "Account":
        """The account in a row of the table."""
        disabled = row["disabled_at"] is not None
        return cls(user_of(row), row["password_hash"], disabled, row["token_version"])


class Accounts:
    """Finds, lists and creates accounts. Names and addresses are compared without regard to case."""

    def __init__(
        self, database: Database, passwords: Passwords, revocations: Revocations, audit: Audit
    ) -> None:
        self._audit = audit
        self._database = database
        self._revocations = revocations
        self._passwords = passwords

    async def by_login(self, login: str) -> Account | None:
        """The account with this username or e-mail address."""
        row = await self._database.row("account_by_login", login)
        return None if row is None else Account.of(row)

    async def by_id(self, user_id: str) -> Account | None:
        """The account with this id."""
        row = await self._database.row("account_by_id", user_id)
        return None if row is None else Account.of(row)

    async def create(self, request: CreateUserRequest, by: Origin) -> User:
        """A new account. Raises `Conflict` naming the field that another account has, `Invalid` for the password."""
        password_hash = await self._hash(request)
        async with self._database.transaction() as session:
            await session.run("lock_accounts")
            return await self._insert(session, request, password_hash, by)

    async def create_first_admin(self, request: CreateUserRequest) -> User | None:
        """The account of the first start; None when there is an admin by now. Raises as `create` does."""
        password_hash = await self._hash(request)
        async with self._database.transaction() as session:
            await session.run("lock_accounts")
            # Asked under the lock: another replica may have been faster, and with another name.
            if await session.row("any_admin") is not None:
                return None
            return await self._insert(session, request, password_hash, SERVICE)

    async def has_admin(self) -> bool:
        """Whether any account is an admin's."""
        return await self._database.row("any_admin") is not None

    async def rehash(self, account: Account, password: str) -> Account:
        """The account, its password hashed anew with today's parameters; or as it is now if it changed meanwhile."""
        renewed = await self._passwords.hash(password)
        row = await self._database.row(
            "renew_password_hash", account.user.id, account.password_hash, renewed
        )
        if row is not None:
            return Account.of(row)
        # Another log-in was quicker, or the password is another one now.
        found = await self.by_id(account.user.id)
        matches = await self._passwords.verify(password, found.password_hash if found else None)
        return found if found is not None and matches else account

    async def change_password(self, account: Account, new: str, field: str, by: Origin) -> None:
        """Store another password and end the account's sessions but the caller's.

        Raises `Invalid`, naming `field`, for an easy password, and `Conflict` when it was changed meanwhile.
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
                raise Conflict("the password was changed meanwhile")
            keep = by.caller.session_id if by.caller else None
            ended = await self._revocations.end_other_sessions(session, user.id, keep, "password")
            await self._audit.record(
                session, AuditEvent.PASSWORD_CHANGED, by, user_id=user.id, sessions_ended=len(ended)
            )
        await self._revocations.announce(ended)

    async def page(self, request: ListUsersRequest) -> UserPage:
        """Accounts, oldest first. Raises `Invalid` for a cursor that is none of ours."""
        limit = request.limit
        after = None if request.cursor is None else Cursor.decode(request.cursor)
        rows = await self._database.rows(
            "accounts_after",
            limit + 1,
            after and after.at,
            after and after.id,
            request.search,
            request.deleted,
        )
        users = [user_of(row) for row in rows[:limit]]
        more = len(rows) > limit
        following = Cursor(users[-1].created_at, users[-1].id).encode() if more else None
        return UserPage(items=users, next=following)

    async def _hash(self, request: CreateUserRequest) -> str:
        names = (request.username, request.email)
        return await self._passwords.hash_new(request.password, names=names)

    async def _insert(
        self, session: Session, request: CreateUserRequest, password_hash: str, by: Origin
    ) -> User:
        names = await session.row("names_taken", request.username, request.email)
        assert names is not None
        for field in ("username", "email"):
            if names[field]:
                raise Conflict(f"another account has this {field}", field=field)
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
        await self._audit.record(
            session, AuditEvent.USER_CREATED, by, user_id=user.id, role=user.role.value
        )
        return user


def user_of(row: Row) -> User:
    """An account as others see it."""
    return User(
        id=row["id"],
        username=row["username"],
        email=row["email"],
        role=Role(row["role"]),
        created_at=row["created_at"],
        disabled=row["disabled_at"] is not None,
        deleted=row["deleted_at"] is not None,
    )
