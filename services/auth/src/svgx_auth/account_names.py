"""The usernames and addresses of accounts, with the keys by which they are compared: the `account_name` table."""

from collections.abc import Iterable

from svgx_auth.names import name_key
from svgx_common.contract.auth import User
from svgx_common.contract.errors import Conflict
from svgx_common.postgres import Database, Session

NAMES_PER_STATEMENT = 1000
"""Maximum number of names that one statement adds."""


class AccountNames:
    """The `account_name` table. Names that look alike have the same key (`names.name_key`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_missing(self) -> None:
        """Add the missing keys of accounts, and replace those of an earlier version of this service.

        During an update and after a rollback, replicas of an earlier version add accounts without keys or with keys of
        another form. Erased accounts need no keys.
        """
        while True:
            async with self._database.transaction() as session:
                await session.run("lock_accounts")
                rows = await session.rows("names_without_key", NAMES_PER_STATEMENT)
                await _add(session, ((row["id"], row["name"]) for row in rows))
            if len(rows) < NAMES_PER_STATEMENT:
                return


async def refuse_taken_names(
    session: Session, username: str | None, email: str | None, account_id: str | None = None
) -> None:
    """Raise `Conflict`, naming the field, when an account other than `account_id` has the username or the address.

    None stands for a name that does not change. The transaction must hold the lock on all accounts.
    """
    taken_names = await names_taken(session, username, email, account_id)
    for field, taken in taken_names.items():
        if taken:
            raise Conflict(
                f"another account has this {field}, or one that looks the same", field=field
            )


async def is_free(session: Session, name: str) -> bool:
    """Return whether no account has the name as username or address.

    The transaction must hold the lock on all accounts.
    """
    return not any((await names_taken(session, name, name, None)).values())


async def store_names(session: Session, user: User) -> None:
    """Store the names of an account that was created or changed in this transaction."""
    await _add(session, ((user.id, user.username), (user.id, user.email)))
    await session.run("forget_old_account_names", user.id)


async def names_taken(
    session: Session,
    username: str | None,
    email: str | None,
    account_id: str | None,
    *,
    by_key: bool = True,
) -> dict[str, bool]:
    """Return for `username` and for `email` whether an account other than `account_id` has that name or address.

    With `by_key`, a name that looks the same counts too. None is never taken. The transaction must hold the lock on
    all accounts.
    """
    keys = [name_key(each) if by_key and each is not None else None for each in (username, email)]
    row = await session.row("names_taken", username, keys[0], email, keys[1], account_id)
    assert row is not None
    return {"username": row["username"], "email": row["email"]}


async def _add(session: Session, names: Iterable[tuple[str, str]]) -> None:
    rows = [(account_id, name, name_key(name)) for account_id, name in names]
    if rows:
        await session.run(
            "add_account_names", *(list(column) for column in zip(*rows, strict=True))
        )
