"""Erase the personal data of an account.

The account's names are replaced by a pseudonym, its rows in other tables are removed, and the personal fields of its
audit entries are emptied. The pseudonym also replaces its id in events that were relayed.

The account's row stays for two reasons. Its token version keeps the account's tokens revoked until they expire. A
repeated request finds the account by this row.
"""

import json
import re
import secrets
import time
from collections import Counter

from svgx_auth.accounts import Account
from svgx_auth.administration import refuse_last_admin
from svgx_auth.audit import Audit, Origin
from svgx_auth.passwords.attempts import Attempts
from svgx_auth.revocations import Revocations
from svgx_common.contract.audit import AuditEvent
from svgx_common.contract.errors import NotFound
from svgx_common.contract.storage.events import UserErased
from svgx_common.events.outbox import emit
from svgx_common.postgres import Database, Row, Session

PSEUDONYM_BYTES = 8
"""Random bytes in a pseudonym. A pseudonym reveals nothing about the account."""

PSEUDONYM = re.compile(f"erased-[0-9a-f]{{{2 * PSEUDONYM_BYTES}}}")

ERASED_DOMAIN = "@erased.invalid"
"""The e-mail address of an erased account is its pseudonym at this domain, which no mail server has (RFC 2606)."""

STEP_ENTRIES = 2000
"""Maximum number of audit entries, and of events, that one transaction changes."""


class AccountErasure:
    """The erasure of accounts. All methods may be repeated: a repetition changes only rows that were written since."""

    def __init__(
        self, database: Database, revocations: Revocations, audit: Audit, attempts: Attempts
    ) -> None:
        self._database = database
        self._revocations = revocations
        self._audit = audit
        self._attempts = attempts

    async def begin(self, user_id: str, by: Origin) -> str:
        """Delete the account if it is not deleted yet, and return its pseudonym.

        The account cannot be restored any more.

        Raises `NotFound`, or `Conflict` for the last active admin.
        """
        revocations = []
        async with self._database.transaction() as session:
            await session.run("lock_accounts")
            row = await _lock(session, user_id)
            if row["erased_as"] is not None:
                return str(row["erased_as"])
            if row["deleted_at"] is None:
                await refuse_last_admin(session, Account.from_row(row))
                await session.run("delete_account", user_id)
                revocations = await self._revocations.end_sessions_and_tokens(
                    session, user_id, "deleted"
                )
                await self._audit.record(session, AuditEvent.USER_DELETED, by, user_id=user_id)
            pseudonym = f"erased-{secrets.token_hex(PSEUDONYM_BYTES)}"
            await session.run("begin_account_erasure", user_id, pseudonym)
            await self._audit.record(session, AuditEvent.USER_ERASED, by, user_id=user_id)
            await emit(session, UserErased(user_id=user_id), actor=by.user_id)
        await self._revocations.announce(revocations)
        return pseudonym

    async def erase(self, user_id: str, until: float) -> tuple[dict[str, int], bool]:
        """Erase the personal data of an account, after `begin`. No step begins after the Unix time `until`, in seconds.

        Return the number of changed rows by table, including those of earlier calls, and whether the erasure is
        complete. Raises `NotFound`.
        """
        async with self._database.transaction() as session:
            changed_rows = _changed_rows(await _lock(session, user_id))
            await session.run("erase_account", user_id, ERASED_DOMAIN)
            changed_rows["account"] = 1
            removed = await session.row("erase_rows_of_account", user_id)
            assert removed is not None
            changed_rows.update(dict(removed))
            changed_rows["attempt"] += await self._attempts.erase(session, user_id)
            await session.run("note_account_erasure", user_id, json.dumps(changed_rows))
        is_complete = False
        while not is_complete and time.time() < until:
            changed_rows, is_complete = await self._erase_step(user_id)
        return dict(changed_rows), is_complete

    async def _erase_step(self, user_id: str) -> tuple[Counter[str], bool]:
        """Erase the account from some audit entries and events. Return the changed rows, and whether none are left."""
        async with self._database.transaction() as session:
            account = await _lock(session, user_id)
            changed_rows = _changed_rows(account)
            # Without this setting, a trigger refuses the change of the audit log's entries.
            await session.run("allow_erasure")
            audit = await session.row("erase_audit", user_id, STEP_ENTRIES)
            events = await session.row("erase_events", user_id, account["erased_as"], STEP_ENTRIES)
            assert audit is not None
            assert events is not None
            changed_rows["audit"] += audit["rows"]
            changed_rows["event"] += events["rows"]
            await session.run("note_account_erasure", user_id, json.dumps(changed_rows))
        return changed_rows, max(audit["rows"], events["rows"]) < STEP_ENTRIES


async def _lock(session: Session, user_id: str) -> Row:
    """Lock the row of an account, even of a deleted one, and return the row. Raises `NotFound`."""
    row = await session.row("lock_any_account", user_id)
    if row is None:
        raise NotFound("there is no account with this id", field="user_id")
    return row


def _changed_rows(row: Row) -> Counter[str]:
    return Counter(json.loads(row["erased_rows_json"]))
