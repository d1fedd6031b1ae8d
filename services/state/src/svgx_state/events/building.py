"""The parts that publish events and deliver them to webhooks, built together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from svgx_common.background import BackgroundTasks
from svgx_common.events.relay import Relay
from svgx_common.postgres import Database
from svgx_common.runtime import Runtime
from svgx_state.events.deliveries import Deliveries
from svgx_state.events.sender import Sender
from svgx_state.events.targets import parse_networks
from svgx_state.events.webhooks import Webhooks
from svgx_state.settings import StateSettings


@asynccontextmanager
async def event_delivery(
    runtime: Runtime[StateSettings], database: Database
) -> AsyncIterator[None]:
    """Relay and deliver events, and answer the operations on webhooks, until the block ends."""
    settings = runtime.settings
    sender = Sender(
        parse_networks(settings.webhook_allowed_networks),
        require_https=settings.in_production,
        timeout_seconds=settings.webhook_timeout_seconds,
    )
    deliveries = Deliveries(
        database,
        sender,
        interval_seconds=settings.event_relay_seconds,
        attempt_seconds=settings.webhook_timeout_seconds,
        first_pause_seconds=settings.webhook_retry_seconds,
        give_up_seconds=settings.webhook_give_up_seconds,
    )
    webhooks = Webhooks(database, sender, deliveries)
    webhooks.register(runtime.responder)
    relay = Relay(
        runtime.bus,
        database,
        webhooks.hand_over,
        interval_seconds=settings.event_relay_seconds,
    )
    tasks = BackgroundTasks()
    relay.repeat(tasks, settings.event_retention_days)
    tasks.repeat("deliver events", deliveries.step)
    try:
        yield
    finally:
        await tasks.stop()
        await deliveries.stop()
        await sender.close()
