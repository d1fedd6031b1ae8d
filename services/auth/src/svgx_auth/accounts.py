"""Accounts: the `account` table."""

import base64
import binascii
import json
import uuid
from dataclasses import dataclass
from datetime import datetime

from svgx_auth.passwords import Passwords
from svgx_common.contract.auth import CreateUserRequest, User, UserPage
from svgx_common.contract.errors import Conflict, Invalid
from svgx_common.contract.policy import Role
from svgx_common.postgres import Database, Row


@dataclass(frozen=True, slots=True)
class Account:
    """An account with what only this service sees of it."""

    user: User
    password_hash: str
    disabled: bool


class Accounts:
    """Finds, lists and creates accounts. Names and addresses are compared without regard to case."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    async def by_login(self, login: str) -> Account | None:
        """The account with this username or e-mail address."""
        row = await self._database.row("account_by_login", login)
        return None if row is None else _account(row)

    async def by_id(self, user_id: str) -> Account | None:
        """The account with this id."""
        row = await self._database.row("account_by_id", user_id)
        return None if row is None else _account(row)

    async def create(self, request: CreateUserRequest) -> User:
        """A new account. Raises `Conflict` naming the field that another account has."""
        password_hash = await self._passwords.hash(request.password)
        async with self._database.transaction() as session:
            # Nobody's username may be somebody else's address: log-in takes either.
            await session.run("lock_names")
            taken = await session.rows("names_taken", [request.username, request.email])
            for field in ("username", "email"):
                wanted = getattr(request, field).lower()
                if any(wanted in (row["username"].lower(), row["email"].lower()) for row in taken):
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
        return _user(row)

    async def create_first_admin(self, request: CreateUserRequest) -> User | None:
        """The account of the first start; None when there is an admin, or another replica made it."""
        if await self.has_admin():
            return None
        try:
            return await self.create(request)
        except Conflict:
            return None

    async def has_admin(self) -> bool:
        """Whether any account is an admin's."""
        return await self._database.row("any_admin") is not None

    async def rehash(self, user_id: str, password: str) -> None:
        """Store the password's hash anew, with today's parameters."""
        await self._database.run("set_password_hash", user_id, await self._passwords.hash(password))

    async def page(self, limit: int, cursor: str | None) -> UserPage:
        """Accounts, oldest first. Raises `Invalid` for a cursor that is none of ours."""
        after = _read_cursor(cursor) if cursor is not None else (None, None)
        rows = await self._database.rows("accounts_after", limit + 1, *after)
        users = [_user(row) for row in rows[:limit]]
        following = _cursor(users[-1]) if len(rows) > limit else None
        return UserPage(items=users, next=following)


def _user(row: Row) -> User:
    return User(
        id=row["id"],
        username=row["username"],
        email=row["email"],
        role=Role(row["role"]),
        created_at=row["created_at"],
    )


def _account(row: Row) -> Account:
    return Account(_user(row), row["password_hash"], row["disabled_at"] is not None)


def _cursor(user: User) -> str:
    return base64.urlsafe_b64encode(
        json.dumps([user.created_at.isoformat(), user.id]).encode()
    ).decode()


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        moment, user_id = json.loads(base64.urlsafe_b64decode(cursor))
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None or not isinstance(user_id, str) or "\x00" in user_id:
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        raise Invalid("cursor: not the `next` of a page of accounts", field="cursor") from None
    return at, user_id
