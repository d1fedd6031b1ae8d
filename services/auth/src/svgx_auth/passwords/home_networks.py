"""The home networks of an account: the networks at which it has had a session (docs/decisions/0038).

A home network is also called a home.
"""

from svgx_auth.passwords.attempts import address_key
from svgx_common.database.batches import remove_in_batches
from svgx_common.postgres import Database, Session

MAX_HOMES = 20
"""Largest number of homes of one account. A further home replaces the home that was not used for the longest time."""

FORGET_SECONDS = 90 * 86400.0
"""Seconds from the last use of a home until it is forgotten."""

USE_UPDATE_SECONDS = 3600.0
"""Seconds between two updates of a home's `last_used_at`."""


class HomeNetworks:
    """The home networks of all accounts: the `home` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remember(self, session: Session, account_id: str, address: str) -> None:
        """Remember an address's network as a home. Call this in the transaction that opens or refreshes a session."""
        if not address:
            return
        row = await session.row(
            "remember_home", account_id, address_key(address), USE_UPDATE_SECONDS
        )
        if row is not None and row["added"]:
            await session.run("forget_unused_homes", account_id, MAX_HOMES)

    async def remove_old(self) -> None:
        """Remove homes that were not used for `FORGET_SECONDS`."""
        await remove_in_batches(
            lambda rows: self._database.row("forget_homes", FORGET_SECONDS, rows)
        )
