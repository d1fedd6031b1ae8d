"""Webhooks: HTTP endpoints to which domain events are delivered. Admins manage them; the state service stores them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from svgx_common.contract.errors import Conflict, Invalid, NotFound
from svgx_common.contract.fields import patterns
from svgx_common.contract.operation import (
    Empty,
    Http,
    Identifier,
    Operation,
    PageCursor,
    PageLimit,
    ReplyModel,
    RequestModel,
)
from svgx_common.contract.policy import RateClass, Scope
from svgx_common.contract.storage.events import EventType

MAX_WEBHOOKS = 50
"""The most webhooks of an installation.

There is a limit, because an event adds a delivery for each active webhook that selects the event's type.
"""

WebhookId = Annotated[Identifier, Field(examples=["5f0c2c1e-6f0a-4f5b-9d3c-0a1b2c3d4e5f"])]

DeliveryId = Annotated[Identifier, Field(examples=["8d2b7f4e-3c61-4a9e-b0d5-6e1f2a3b4c5d"])]

WebhookUrl = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2000, pattern=patterns.URL),
    Field(examples=["https://hooks.example.org/svgx"]),
]

EventTypes = Annotated[
    list[EventType], Field(max_length=len(EventType), examples=[["canvas.created"]])
]
"""Types of events. An empty list means all types."""

Note = Annotated[str, StringConstraints(max_length=200, pattern=patterns.NOTE)]


class CreateWebhookRequest(RequestModel):
    """`types` selects the types of events; an empty list selects all. `note` is for people."""

    url: WebhookUrl
    types: EventTypes = Field(default_factory=list)
    note: Note = ""
    active: bool = True


class WebhookRequest(RequestModel):
    webhook_id: WebhookId


class UpdateWebhookRequest(WebhookRequest):
    """The fields to change. A webhook that is not active gets no new events, and its deliveries wait."""

    url: WebhookUrl | None = None
    types: EventTypes | None = None
    note: Note | None = None
    active: bool | None = None


class RotateSecretRequest(WebhookRequest):
    """The old secret also signs for another `overlap_seconds`; 0 ends its use immediately."""

    overlap_seconds: Annotated[int, Field(ge=0, le=7 * 86400, examples=[86400])] = 86400


class ListWebhooksRequest(RequestModel):
    """`limit` is the number of webhooks on a page; `cursor` is the `next` value of the page before."""

    limit: PageLimit = 50
    cursor: PageCursor | None = None


class Webhook(ReplyModel):
    """A webhook. `pending` and `dead` count its deliveries with these statuses."""

    id: str
    url: str
    types: list[str]
    note: str
    active: bool
    created_at: datetime
    updated_at: datetime
    pending: int = 0
    dead: int = 0


class CreatedWebhook(Webhook):
    """A webhook with a new secret. `secret` signs its deliveries, and only this reply contains it."""

    secret: str


class WebhookPage(ReplyModel):
    items: list[Webhook]
    next: str | None = None


class DeliveryStatus(StrEnum):
    """The states of a delivery.

    A delivery is `dead` when all attempts within the setting `webhook_give_up_seconds` (a day by default) have failed.
    Only an admin can then have the event delivered again.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class ListDeliveriesRequest(WebhookRequest):
    """`status` selects deliveries with this status."""

    status: DeliveryStatus | None = None
    limit: PageLimit = 50
    cursor: PageCursor | None = None


class Delivery(ReplyModel):
    """The delivery of one event to one webhook. `error` is the cause of the last failure; null after a success.

    `response_status` is the HTTP status of the response to the last attempt, or null without a response. `due_at` is
    the time of the next attempt of a pending delivery.
    """

    id: str
    event_id: str
    type: str
    entity_id: str
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    due_at: datetime | None
    delivered_at: datetime | None
    response_status: int | None
    error: str | None


class DeliveryPage(ReplyModel):
    items: list[Delivery]
    next: str | None = None


class RedeliverRequest(WebhookRequest):
    delivery_id: DeliveryId


CREATE_WEBHOOK = Operation(
    subject="svgx.state.webhook.create",
    summary="Create a webhook; the secret that signs its deliveries is shown once",
    request=CreateWebhookRequest,
    reply=CreatedWebhook,
    scope=Scope.ADMIN,
    http=Http("POST", "/admin/webhooks/", status=201),
    rate=RateClass.WRITE,
    secret=True,
    outside=True,
    errors=(Invalid, Conflict),
)
LIST_WEBHOOKS = Operation(
    subject="svgx.state.webhook.list",
    summary="List the webhooks, newest first",
    request=ListWebhooksRequest,
    reply=WebhookPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/webhooks/"),
    repeatable=True,
)
GET_WEBHOOK = Operation(
    subject="svgx.state.webhook.get",
    summary="Get a webhook",
    request=WebhookRequest,
    reply=Webhook,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/webhooks/{webhook_id}"),
    repeatable=True,
    errors=(NotFound,),
)
UPDATE_WEBHOOK = Operation(
    subject="svgx.state.webhook.update",
    summary="Change a webhook",
    request=UpdateWebhookRequest,
    reply=Webhook,
    scope=Scope.ADMIN,
    http=Http("PATCH", "/admin/webhooks/{webhook_id}"),
    rate=RateClass.WRITE,
    outside=True,
    errors=(NotFound, Invalid),
)
ROTATE_WEBHOOK_SECRET = Operation(
    subject="svgx.state.webhook.rotate",
    summary="Give a webhook a new secret, which is shown once; the old secret also signs for `overlap_seconds`",
    request=RotateSecretRequest,
    reply=CreatedWebhook,
    scope=Scope.ADMIN,
    http=Http("POST", "/admin/webhooks/{webhook_id}/rotate"),
    rate=RateClass.WRITE,
    secret=True,
    errors=(NotFound,),
)
DELETE_WEBHOOK = Operation(
    subject="svgx.state.webhook.delete",
    summary="Delete a webhook with its deliveries",
    request=WebhookRequest,
    reply=Empty,
    scope=Scope.ADMIN,
    http=Http("DELETE", "/admin/webhooks/{webhook_id}", status=204),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
TEST_WEBHOOK = Operation(
    subject="svgx.state.webhook.test",
    summary="Send a test event to a webhook",
    request=WebhookRequest,
    reply=Delivery,
    scope=Scope.ADMIN,
    http=Http("POST", "/admin/webhooks/{webhook_id}/test", status=202),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
LIST_DELIVERIES = Operation(
    subject="svgx.state.webhook.deliveries",
    summary="List the deliveries to a webhook, newest first",
    request=ListDeliveriesRequest,
    reply=DeliveryPage,
    scope=Scope.ADMIN,
    http=Http("GET", "/admin/webhooks/{webhook_id}/deliveries/"),
    repeatable=True,
    errors=(NotFound,),
)
REDELIVER = Operation(
    subject="svgx.state.webhook.redeliver",
    summary="Deliver an event to a webhook again",
    request=RedeliverRequest,
    reply=Delivery,
    scope=Scope.ADMIN,
    http=Http(
        "POST", "/admin/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", status=202
    ),
    rate=RateClass.WRITE,
    errors=(NotFound,),
)
