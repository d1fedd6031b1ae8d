"""Sessions, access tokens and API keys that were revoked before they expired.

The rows of `session`, `account` and `api_key` record the revocations. Each revocation is broadcast to the gateways at
once, and a gateway can request the list of revocations. The list has the revocation of a session until its last access
token has expired, and the revocation of an account until its last access token and its last API key have expired. It
has the revocation of an API key until the key has expired, or until `KEY_LISTED_SECONDS` after the key was revoked,
whichever is earlier (docs/decisions/0009 and 0012). Revocations stay in the list for one more minute, because clocks
differ.
"""

from datetime import datetime
from typing import Literal

import structlog

from svgx_common.contract.errors import Unavailable
from svgx_common.contract.revocations import REVOKED, Revocation, RevocationList
from svgx_common.messaging.bus import Bus
from svgx_common.postgres import Database, Row, Session

KEY_LISTED_SECONDS = 86400.0
"""Longest time, in seconds, for which the list of revocations contains an ended API key.

The time is long because a gateway that cannot reach this service keeps the key's live connections until it learns that
the key has ended. For requests, such a gateway uses this service's last answer about a key for ten minutes.
"""

log = structlog.get_logger(__name__)

EndReason = Literal["logout", "ended", "reuse", "password", "disabled", "deleted", "provider"]
"""The reason why a session ended.

`logout`: the owner of the session logged out. `ended`: the owner or an admin ended the session by its id, or an admin
ended all sessions of the account. `reuse`: a spent refresh token was used. `password`, `disabled`, `deleted`: the
account was changed. `provider`: the OpenID Connect provider no longer gives the account a role.
"""


class Revocations:
    """The revocation of sessions, access tokens and API keys.

    The `end_*` methods run inside the caller's transaction. After the commit, the caller passes their result to
    `announce`, or the result of `end_key` to `announce_key`.
    """

    def __init__(self, database: Database, bus: Bus | None) -> None:
        """Create the object. Without a bus, the gateways learn of a revocation at their next poll."""
        self._database = database
        self._bus = bus

    async def end_session(
        self, session: Session, user_id: str, session_id: str, reason: EndReason
    ) -> list[Revocation]:
        """End one session of an account. Return an empty list when the account has no such live session."""
        rows = await session.rows("end_session", session_id, user_id, reason)
        return [_session_revocation(row) for row in rows]

    async def end_other_sessions(
        self, session: Session, user_id: str, session_id: str | None, reason: EndReason
    ) -> list[Revocation]:
        """End all sessions of an account, except the session `session_id` if it is not None."""
        rows = await session.rows("end_other_sessions", user_id, session_id, reason)
        return [_session_revocation(row) for row in rows]

    async def end_tokens(self, session: Session, user_id: str) -> list[Revocation]:
        """End an account's access tokens. Its sessions continue, and get new access tokens when they refresh."""
        rows = await session.rows("end_tokens", user_id)
        return [_account_revocation(row) for row in rows]

    async def end_sessions_and_tokens(
        self, session: Session, user_id: str, reason: EndReason
    ) -> list[Revocation]:
        """End all sessions and access tokens of an account."""
        await self.end_other_sessions(session, user_id, None, reason)
        return await self.end_tokens(session, user_id)

    async def announce(self, ended: list[Revocation]) -> None:
        """Tell every gateway about revocations. Call this after the commit.

        A gateway that misses the message learns of the revocation at its next poll.
        """
        if not ended or self._bus is None:
            return
        try:
            await self._bus.broadcast(REVOKED, RevocationList(items=ended))
        except Unavailable:
            log.warning(
                "cannot tell the gateways about revocations; they learn of them at their next poll"
            )

    async def end_key(self, session: Session, key_id: str, owner: str | None) -> Row | None:
        """End a live API key of the account `owner`, or of any account when `owner` is None.

        Return the key's row, or None when there is no such live key.
        """
        return await session.row("end_api_key", key_id, owner, KEY_LISTED_SECONDS)

    async def announce_key(self, row: Row) -> None:
        """Tell every gateway about an ended API key, from the row that `end_key` returned."""
        await self.announce([_key_revocation(row)])

    async def since(self, after: datetime | None) -> RevocationList:
        """List the revocations of tokens and keys that have not expired.

        With `after`, list only revocations after that time.
        """
        async with self._database.session() as session:
            # Read the clock first. A revocation during the queries below is then listed twice instead of never.
            clock = await session.row("clock")
            assert clock is not None
            sessions = await session.rows("revoked_sessions", after)
            accounts = await session.rows("revoked_accounts", after)
            keys = await session.rows("revoked_api_keys", after, KEY_LISTED_SECONDS)
        items = [
            *map(_session_revocation, sessions),
            *map(_account_revocation, accounts),
            *map(_key_revocation, keys),
        ]
        return RevocationList(items=items, as_of=clock["now"])


def _session_revocation(row: Row) -> Revocation:
    return Revocation(
        user_id=row["account_id"],
        session_id=row["id"],
        until=row["until"],
        reason=row["end_reason"],
    )


def _key_revocation(row: Row) -> Revocation:
    return Revocation(
        user_id=row["account_id"], session_id=row["id"], until=row["until"], reason="api key"
    )


def _account_revocation(row: Row) -> Revocation:
    return Revocation(
        user_id=row["id"], before_version=row["token_version"], until=row["until"], reason="account"
    )
