"""Failed log-ins. After each failure, the next attempt has to wait longer (docs/decisions/0010 and 0038).

The wait is checked before a password is verified, and again afterwards. So among many simultaneous guesses, only a
few show whether the password was right. All others are refused, even with the right password.
"""

import hashlib
import hmac
from dataclasses import dataclass

from svgx_auth.keys.derived_keys import derived_key
from svgx_common.addresses import customer_key, parse_address
from svgx_common.contract.errors import TooManyRequests
from svgx_common.database.batches import remove_in_batches
from svgx_common.postgres import Database, Session


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait after failures, in seconds.

    After fewer than `free` failures, there is no wait. Each further failure doubles the wait: 1, 2, 4 …, at most
    `longest`. With a `half_life`, the number of earlier failures halves in this time, rounded up at the next failure.
    """

    free: int
    longest: float
    half_life: float | None = None


ACCOUNT_BACKOFF = Backoff(5, 300)
"""The wait for one account, or one unknown name, after failures from one network."""

NEW_NETWORK_WAIT_SECONDS = 15.0
"""The longest wait, in seconds, at a network that is new for an account, if log-ins at other networks have failed.

A home network of an account is a network at which the account has had a session. All networks that are not home
networks share the count of failures that causes this wait. Therefore guesses from many networks together get one answer
in 15 s, and the account's owner waits at most 15 s at a new address. Each failure at a network doubles the longest wait
for this network, up to `ACCOUNT_BACKOFF.longest`.
"""

ADDRESS_BACKOFF = Backoff(50, 60, half_life=3600)
"""The wait for one network, over all accounts.

The wait begins after more failures, because users may share a network. The count has a half-life, because a log-in of
one user does not reset it, and the mistyped passwords of all users would add up. A client that guesses all the time
gets one answer a minute.
"""

FORGET_SECONDS = 86400.0
"""Seconds from the last failure until the failures are forgotten."""

_PURPOSE = b"svgx attempted names v1"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to prove knowledge of a password.

    A failure is counted under each of `keys`. After a success, the failures under each of `forgiven_keys` are
    forgotten.
    """

    keys: tuple[tuple[str, Backoff], ...]
    forgiven_keys: tuple[str, ...]


class Attempts:
    """The `attempt` table.

    For log-ins, the table stores hashes of names and of account ids, not the names and ids. Names are hashed, because a
    user may enter a password instead of the name. The hashes depend on `secret`, the server's secret, so that a reader
    of the table cannot find the names by guessing. For confirmations of a password, the table stores the account id.
    """

    def __init__(self, database: Database, secret: str) -> None:
        self._database = database
        self._key = derived_key(secret, _PURPOSE)

    async def log_in(self, account_id: str | None, name: str, address: str) -> Attempt:
        """Begin an attempt to log in. Raises `TooManyRequests` when the attempt comes too early.

        `account_id` is None for an unknown name. Failures for an unknown name are counted like those for an account, by
        the same statements.

        A failure adds to the network's count, and to the account's count at this network. If the network is not a home
        network of the account, a third count covers the account at all networks that are not its home networks.
        Therefore failures at other networks do not delay the owner at a home network. At a new address, they delay the
        owner for at most `NEW_NETWORK_WAIT_SECONDS`.
        """
        network = address_key(address)
        subject = self._hash(f"name {name}" if account_id is None else f"account {account_id}")
        network_key, other_networks_key = f"log-in:{subject}@{network}", f"log-in:{subject}"
        row = await self._database.row(
            "place_of_log_in", account_id or "", network, address, network_key, FORGET_SECONDS
        )
        assert row is not None
        # All transactions lock the rows of the keys in this order, because a common order prevents deadlocks.
        keys = [(network_key, ACCOUNT_BACKOFF)]
        if address:
            keys.insert(0, (f"address:{network}", ADDRESS_BACKOFF))
        if row["home"]:
            return await self._begin(Attempt(tuple(keys), (network_key,)))
        longest = min(
            ACCOUNT_BACKOFF.longest, NEW_NETWORK_WAIT_SECONDS * 2 ** min(row["failures"], 30)
        )
        keys.append((other_networks_key, Backoff(ACCOUNT_BACKOFF.free, longest)))
        return await self._begin(Attempt(tuple(keys), (network_key, other_networks_key)))

    async def confirm(self, user_id: str) -> Attempt:
        """Begin an attempt of a signed-in user to confirm the password.

        Raises `TooManyRequests` when the attempt comes too early.
        """
        key = f"account:{user_id}"
        return await self._begin(Attempt(((key, ACCOUNT_BACKOFF),), (key,)))

    async def failed(self, attempt: Attempt) -> None:
        """Count a failure.

        Raises `TooManyRequests` when other attempts have failed meanwhile, so that the client does not learn whether
        its guess was right.
        """
        async with self._database.transaction() as session:
            for key, backoff in attempt.keys:
                counted = await session.row(
                    "count_attempt",
                    key,
                    backoff.free,
                    backoff.longest,
                    FORGET_SECONDS,
                    backoff.half_life,
                )
                if counted is None:
                    await self._refuse_early(session, attempt)

    async def succeeded(self, attempt: Attempt) -> None:
        """Forget the failures under `Attempt.forgiven_keys`. Raises `TooManyRequests` as `failed` does."""
        async with self._database.transaction() as session:
            await self._refuse_early(session, attempt)
            for key in attempt.forgiven_keys:
                await session.run("forget_attempt", key)

    async def erase(self, session: Session, user_id: str) -> int:
        """Forget the failures of an account at all networks, in the caller's transaction. Return the number of rows.

        Failures that were counted with an earlier secret are not found. `remove_old` removes them `FORGET_SECONDS`
        after the last one.
        """
        other_networks_key = f"log-in:{self._hash(f'account {user_id}')}"
        keys = [other_networks_key, f"account:{user_id}"]
        row = await session.row("erase_attempts", keys, f"{other_networks_key}@")
        assert row is not None
        return int(row["rows"])

    async def remove_old(self) -> None:
        """Remove failures older than `FORGET_SECONDS`."""
        await remove_in_batches(
            lambda rows: self._database.row("forget_attempts", FORGET_SECONDS, rows)
        )

    def _hash(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), hashlib.sha256).hex()

    async def _begin(self, attempt: Attempt) -> Attempt:
        async with self._database.session() as session:
            await self._refuse_early(session, attempt)
        return attempt

    async def _refuse_early(self, session: Session, attempt: Attempt) -> None:
        """Raise `TooManyRequests` when the wait after earlier failures has not ended."""
        wait = 0.0
        for key, backoff in attempt.keys:
            row = await session.row(
                "attempt_wait", key, backoff.free, backoff.longest, FORGET_SECONDS
            )
            if row is not None:
                wait = max(wait, row["seconds"])
        if wait > 0:
            raise TooManyRequests("too many attempts have failed; wait", retry_after=wait)


def address_key(address: str) -> str:
    """Return the key under which failures from an address are counted: its network, as `customer_key` returns it.

    For a text that is not an address, return the text.
    """
    parsed = parse_address(address)
    return address if parsed is None else customer_key(parsed)
