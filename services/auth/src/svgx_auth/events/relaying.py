"""The delivery of account events. The state service passes them on to webhooks."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from svgx_auth.settings import AuthSettings
from svgx_common.background import STARTUP_SECONDS, BackgroundTasks
from svgx_common.contract.storage.events import RECORD_EVENTS, DomainEvent, RecordEventsRequest
from svgx_common.events.relay import Relay
from svgx_common.postgres import Database, Session
from svgx_common.runtime import Runtime

HAND_OVER_SECONDS = 3.0
"""Time limit of a request to the state service, in seconds. The request occupies a connection to PostgreSQL."""


@asynccontextmanager
async def relaying(runtime: Runtime[AuthSettings], database: Database) -> AsyncIterator[None]:
    """Relay events until the block ends. While the state service does not answer, the events wait in the outbox."""
    bus, settings = runtime.bus, runtime.settings

    async def hand_over(_: Session, events: Sequence[DomainEvent]) -> None:
        request = RecordEventsRequest(events=list(events))
        await bus.ask(RECORD_EVENTS, request, timeout=HAND_OVER_SECONDS)

    relay = Relay(bus, database, hand_over, interval_seconds=settings.event_relay_seconds)
    tasks = BackgroundTasks()
    relay.repeat(tasks, settings.event_retention_days, quiet_seconds=STARTUP_SECONDS)
    try:
        yield
    finally:
        await tasks.stop()
