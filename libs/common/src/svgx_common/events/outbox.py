"""The outbox of a service: the table `event` in its schema.

Each service that writes events has this table, and the statements of `sql/events.sql`.
"""

import json
import uuid

from svgx_common.contract.storage.events import DomainEvent, EventData
from svgx_common.postgres import Row, Session


async def emit(session: Session, data: EventData, *, actor: str | None = None) -> None:
    """Write an event into the outbox. It is published only if the session's transaction commits.

    Call this after the statement that changes the entity, because the lock on the entity's row keeps its events in
    order.

    `actor` is the id of the account that made the change, or None for the system.
    """
    await session.run(
        "emit_event",
        str(uuid.uuid4()),
        data.type,
        data.service,
        data.entity_id,
        actor,
        data.model_dump_json(),
    )


def event_of(row: Row) -> DomainEvent:
    """Return the event of a row of the table `event`."""
    return DomainEvent(
        id=row["id"],
        type=row["type"],
        service=row["service"],
        entity_id=row["entity_id"],
        at=row["at"],
        actor=row["actor"],
        data=json.loads(row["data"]),
    )
