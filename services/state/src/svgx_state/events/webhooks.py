"""Webhooks, and the operations on them and on their deliveries."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from svgx_common.contract.errors import Conflict, NotFound
from svgx_common.contract.operation import Empty
from svgx_common.contract.storage.events import (
    RECORD_EVENTS,
    DomainEvent,
    RecordEventsRequest,
    WebhookTest,
)
from svgx_common.contract.storage.webhooks import (
    CREATE_WEBHOOK,
    DELETE_WEBHOOK,
    GET_WEBHOOK,
    LIST_DELIVERIES,
    LIST_WEBHOOKS,
    MAX_WEBHOOKS,
    REDELIVER,
    ROTATE_WEBHOOK_SECRET,
    TEST_WEBHOOK,
    UPDATE_WEBHOOK,
    CreatedWebhook,
    CreateWebhookRequest,
    Delivery,
    DeliveryPage,
    DeliveryStatus,
    ListDeliveriesRequest,
    ListWebhooksRequest,
    RedeliverRequest,
    RotateSecretRequest,
    UpdateWebhookRequest,
    Webhook,
    WebhookPage,
    WebhookRequest,
)
from svgx_common.messaging.responder import Call, Responder
from svgx_common.pages import Cursor, Listing
from svgx_common.postgres import Database, Row, Session
from svgx_state.events.deliveries import Deliveries
from svgx_state.events.sender import Sender
from svgx_state.events.signatures import new_secret


class Webhooks:
    """The handlers of the operations on webhooks and deliveries. The gateway checks that the caller is an admin."""

    def __init__(self, database: Database, sender: Sender, deliveries: Deliveries) -> None:
        self._database = database
        self._sender = sender
        self._deliveries = deliveries

    def register(self, responder: Responder) -> None:
        """Answer the operations of this class."""
        responder.answer(CREATE_WEBHOOK, self.create)
        responder.answer(LIST_WEBHOOKS, self.page)
        responder.answer(GET_WEBHOOK, self.get)
        responder.answer(UPDATE_WEBHOOK, self.update)
        responder.answer(ROTATE_WEBHOOK_SECRET, self.rotate)
        responder.answer(DELETE_WEBHOOK, self.delete)
        responder.answer(TEST_WEBHOOK, self.test)
        responder.answer(LIST_DELIVERIES, self.list_deliveries)
        responder.answer(REDELIVER, self.redeliver)
        responder.answer(RECORD_EVENTS, self.record)

    async def hand_over(self, session: Session, events: Sequence[DomainEvent]) -> None:
        """Add the deliveries of events of this service."""
        await session.run("add_deliveries", [event.id for event in events])
        self._deliveries.wake()

    async def record(self, request: RecordEventsRequest, _: Call) -> Empty:
        """Record events of another service, and add their deliveries. Events that are already known change nothing."""
        async with self._database.transaction() as session:
            new_ids = [
                event.id
                for event in request.events
                if await session.row(
                    "record_event",
                    event.id,
                    event.type,
                    event.service,
                    event.entity_id,
                    event.actor,
                    json.dumps(event.data),
                    event.at,
                )
            ]
            await session.run("add_deliveries", new_ids)
        self._deliveries.wake()
        return Empty()

    async def create(self, request: CreateWebhookRequest, call: Call) -> CreatedWebhook:
        """Create a webhook. Raises `Invalid` for a forbidden URL, and `Conflict` beyond `MAX_WEBHOOKS`."""
        await self._sender.check(request.url)
        secret = new_secret()
        async with self._database.transaction() as session:
            await session.run("lock_webhooks")
            count = await session.row("count_webhooks")
            if count is not None and count["number"] >= MAX_WEBHOOKS:
                raise Conflict(
                    f"there are {MAX_WEBHOOKS} webhooks already; delete one first",
                    limit=MAX_WEBHOOKS,
                )
            row = await session.row(
                "create_webhook",
                str(uuid.uuid4()),
                request.url,
                [each.value for each in request.types],
                request.note,
                request.active,
                secret,
                call.signed_in_caller().user_id,
            )
        assert row is not None
        return CreatedWebhook(**dict(row), secret=secret)

    async def page(self, request: ListWebhooksRequest, _: Call) -> WebhookPage:
        """Return a page of the webhooks. Raises `Invalid` for a cursor that is not the `next` of a page."""
        listing = Listing.of(LIST_WEBHOOKS, request)
        after = listing.decode(request.cursor)
        rows = await self._database.rows(
            "webhooks", request.limit + 1, after and after.at, after and after.id
        )
        page, following = listing.page_of(rows, request.limit, _position)
        return WebhookPage(items=[Webhook(**dict(row)) for row in page], next=following)

    async def get(self, request: WebhookRequest, _: Call) -> Webhook:
        """Return a webhook. Raises `NotFound`."""
        return await self._get(request.webhook_id)

    async def update(self, request: UpdateWebhookRequest, _: Call) -> Webhook:
        """Change a webhook. Raises `NotFound`, and `Invalid` as `create` does."""
        await self._get(request.webhook_id)
        if request.url is not None:
            await self._sender.check(request.url)
        types = None if request.types is None else [each.value for each in request.types]
        changed = await self._database.row(
            "update_webhook",
            request.webhook_id,
            request.url,
            types,
            request.note,
            request.active,
        )
        if changed is None:
            raise _no_such_webhook()
        self._deliveries.wake()
        return await self._get(request.webhook_id)

    async def rotate(self, request: RotateSecretRequest, _: Call) -> CreatedWebhook:
        """Give a webhook a new secret. During the overlap, the old secret signs deliveries too. Raises `NotFound`."""
        secret = new_secret()
        changed = await self._database.row(
            "rotate_webhook_secret", request.webhook_id, secret, float(request.overlap_seconds)
        )
        if changed is None:
            raise _no_such_webhook()
        webhook = await self._get(request.webhook_id)
        return CreatedWebhook(**webhook.model_dump(), secret=secret)

    async def delete(self, request: WebhookRequest, _: Call) -> Empty:
        """Delete a webhook. Raises `NotFound`."""
        if await self._database.row("delete_webhook", request.webhook_id) is None:
            raise _no_such_webhook()
        return Empty()

    async def test(self, request: WebhookRequest, call: Call) -> Delivery:
        """Add the delivery of a test event to one webhook, and return the pending delivery. Raises `NotFound`."""
        await self._get(request.webhook_id)
        data = WebhookTest(webhook_id=request.webhook_id)
        event_id, delivery_id = str(uuid.uuid4()), str(uuid.uuid4())
        async with self._database.transaction() as session:
            await session.row(
                "record_event",
                event_id,
                data.type,
                data.service,
                data.entity_id,
                call.signed_in_caller().user_id,
                data.model_dump_json(),
                datetime.now(UTC),
            )
            await session.run(
                "add_delivery", delivery_id, request.webhook_id, event_id, data.entity_id
            )
        self._deliveries.wake()
        return await self._delivery(request.webhook_id, delivery_id)

    async def list_deliveries(self, request: ListDeliveriesRequest, _: Call) -> DeliveryPage:
        """Return a page of the deliveries to a webhook. Raises `NotFound`, and `Invalid` as `page` does."""
        await self._get(request.webhook_id)
        listing = Listing.of(LIST_DELIVERIES, request)
        after = listing.decode(request.cursor)
        rows = await self._database.rows(
            "deliveries",
            request.webhook_id,
            request.limit + 1,
            request.status and request.status.value,
            after and after.at,
            after and after.id,
        )
        page, following = listing.page_of(rows, request.limit, _position)
        return DeliveryPage(items=[_delivery(row) for row in page], next=following)

    async def redeliver(self, request: RedeliverRequest, _: Call) -> Delivery:
        """Make a delivery pending again, count its attempts from 0, and return the delivery. Raises `NotFound`."""
        row = await self._database.row("redeliver", request.webhook_id, request.delivery_id)
        if row is None:
            raise NotFound("there is no such delivery", field="delivery_id")
        self._deliveries.wake()
        return await self._delivery(request.webhook_id, request.delivery_id)

    async def _get(self, webhook_id: str) -> Webhook:
        row = await self._database.row("webhook", webhook_id)
        if row is None:
            raise _no_such_webhook()
        return Webhook(**dict(row))

    async def _delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        row = await self._database.row("delivery", webhook_id, delivery_id)
        if row is None:
            raise _no_such_webhook()
        return _delivery(row)


def _delivery(row: Row) -> Delivery:
    is_pending = row["status"] == DeliveryStatus.PENDING.value
    return Delivery(**{**dict(row), "due_at": row["due_at"] if is_pending else None})


def _position(row: Row) -> Cursor:
    return Cursor(row["created_at"], row["id"])


def _no_such_webhook() -> NotFound:
    return NotFound("there is no such webhook", field="webhook_id")
