"""Failed log-ins: the next attempt has to wait, longer after each failure (docs/decisions/0010).

The wait is checked before a password is verified, and again afterwards. So only a few of many simultaneous guesses are
answered, even when one of them is right.
"""

from dataclasses import dataclass

from svgx_auth.keys.derived_keys import derived_key
from svgx_common.addresses import customer_key, parse_address
from svgx_common.contract.errors import TooManyRequests
from svgx_common.postgres import Database, Session


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait after failures: none for fewer than `free`, then 1, 2, 4 … seconds, at most `longest` seconds."""

    free: int
    longest: float


NAME = Backoff(5, 300)
"""The wait for one entered name, or one account."""

ADDRESS = Backoff(50, 60)
"""The wait for one address. It allows more failures, because many users may share an address."""

FORGET_AFTER = 86400.0
"""Seconds after the last failure until the failures are forgotten."""

FORGET_BATCH = 10_000
"""The largest number of rows that one statement removes."""

_PURPOSE = b"svgx attempted names v1"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to prove knowledge of a password. Its failure is counted under each of `keys`."""

    keys: tuple[tuple[str, Backoff], ...]


class Attempts:
    """The `attempt` table.

    The table stores hashes of the names that users enter, because a user may enter a password instead of the name. The
    hashes depend on `secret`, the server's secret, so that a reader of the table cannot find the names by guessing.
    """

    def __init__(self, database: Database, secret: str) -> None:
        self._database = database
        self._key = derived_key(secret, _PURPOSE)

    async def log_in(self, name: str, address: str) -> Attempt:
        """Begin an attempt to log in. Raises `TooManyRequests` when it comes too early.

        Names without an account are treated like other names. Failures from an address at which the account has a
        session are counted separately, so that failures elsewhere do not lock out the account's owner.
        """
        row = await self._database.row("attempted_name", name, address, self._key)
        assert row is not None
        name_key = f"name:{row['name'].hex()}"
        if row["known"]:
            name_key += f"@{address}"
        keys: tuple[tuple[str, Backoff], ...] = ((name_key, NAME),)
        if address:
            # The address comes first in every transaction. A common order of locks prevents deadlocks.
            keys = ((f"address:{address_key(address)}", ADDRESS), *keys)
        return await self._begin(Attempt(keys))

    async def confirm(self, user_id: str) -> Attempt:
        """Begin an attempt of a signed-in user to confirm the password. Raises `TooManyRequests`."""
        return await self._begin(Attempt(((f"account:{user_id}", NAME),)))

    async def failed(self, attempt: Attempt) -> None:
        """Count a failure.

        Raises `TooManyRequests` when other attempts have failed meanwhile, so that the client does not learn whether
        its guess was right.
        """
        async with self._database.transaction() as session:
            for key, backoff in attempt.keys:
                counted = await session.row(
                    "count_attempt", key, backoff.free, backoff.longest, FORGET_AFTER
                )
                if counted is None:
                    await self._refuse(session, attempt)

    async def succeeded(self, attempt: Attempt) -> None:
        """Forget the failures of the name, but not of the address. Raises `TooManyRequests` as `failed` does."""
        async with self._database.transaction() as session:
            await self._refuse(session, attempt)
            key, _ = attempt.keys[-1]
            await session.run("forget_attempt", key)

    async def remove_old(self) -> None:
        """Remove failures older than `FORGET_AFTER` seconds."""
        await self._database.run("forget_attempts", FORGET_AFTER, FORGET_BATCH)

    async def _begin(self, attempt: Attempt) -> Attempt:
        async with self._database.session() as session:
            await self._refuse(session, attempt)
        return attempt

    async def _refuse(self, session: Session, attempt: Attempt) -> None:
        """Raise `TooManyRequests` while the attempt has to wait."""
        wait = 0.0
        for key, backoff in attempt.keys:
            row = await session.row(
                "attempt_wait", key, backoff.free, backoff.longest, FORGET_AFTER
            )
            if row is not None:
                wait = max(wait, row["seconds"])
        if wait > 0:
            raise TooManyRequests("too many attempts have failed; wait", retry_after=wait)


def address_key(address: str) -> str:
    """Return the key under which failures from an address are counted: see `customer_key`.

    A text that is not an address is its own key.
    """
    parsed = parse_address(address)
    return address if parsed is None else customer_key(parsed)
