"""The audit log: an entry for every security event, written in the same transaction as the change.

Entries are never changed, except that an erasure empties their personal fields.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from svgx_common.contract.audit import (
    LIST_AUDIT,
    AuditEntry,
    AuditEvent,
    AuditPage,
    ListAuditRequest,
    RecordAuditRequest,
)
from svgx_common.contract.errors import Invalid
from svgx_common.messaging.caller import Caller, Client
from svgx_common.messaging.responder import Call
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database, Row, Session

_ENTRY_ID = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Origin:
    """The caller of a request, and the client that sent the request."""

    caller: Caller | None
    client: Client

    @classmethod
    def of(cls, call: Call) -> "Origin":
        """Return the origin of a request."""
        return cls(call.caller, call.client)

    @property
    def user_id(self) -> str | None:
        """Return the id of the caller's account, or None without a caller."""
        return self.caller.user_id if self.caller else None


SERVICE_ORIGIN = Origin(None, Client())
"""The origin of changes that the service makes by itself."""


class Audit:
    """The `audit` table. A trigger of PostgreSQL refuses changes to its entries, except those of an erasure."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self,
        session: Session,
        event: AuditEvent,
        origin: Origin,
        *,
        user_id: str | None,
        session_id: str | None = None,
        **detail: Any,
    ) -> None:
        """Write an entry in the transaction of the change: both are committed, or neither.

        `user_id` is the account that the event concerns. `session_id` is the session that the event concerns, by
        default the caller's. `detail` is JSON without secrets.
        """
        await _write(session, event, origin, user_id=user_id, session_id=session_id, detail=detail)

    async def note(
        self, event: AuditEvent, origin: Origin, *, user_id: str | None, **detail: Any
    ) -> None:
        """Write an entry about an event that changes nothing, such as a refusal."""
        async with self._database.session() as session:
            await self.record(session, event, origin, user_id=user_id, **detail)

    async def note_reported(self, request: RecordAuditRequest, origin: Origin) -> None:
        """Write an entry about an event that another service reports. Its detail may have any names."""
        async with self._database.session() as session:
            await _write(
                session, request.event, origin, user_id=request.user_id, detail=request.detail
            )

    async def page(self, request: ListAuditRequest) -> AuditPage:
        """Return a page of entries, newest first. Raises `Invalid` for a cursor that is not the `next` of a page."""
        listing = Listing.of(LIST_AUDIT, request)
        before = listing.decode(request.cursor)
        if before is not None and not _ENTRY_ID.fullmatch(before.id):
            raise Invalid(
                "cursor: must be the value `next` of a page of the audit log", field="cursor"
            )
        rows = await self._database.rows(
            "audit_before",
            request.limit + 1,
            before and before.at,
            before and int(before.id),
            request.event and request.event.value,
            request.user_id,
            request.address,
            request.since,
            request.until,
        )
        page, next_cursor = listing.page_of(
            rows, request.limit, lambda row: Cursor(row["at"], str(row["id"]))
        )
        return AuditPage(items=[_entry(row) for row in page], next=next_cursor)


async def _write(
    session: Session,
    event: AuditEvent,
    origin: Origin,
    *,
    user_id: str | None,
    session_id: str | None = None,
    detail: Mapping[str, Any],
) -> None:
    caller = origin.caller
    await session.run(
        "record_event",
        event.value,
        origin.user_id,
        user_id,
        session_id or (caller and caller.session_id),
        origin.client.address,
        origin.client.user_agent,
        json.dumps(detail),
    )


def _entry(row: Row) -> AuditEntry:
    return AuditEntry(
        id=str(row["id"]),
        at=row["at"],
        event=AuditEvent(row["event"]),
        actor_id=row["actor_id"],
        actor=row["actor"],
        user_id=row["user_id"],
        user=row["username"],
        session_id=row["session_id"],
        address=row["address"],
        user_agent=row["user_agent"],
        detail=json.loads(row["detail"]),
    )
