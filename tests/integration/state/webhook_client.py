"""Helpers for tests of webhooks: run a replica that delivers soon, and call operations on webhooks and canvases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from svgx_common.contract.policy import Role
from svgx_common.contract.state import RENAME_CANVAS, RenameCanvasRequest
from svgx_common.contract.storage import webhooks
from svgx_common.contract.storage.webhooks import (
    CreatedWebhook,
    CreateWebhookRequest,
    Delivery,
    DeliveryStatus,
    ListDeliveriesRequest,
)
from svgx_devstack import DevStack
from tests.integration.state.service import Client, Tables, replica, user
from tests.polling import pause

ADMIN = user(Role.ADMIN)


@asynccontextmanager
async def quick_replica(backing: DevStack, **settings: Any) -> AsyncIterator[None]:
    """Run a replica that checks its tables every 50 ms, retries soon, and may deliver to this machine."""
    defaults = {
        "event_relay_seconds": 0.05,
        "webhook_retry_seconds": 0.01,
        "webhook_timeout_seconds": 30.0,
        "webhook_allowed_networks": "127.0.0.1",
    }
    async with replica(backing, **{**defaults, **settings}):
        yield


async def forget_events(tables: Tables) -> None:
    """Mark all events as relayed, and delete all webhooks, because other tests have left them."""
    if await tables.fetchval("SELECT to_regclass('event') IS NOT NULL"):
        await tables.execute("UPDATE event SET relayed_at = now() WHERE relayed_at IS NULL")
        await tables.execute("DELETE FROM webhook")


async def create(client: Client, url: str, *types: str, active: bool = True) -> CreatedWebhook:
    request = CreateWebhookRequest.model_validate({"url": url, "types": types, "active": active})
    return await client.bus.ask(webhooks.CREATE_WEBHOOK, request, caller=ADMIN)


async def deliveries(client: Client, webhook_id: str) -> list[Delivery]:
    request = ListDeliveriesRequest(webhook_id=webhook_id, limit=200)
    return (await client.bus.ask(webhooks.LIST_DELIVERIES, request, caller=ADMIN)).items


async def wait_for_delivery(
    client: Client, webhook_id: str, wanted: DeliveryStatus, attempts: int = 1
) -> Delivery:
    """Wait until the newest delivery has the status `wanted` and at least `attempts` attempts, and return it."""
    async with asyncio.timeout(20):
        while True:
            items = await deliveries(client, webhook_id)
            if items and items[0].status is wanted and items[0].attempts >= attempts:
                return items[0]
            await pause()


async def wait_until_dead(client: Client, tables: Tables, webhook_id: str) -> Delivery:
    """Wait for two attempts, move the first one two days into the past, and wait until the newest delivery is dead.

    Only `started_at` is changed, because `due_at` is the lease of a running attempt.
    """
    await wait_for_delivery(client, webhook_id, DeliveryStatus.PENDING, attempts=2)
    await tables.execute(
        "UPDATE webhook_delivery SET started_at = started_at - interval '2 days' WHERE webhook_id = $1",
        webhook_id,
    )
    return await wait_for_delivery(client, webhook_id, DeliveryStatus.DEAD)


async def rename(client: Client, canvas_id: str, name: str) -> None:
    request = RenameCanvasRequest(canvas_id=canvas_id, name=name)
    await client.bus.ask(RENAME_CANVAS, request, caller=client.me)
