"""Failed log-ins: the next attempt has to wait, longer after each failure (docs/decisions/0010 and 0038).

The wait is checked before a password is verified, and again afterwards. So only a few of many simultaneous guesses are
answered, even when one of them is right.
"""

import hashlib
import hmac
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
"""The wait for one account, or one unknown name, after failures from one network."""

LONGEST_AT_NEW_NETWORK = 15.0
"""The longest wait, in seconds, for a network without a failure, after failures from other networks.

The wait doubles with each failure of the network, up to `NAME.longest`. So guesses from many networks get one answer in
15 s, and the account's owner waits 15 s at most at a new address.
"""

ADDRESS = Backoff(50, 60)
"""The wait for one address. It allows more failures, because many users may share an address."""

FORGET_AFTER = 86400.0
"""Seconds after the last failure until the failures are forgotten."""

FORGET_BATCH = 10_000
"""The largest number of rows that one statement removes."""

_PURPOSE = b"svgx attempted names v1"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to prove knowledge of a password. Its failure is counted under each of `keys`.

    A success forgets the failures of the `forgiven` keys.
    """

    keys: tuple[tuple[str, Backoff], ...]
    forgiven: tuple[str, ...]


class Attempts:
    """The `attempt` table.

    The table stores hashes of names and account ids, because a user may enter a password instead of the name. The
    hashes depend on `secret`, the server's secret, so that a reader of the table cannot find the names by guessing.
    """

    def __init__(self, database: Database, secret: str) -> None:
        self._database = database
        self._key = derived_key(secret, _PURPOSE)

    async def log_in(self, account_id: str | None, name: str, address: str) -> Attempt:
        """Begin an attempt to log in. Raises `TooManyRequests` when it comes too early.

        `account_id` is None for an unknown name. Its failures are counted like those of an account, with the same work.
        Failures are counted for the network, for the account at this network, and, unless the network is a home of the
        account, for the account at all networks that are not its homes. So failures from elsewhere do not delay the
        owner at home, and delay the owner at a new address for `LONGEST_AT_NEW_NETWORK` seconds at most.
        """
        network = address_key(address)
        subject = self._hash(f"name {name}" if account_id is None else f"account {account_id}")
        here, everywhere = f"log-in:{subject}@{network}", f"log-in:{subject}"
        row = await self._database.row(
            "log_in_place", account_id or "", network, address, here, FORGET_AFTER
        )
        assert row is not None
        # All transactions use this order of keys, because a common order of locks prevents deadlocks.
        keys = [(here, NAME)]
        if address:
            keys.insert(0, (f"address:{network}", ADDRESS))
        if row["home"]:
            return await self._begin(Attempt(tuple(keys), (here,)))
        longest = min(NAME.longest, LONGEST_AT_NEW_NETWORK * 2 ** min(row["failures"], 30))
        keys.append((everywhere, Backoff(NAME.free, longest)))
        return await self._begin(Attempt(tuple(keys), (here, everywhere)))

    async def confirm(self, user_id: str) -> Attempt:
        """Begin an attempt of a signed-in user to confirm the password. Raises `TooManyRequests`."""
        key = f"account:{user_id}"
        return await self._begin(Attempt(((key, NAME),), (key,)))

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
        """Forget the failures of the account, but not of the address. Raises `TooManyRequests` as `failed` does."""
        async with self._database.transaction() as session:
            await self._refuse(session, attempt)
            for key in attempt.forgiven:
                await session.run("forget_attempt", key)

    async def erase(self, session: Session, user_id: str) -> int:
        """Forget the failures of an account at all networks, in the caller's transaction. Return their number."""
        everywhere = f"log-in:{self._hash(f'account {user_id}')}"
        keys = [everywhere, f"account:{user_id}"]
        row = await session.row("erase_attempts", keys, f"{everywhere}@")
        assert row is not None
        return int(row["rows"])

    async def remove_old(self) -> None:
        """Remove failures older than `FORGET_AFTER` seconds."""
        await self._database.run("forget_attempts", FORGET_AFTER, FORGET_BATCH)

    def _hash(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), hashlib.sha256).hex()

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
