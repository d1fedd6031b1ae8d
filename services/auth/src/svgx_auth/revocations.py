"""What counts no more before its time: sessions that were ended, and an account's tokens of older versions.

Kept where it happens, in the `session` and `account` tables, until the last access token it concerns has ended by
itself. A gateway hears of it at once, and can ask for all of it (docs/decisions/0009).
"""

from datetime import datetime
from typing import Literal

import structlog

from svgx_common.contract import subjects
from svgx_common.contract.errors import Unavailable
from svgx_common.contract.revocations import Revocation, RevocationList
from svgx_common.messaging.bus import Bus
from svgx_common.postgres import Database, Row, Session

KEY_REMEMBERED = 86400.0
"""Seconds an ended API key is told to gateways, also to one that was cut off. Without auth a gateway trusts its last
answer for ten minutes; a key's live connections there go on until it hears of the end."""

log = structlog.get_logger(__name__)

EndReason = Literal["logout", "ended", "reuse", "password", "disabled", "deleted", "provider"]
"""Why a session ended: signed out; ended from another session; a spent token was used; the account was changed; its
provider gives it no role any more."""


class Revocations:
    """Ends sessions and tokens inside a caller's transaction, and tells the gateways after it."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus

    async def end_session(
        self, session: Session, user_id: str, session_id: str, reason: EndReason
    ) -> list[Revocation]:
        """End one of an account's sessions; nothing when it has no such live session."""
        rows = await session.rows("end_session", session_id, user_id, reason)
        return [_of_session(row) for row in rows]

    async def end_other_sessions(
        self, session: Session, user_id: str, session_id: str | None, reason: EndReason
    ) -> list[Revocation]:
        """End all of an account's sessions but one, or all."""
        rows = await session.rows("end_other_sessions", user_id, session_id, reason)
        return [_of_session(row) for row in rows]

    async def end_tokens(self, session: Session, user_id: str) -> list[Revocation]:
        """End an account's access tokens; its sessions go on, and get new ones."""
        rows = await session.rows("end_tokens", user_id)
        return [_of_account(row) for row in rows]

    async def end_account(
        self, session: Session, user_id: str, reason: EndReason
    ) -> list[Revocation]:
        """End all of an account's sessions and access tokens."""
        await self.end_other_sessions(session, user_id, None, reason)
        return await self.end_tokens(session, user_id)

    async def announce(self, ended: list[Revocation]) -> None:
        """Tell every gateway, after the commit. One that does not hear it asks within its poll."""
        if not ended:
            return
        message = RevocationList(items=ended).model_dump_json().encode()
        try:
            await self._bus.publish(subjects.REVOKED, message)
        except Unavailable:
            log.warning("gateways could not be told of ended sessions; they will ask")

    async def end_key(self, session: Session, key_id: str, owner: str | None) -> Row | None:
        """End a live API key of the account `owner`, or of any; its row, if there was one."""
        return await session.row("end_api_key", key_id, owner, KEY_REMEMBERED)

    async def announce_key(self, row: Row) -> None:
        """Tell every gateway of an API key that was ended."""
        await self.announce([_of_key(row)])

    async def since(self, moment: datetime | None) -> RevocationList:
        """What was revoked after `moment` and still matters; everything that does without one."""
        async with self._database.session() as session:
            # First: what is revoked meanwhile is listed twice rather than never.
            clock = await session.row("clock")
            assert clock is not None
            sessions = await session.rows("revoked_sessions", moment)
            accounts = await session.rows("revoked_accounts", moment)
            keys = await session.rows("revoked_api_keys", moment, KEY_REMEMBERED)
        items = [*map(_of_session, sessions), *map(_of_account, accounts), *map(_of_key, keys)]
        return RevocationList(items=items, as_of=clock["now"])


def _of_session(row: Row) -> Revocation:
    return Revocation(
        user_id=row["account_id"],
        session_id=row["id"],
        until=row["until"],
        reason=row["end_reason"],
    )


def _of_key(row: Row) -> Revocation:
    return Revocation(
        user_id=row["account_id"], session_id=row["id"], until=row["until"], reason="api key"
    )


def _of_account(row: Row) -> Revocation:
    return Revocation(
        user_id=row["id"], before_version=row["token_version"], until=row["until"], reason="account"
    )
