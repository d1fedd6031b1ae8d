"""Domain events: the outbox, its relay, and the deliveries to webhooks."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from svgx_common.contract.errors import Conflict, NotFound
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.storage import webhooks
from svgx_common.contract.storage.events import (
    RECORD_EVENTS,
    DomainEvent,
    RecordEventsRequest,
)
from svgx_common.contract.storage.webhooks import (
    MAX_WEBHOOKS,
    DeliveryStatus,
    RedeliverRequest,
    RotateSecretRequest,
    UpdateWebhookRequest,
    WebhookRequest,
)
from svgx_devstack import DevStack
from svgx_state.events import deliveries as deliveries_module
from svgx_state.events.deliveries import Deliveries
from svgx_state.events.sender import Sender
from tests.blocked import until_blocked
from tests.clock import datetime_with_offset
from tests.integration.state.service import Client, Tables, user
from tests.integration.state.webhook_client import (
    ADMIN,
    create,
    deliveries,
    forget_events,
    quick_replica,
    rename,
    wait_for_delivery,
    wait_until_dead,
)
from tests.polling import pause
from tests.receiver import Received, receiver, status

pytestmark = pytest.mark.usefixtures("_forget")


@pytest.fixture(scope="module")
async def _running(backing: DevStack) -> AsyncIterator[None]:
    """A replica that gives up failing deliveries after a day."""
    async with quick_replica(backing):
        yield


@pytest.fixture
async def _forget(_running: None, tables: Tables) -> None:
    await forget_events(tables)


def concerns(received: Received, canvas_id: str) -> bool:
    """Return whether an event is about the canvas."""
    data: dict[str, object] = received.event["data"]
    return data.get("canvas_id") == canvas_id


async def test_changes_of_a_canvas_are_published_and_delivered_in_their_order(
    client: Client,
) -> None:
    """Each event has the actor and the data, and its signature is valid. Proves R-EVENT-1, R-EVENT-3 and R-EVENT-5."""
    published: list[tuple[str, DomainEvent]] = []

    async def note(subject: str, content: bytes) -> None:
        published.append((subject, DomainEvent.model_validate_json(content)))

    await client.bus.listen("svgx.events.state.*.*", note)
    async with receiver() as hook:
        webhook = await create(client, hook.url)
        member = user().user_id
        canvas_id = await client.create("first")
        await rename(client, canvas_id, "second")
        await client.set_member(canvas_id, member, CanvasRole.VIEWER)
        await client.remove_member(canvas_id, member)
        await client.delete(canvas_id)
        # A webhook without types also gets the events of other tests' canvases.
        async with asyncio.timeout(20):
            while (
                len(received := [each for each in hook.received if concerns(each, canvas_id)]) < 5
            ):
                await pause()
    expected = [
        ("canvas.created", {"canvas_id": canvas_id, "name": "first"}),
        ("canvas.renamed", {"canvas_id": canvas_id, "name": "second"}),
        ("member.changed", {"canvas_id": canvas_id, "user_id": member, "role": "viewer"}),
        ("member.changed", {"canvas_id": canvas_id, "user_id": member, "role": None}),
        ("canvas.deleted", {"canvas_id": canvas_id}),
    ]
    assert [(each.event["type"], each.event["data"]) for each in received] == expected
    for each in received:
        assert each.event["actor"] == client.me.user_id
        assert each.event["id"] == each.headers["webhook-id"]
        assert each.headers["content-type"] == "application/json"
        assert each.is_signed_with(webhook.secret)
        assert not each.is_signed_with("whsec_" + "A" * 43 + "=")
    await client.bus.settle()
    own = [(subject, event) for subject, event in published if event.entity_id == canvas_id]
    assert [(subject, event.data) for subject, event in own] == [
        (f"svgx.events.state.{name}", data) for name, data in expected
    ]
    assert [event.id for _, event in own] == [each.event["id"] for each in received]


async def test_change_that_fails_has_no_event(client: Client, tables: Tables) -> None:
    """The event is written in the transaction of the change. Proves R-EVENT-1."""
    canvas_id = await client.create()
    with pytest.raises(Conflict):
        await client.remove_member(canvas_id, client.me.user_id)
    query = "SELECT array_agg(type ORDER BY number) FROM event WHERE entity_id = $1"
    assert await tables.fetchval(query, canvas_id) == ["canvas.created"]


async def test_deliveries_send_no_cookies(client: Client) -> None:
    """Receivers at the same address would get the cookies of one another. Proves R-EVENT-8."""
    async with receiver(lambda _: status(204, "Set-Cookie: a=b; Path=/")) as hook:
        await create(client, hook.url, "canvas.created")
        await client.create()
        await client.create()
        for each in await hook.wait_for(2):
            assert "cookie" not in each.headers


async def test_unexpected_error_of_an_attempt_fails_the_attempt(
    client: Client, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the delivery would be repeated for ever. Proves R-EVENT-6."""

    async def fail(*_: object) -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(Sender, "send", fail)
    async with receiver() as hook:
        webhook = await create(client, hook.url, "canvas.created")
        await client.create()
        dead = await wait_until_dead(client, tables, webhook.id)
        assert dead.error == "the attempt failed because of an internal error"


async def test_webhook_gets_the_types_that_it_names_while_it_is_active(
    client: Client, tables: Tables
) -> None:
    """Events of other types, and events while the webhook is inactive, are not delivered. Proves R-EVENT-4."""
    async with receiver() as hook:
        webhook = await create(client, hook.url, "canvas.deleted", "backup.completed")
        await create(client, hook.url + "/inactive", active=False)
        canvas_id = await client.create()
        await client.delete(canvas_id)
        (one,) = await hook.wait_for(1)
        assert one.event["type"] == "canvas.deleted"
        update = UpdateWebhookRequest(webhook_id=webhook.id, active=False)
        changed = await client.bus.ask(webhooks.UPDATE_WEBHOOK, update, caller=ADMIN)
        assert not changed.active
        canvas_id = await client.create()
        await client.delete(canvas_id)
        waiting = "SELECT count(*) FROM event WHERE entity_id = $1 AND relayed_at IS NULL"
        async with asyncio.timeout(20):
            while await tables.fetchval(waiting, canvas_id):
                await pause()
        request = WebhookRequest(webhook_id=webhook.id)
        await client.bus.ask(webhooks.TEST_WEBHOOK, request, caller=ADMIN)
        activate = UpdateWebhookRequest(webhook_id=webhook.id, active=True)
        await client.bus.ask(webhooks.UPDATE_WEBHOOK, activate, caller=ADMIN)
        _, test = await hook.wait_for(2)
        assert test.event["type"] == "webhook.test"
        assert {each.path for each in hook.received} == {"/hook"}
        assert len(await deliveries(client, webhook.id)) == 2


@pytest.mark.parametrize(
    ("answer", "error", "response_status"),
    [
        (status(500), "the response has the status 500", 500),
        (status(302, "Location: http://127.0.0.1/"), "redirects are not followed", 302),
        (status(302, "Location: https://my_app.xn--p1ai/"), "the response is not valid HTTP", None),
        (None, "the response is not valid HTTP", None),
        ("nonsense\r\n\r\n", "the response is not valid HTTP", None),
        ("HTTP/1.1 200 x\r\n" + "x: y\r\n" * 200_000, "the response is not valid HTTP", None),
    ],
    ids=["error", "redirect", "odd redirect", "closed", "nonsense", "endless headers"],
)
async def test_delivery_that_always_fails_is_dead_and_can_be_repeated(
    client: Client, tables: Tables, answer: str | None, error: str, response_status: int | None
) -> None:
    """The list of deliveries names the cause, and no content of the response. Proves R-EVENT-6 and R-EVENT-7."""
    async with receiver(lambda _: answer) as hook:
        webhook = await create(client, hook.url, "canvas.created")
        await client.create()
        dead = await wait_until_dead(client, tables, webhook.id)
        assert dead.error is not None
        assert error in dead.error
        assert dead.response_status == response_status
        assert dead.due_at is None
        request = WebhookRequest(webhook_id=webhook.id)
        shown = await client.bus.ask(webhooks.GET_WEBHOOK, request, caller=ADMIN)
        assert (shown.dead, shown.pending) == (1, 0)
        attempts = len(hook.received)
        assert attempts == dead.attempts
        hook.answer = lambda _: status(204)
        again = RedeliverRequest(webhook_id=webhook.id, delivery_id=dead.id)
        await client.bus.ask(webhooks.REDELIVER, again, caller=ADMIN)
        done = await wait_for_delivery(client, webhook.id, DeliveryStatus.DELIVERED)
        assert (done.id, done.attempts, done.error) == (dead.id, 1, None)
        assert len({each.headers["webhook-id"] for each in hook.received}) == 1


@pytest.mark.parametrize("hours", [-48, 48])
async def test_wrong_clock_of_a_replica_does_not_change_the_times_of_attempts(
    client: Client, tables: Tables, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """A delivery ends after `WEBHOOK_GIVE_UP_SECONDS`, not at its first attempt or two days later. Proves R-EVENT-6."""
    monkeypatch.setattr(deliveries_module, "datetime", datetime_with_offset(timedelta(hours=hours)))
    async with receiver(lambda _: status(500)) as hook:
        webhook = await create(client, hook.url, "canvas.created")
        await client.create()
        dead = await wait_until_dead(client, tables, webhook.id)
        assert dead.attempts > 1


def test_last_attempt_is_at_the_end_of_the_time() -> None:
    """A pause that would end after the time limit is shortened. No attempt follows the last one. Proves R-EVENT-6."""
    settings: Any = SimpleNamespace(_first_pause=5.0, _give_up=timedelta(days=1))
    now = datetime.now(UTC)
    for age in (timedelta(hours=17), timedelta(hours=23)):
        due = Deliveries._next_attempt(settings, 8, now - age, now)
        assert due is not None
        assert due <= now - age + timedelta(days=1)
    due = Deliveries._next_attempt(settings, 8, now - timedelta(hours=23), now)
    assert due == now + timedelta(hours=1)
    assert Deliveries._next_attempt(settings, 8, now - timedelta(days=1), now) is None


async def test_endless_body_of_a_response_is_not_read(client: Client) -> None:
    """Proves R-EVENT-8: a delivery reads only the status of the response, and then closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()
        except OSError:
            ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        webhook = await create(client, url, "canvas.created")
        await client.create()
        done = await wait_for_delivery(client, webhook.id, DeliveryStatus.DELIVERED)
        assert done.attempts == 1
        await asyncio.wait_for(ended.wait(), 5)


async def test_events_of_auth_are_recorded_once_and_delivered(client: Client) -> None:
    """When auth sends events again after a lost answer, each event is delivered once. Proves R-EVENT-2."""
    async with receiver() as hook:
        await create(client, hook.url, "user.deleted")
        events = [
            DomainEvent(
                id=str(uuid.uuid4()),
                type="user.deleted",
                service="auth",
                entity_id=f"user-{number}",
                at=datetime.now(UTC),
                data={"user_id": f"user-{number}"},
            )
            for number in range(3)
        ]
        await client.bus.ask(RECORD_EVENTS, RecordEventsRequest(events=events[:2]))
        await client.bus.ask(RECORD_EVENTS, RecordEventsRequest(events=events))
        received = await hook.wait_for(3)
        # Only events of one entity keep their order.
        assert sorted(each.event["id"] for each in received) == sorted(each.id for each in events)


async def test_number_of_webhooks_is_bounded_for_simultaneous_requests(
    client: Client, tables: Tables
) -> None:
    """A request that waits for another one counts the webhook of the other. Proves R-EVENT-4."""
    add = (
        "INSERT INTO webhook (id, url, types, note, active, secret, created_by)"
        " SELECT gen_random_uuid(), 'https://example.org', '{}', '', false, '', 'root' FROM generate_series(1, $1)"
    )
    await tables.execute("DELETE FROM webhook")
    await tables.execute(add, MAX_WEBHOOKS - 1)
    async with asyncio.timeout(20), tables.transaction():
        await tables.execute("SELECT pg_advisory_xact_lock(hashtext('svgx.state.webhooks'))")
        await tables.execute(add, 1)
        request = asyncio.create_task(create(client, "http://127.0.0.1:9"))
        await until_blocked(tables)
    with pytest.raises(Conflict):
        await request
    await tables.execute("DELETE FROM webhook")


async def test_webhook_that_does_not_exist_is_not_found(client: Client) -> None:
    """Proves R-EVENT-4: each operation on an unknown webhook or delivery answers `NotFound`."""
    request = WebhookRequest(webhook_id="unknown")
    requests: list[Callable[[], Awaitable[object]]] = [
        lambda: client.bus.ask(webhooks.GET_WEBHOOK, request, caller=ADMIN),
        lambda: client.bus.ask(webhooks.DELETE_WEBHOOK, request, caller=ADMIN),
        lambda: client.bus.ask(webhooks.TEST_WEBHOOK, request, caller=ADMIN),
        lambda: client.bus.ask(
            webhooks.UPDATE_WEBHOOK,
            UpdateWebhookRequest(webhook_id="unknown", active=False),
            caller=ADMIN,
        ),
        lambda: client.bus.ask(
            webhooks.ROTATE_WEBHOOK_SECRET, RotateSecretRequest(webhook_id="unknown"), caller=ADMIN
        ),
        lambda: deliveries(client, "unknown"),
        lambda: client.bus.ask(
            webhooks.REDELIVER,
            RedeliverRequest(webhook_id="unknown", delivery_id="unknown"),
            caller=ADMIN,
        ),
    ]
    for each in requests:
        with pytest.raises(NotFound):
            await each()


@pytest.mark.parametrize("overlap", [3600, 0])
async def test_old_secret_signs_beside_the_new_one_during_the_overlap(
    client: Client, tables: Tables, overlap: int
) -> None:
    """Proves R-EVENT-5: a receiver may change its secret at any time during the overlap."""
    async with receiver() as hook:
        created = await create(client, hook.url, "canvas.created")
        request = RotateSecretRequest(webhook_id=created.id, overlap_seconds=overlap)
        rotated = await client.bus.ask(webhooks.ROTATE_WEBHOOK_SECRET, request, caller=ADMIN)
        assert rotated.secret.startswith("whsec_")
        assert rotated.secret != created.secret
        await client.create()
        (first,) = await hook.wait_for(1)
        assert first.is_signed_with(rotated.secret)
        assert first.is_signed_with(created.secret) is bool(overlap)
        assert len(first.headers["webhook-signature"].split()) == (2 if overlap else 1)
        await tables.execute(
            "UPDATE webhook SET old_secret_until = clock_timestamp() WHERE id = $1", created.id
        )
        await client.create()
        _, last = await hook.wait_for(2)
        assert last.is_signed_with(rotated.secret)
        assert not last.is_signed_with(created.secret)


async def test_secret_is_not_shown_by_reading_and_listing(client: Client) -> None:
    """Reading and listing webhooks does not show their secrets. Proves R-EVENT-5."""
    async with receiver() as hook:
        created = await create(client, hook.url)
        request = WebhookRequest(webhook_id=created.id)
        shown = await client.bus.ask(webhooks.GET_WEBHOOK, request, caller=ADMIN)
        page = await client.bus.ask(
            webhooks.LIST_WEBHOOKS, webhooks.ListWebhooksRequest(), caller=ADMIN
        )
    assert created.secret.startswith("whsec_")
    assert created.secret not in json.dumps(
        [shown.model_dump(mode="json"), page.model_dump(mode="json")]
    )
