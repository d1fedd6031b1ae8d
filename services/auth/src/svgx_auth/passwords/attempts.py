"""Failed attempts: whoever guesses waits, longer with every guess (docs/decisions/0010).

The wait is looked at before a password is verified, and again after it: of many guesses at once only so many are
answered, the right one among them or not.
"""

import ipaddress
from dataclasses import dataclass

from svgx_auth.keys.derived_keys import derived_key
from svgx_common.contract.errors import TooManyRequests
from svgx_common.postgres import Database, Session


@dataclass(frozen=True, slots=True)
class Pace:
    """`free` failures cost nothing; then 1, 2, 4 … up to `longest` seconds must pass before the next attempt.

    Failures are forgotten `FORGET_AFTER` after the last.
    """

    free: int
    longest: float


NAME = Pace(5, 300)
"""For one name that was typed, or one account."""

ADDRESS = Pace(50, 60)
"""For one address: many people may share it."""

FORGET_AFTER = 86400.0
"""Seconds."""

FORGET_AT_ONCE = 10_000
"""Rows one statement removes."""

_PURPOSE = b"svgx attempted names v1"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt counts against."""

    keys: tuple[tuple[str, Pace], ...]


class Attempts:
    """The `attempt` table. `secret` is the server's: what people type as their name is not to be guessed from it."""

    def __init__(self, database: Database, secret: str) -> None:
        self._database = database
        self._key = derived_key(secret, _PURPOSE)

    async def log_in(self, login: str, address: str) -> Attempt:
        """An attempt to sign in. Raises `TooManyRequests` when it comes too soon.

        Whether there is such an account makes no difference. An address from which the account's owner has signed in
        counts by itself, so that nobody can lock the owner out from elsewhere.
        """
        row = await self._database.row("attempted_name", login, address, self._key)
        assert row is not None
        name = f"name:{row['name'].hex()}"
        if row["known"]:
            name += f"@{address}"
        keys: tuple[tuple[str, Pace], ...] = ((name, NAME),)
        if address:
            # First, in every transaction: two that count both cannot wait for each other.
            keys = ((f"address:{network(address)}", ADDRESS), *keys)
        return await self._begin(Attempt(keys))

    async def confirm(self, user_id: str) -> Attempt:
        """An attempt of somebody who is signed in to show that the password is known. Raises `TooManyRequests`."""
        return await self._begin(Attempt(((f"account:{user_id}", NAME),)))

    async def failed(self, attempt: Attempt) -> None:
        """Count it. Raises `TooManyRequests` when others have failed meanwhile: then it is not answered."""
        async with self._database.transaction() as session:
            for key, pace in attempt.keys:
                counted = await session.row(
                    "count_attempt", key, pace.free, pace.longest, FORGET_AFTER
                )
                if counted is None:
                    await self._refuse(session, attempt)

    async def succeeded(self, attempt: Attempt) -> None:
        """Start anew for this name, but not for the address. Raises `TooManyRequests` as `failed` does."""
        async with self._database.transaction() as session:
            await self._refuse(session, attempt)
            key, _ = attempt.keys[-1]
            await session.run("forget_attempt", key)

    async def forget_old(self) -> None:
        """Remove what counts no more."""
        await self._database.run("forget_attempts", FORGET_AFTER, FORGET_AT_ONCE)

    async def _begin(self, attempt: Attempt) -> Attempt:
        async with self._database.session() as session:
            await self._refuse(session, attempt)
        return attempt

    async def _refuse(self, session: Session, attempt: Attempt) -> None:
        """Raise `TooManyRequests` while there is something to wait for."""
        wait = 0.0
        for key, pace in attempt.keys:
            row = await session.row("attempt_wait", key, pace.free, pace.longest, FORGET_AFTER)
            if row is not None:
                wait = max(wait, row["seconds"])
        if wait > 0:
            raise TooManyRequests("too many attempts have failed; wait", retry_after=wait)


def network(address: str) -> str:
    """What one caller can have: an IPv4 address, or 64 bits of IPv6 (RFC 6177)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(found), 64), strict=False))
    return str(found)
