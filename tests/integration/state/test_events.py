"""Domain events: the outbox, its relay, and the deliveries to webhooks."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from svgx_common import postgres
from svgx_common.contract.errors import Conflict, Invalid, NotFound
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import RENAME_CANVAS, RenameCanvasRequest
from svgx_common.contract.storage import webhooks
from svgx_common.contract.storage.events import (
    RECORD_EVENTS,
    BackupCompleted,
    CanvasDeleted,
    DomainEvent,
    RecordEventsRequest,
)
from svgx_common.contract.storage.webhooks import (
    CreatedWebhook,
    CreateWebhookRequest,
    Delivery,
    DeliveryStatus,
    ListDeliveriesRequest,
    RedeliverRequest,
    UpdateWebhookRequest,
    WebhookRequest,
)
from svgx_common.events.outbox import emit
from svgx_common.events.relay import Relay
from svgx_common.messaging.bus import BusUnreachable
from svgx_devstack import DevStack
from tests.integration.state.receiver import Received, receiver, status
from tests.integration.state.service import Client, Tables, replica, user
from tests.polling import pause

ADMIN = user(Role.ADMIN)


@asynccontextmanager
async def quick(backing: DevStack, **settings: Any) -> AsyncIterator[None]:
    """Run a replica that looks at its tables all the time, repeats soon, and may deliver to this machine."""
    defaults = {
        "event_relay_seconds": 0.02,
        "webhook_retry_seconds": 0.01,
        "webhook_timeout_seconds": 1.0,
        "webhook_allowed_networks": "127.0.0.1",
    }
    async with replica(backing, **{**defaults, **settings}):
        yield


@pytest.fixture(autouse=True)
async def _empty_outbox(tables: Tables) -> None:
    """Mark the events of other tests as relayed, because the webhooks of this test must not get them."""
    if await tables.fetchval("SELECT to_regclass('event') IS NOT NULL"):
        await tables.execute("UPDATE event SET relayed_at = now() WHERE relayed_at IS NULL")
        await tables.execute("DELETE FROM webhook")


@pytest.fixture
async def running(backing: DevStack, client: Client) -> AsyncIterator[None]:
    """A quick replica. Delete its webhooks after the test."""
    async with quick(backing):
        yield
        await delete_webhooks(client)


async def delete_webhooks(client: Client) -> None:
    page = await client.bus.ask(
        webhooks.LIST_WEBHOOKS, webhooks.ListWebhooksRequest(), caller=ADMIN
    )
    for each in page.items:
        request = WebhookRequest(webhook_id=each.id)
        await client.bus.ask(webhooks.DELETE_WEBHOOK, request, caller=ADMIN)


async def create(client: Client, url: str, *types: str, active: bool = True) -> CreatedWebhook:
    request = CreateWebhookRequest.model_validate({"url": url, "types": types, "active": active})
    return await client.bus.ask(webhooks.CREATE_WEBHOOK, request, caller=ADMIN)


async def deliveries(client: Client, webhook_id: str) -> list[Delivery]:
    request = ListDeliveriesRequest(webhook_id=webhook_id, limit=200)
    return (await client.bus.ask(webhooks.LIST_DELIVERIES, request, caller=ADMIN)).items


async def wait_for_delivery(
    client: Client, webhook_id: str, wanted: DeliveryStatus, attempts: int = 1
) -> Delivery:
    """Return the newest delivery once it has this status and at least so many attempts."""
    async with asyncio.timeout(20):
        while True:
            found = await deliveries(client, webhook_id)
            if found and found[0].status is wanted and found[0].attempts >= attempts:
                return found[0]
            await pause()


async def rename(client: Client, canvas_id: str, name: str) -> None:
    request = RenameCanvasRequest(canvas_id=canvas_id, name=name)
    await client.bus.ask(RENAME_CANVAS, request, caller=client.me)


@pytest.mark.usefixtures("running")
async def test_changes_of_a_canvas_are_published_and_delivered_in_their_order(
    client: Client,
) -> None:
    """Each has the actor and the data; the signature is valid. Proves R-EVENT-1, R-EVENT-3 and R-EVENT-5."""
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
        received = await hook.wait_for(5)
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


@pytest.mark.usefixtures("running")
async def test_change_that_fails_has_no_event(client: Client, tables: Tables) -> None:
    """The event is written in the transaction of the change. Proves R-EVENT-1."""
    canvas_id = await client.create()
    with pytest.raises(Conflict):
        await client.remove_member(canvas_id, client.me.user_id)
    query = "SELECT array_agg(type ORDER BY number) FROM event WHERE entity_id = $1"
    assert await tables.fetchval(query, canvas_id) == ["canvas.created"]


@pytest.mark.usefixtures("running")
async def test_webhook_gets_the_types_that_it_names_while_it_is_active(client: Client) -> None:
    """Proves R-EVENT-4."""
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
        await client.delete(await client.create())
        request = WebhookRequest(webhook_id=webhook.id)
        await client.bus.ask(webhooks.TEST_WEBHOOK, request, caller=ADMIN)
        activate = UpdateWebhookRequest(webhook_id=webhook.id, active=True)
        await client.bus.ask(webhooks.UPDATE_WEBHOOK, activate, caller=ADMIN)
        _, test = await hook.wait_for(2)
        assert test.event["type"] == "webhook.test"
        assert {each.path for each in hook.received} == {"/hook"}


@pytest.mark.usefixtures("client")
async def test_event_whose_relay_crashed_before_its_commit_arrives_twice_with_one_id(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """At least once: a crash after the broadcast repeats the event, and loses none. Proves R-EVENT-2."""
    url = backing.postgres_url
    published: list[str] = []
    handed_over: list[str] = []

    async def note(_: str, content: bytes) -> None:
        published.append(DomainEvent.model_validate_json(content).id)

    async with quick(backing):
        pass  # the tables exist
    await client.bus.listen("svgx.events.state.canvas.deleted", note)
    async with postgres.connect(url, schema="state", package="svgx_state", pool_size=2) as database:

        async def hand_over(_: object, events: Any) -> None:
            handed_over.extend(event.id for event in events)

        relay = Relay(client.bus, database, hand_over, seconds=1)
        async with database.transaction() as session:
            await emit(session, CanvasDeleted(canvas_id="crash"))
        with suppress(RuntimeError):
            async with database.transaction() as session:
                await emit(session, CanvasDeleted(canvas_id="rolled-back"))
                raise RuntimeError
        settle = client.bus.settle

        async def crash() -> None:
            await settle()
            raise BusUnreachable

        client.bus.settle = crash  # type: ignore[method-assign]  # the last step before the commit
        with pytest.raises(BusUnreachable):
            await relay.relay_batch()
        client.bus.settle = settle  # type: ignore[method-assign]
        assert await relay.relay_batch() == 1
        assert await relay.relay_batch() == 0
    await settle()
    assert len(published) == 2
    assert len(set(published)) == 1
    assert handed_over == published
    assert await tables.fetchval("SELECT count(*) FROM event WHERE entity_id = 'rolled-back'") == 0


async def test_event_that_was_committed_before_a_kill_is_delivered_by_the_next_replica(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """The outbox is in the database, so no replica needs to know of an event. Proves R-EVENT-2."""
    async with receiver() as hook:
        async with quick(backing):
            webhook = await create(client, hook.url, "backup.completed")
        async with (
            postgres.connect(
                backing.postgres_url, schema="state", package="svgx_state", pool_size=1
            ) as database,
            database.transaction() as session,
        ):
            await emit(session, BackupCompleted(backup_id="b", canvases=2, size_bytes=3))
        async with quick(backing):
            (one,) = await hook.wait_for(1)
            await wait_for_delivery(client, webhook.id, DeliveryStatus.DELIVERED)
            await delete_webhooks(client)
    assert one.event["data"] == {"backup_id": "b", "canvases": 2, "size_bytes": 3}
    assert await tables.fetchval("SELECT count(*) FROM event WHERE relayed_at IS NULL") == 0


@pytest.mark.usefixtures("running")
async def test_failed_delivery_is_repeated_with_the_same_id_and_delays_its_entity_only(
    client: Client,
) -> None:
    """Later events of the entity wait for it, and those of others do not. Proves R-EVENT-3 and R-EVENT-6."""
    failures = 2

    def answer(request: Received) -> str:
        nonlocal failures
        if request.event["entity_id"] == failing and failures:
            failures -= 1
            return status(503)
        return status(200)

    failing = ""
    async with receiver(answer) as hook:
        webhook = await create(client, hook.url, "canvas.created", "canvas.renamed")
        hook.hold.clear()
        failing = await client.create("one")
        await rename(client, failing, "two")
        other = await client.create("other")
        await hook.wait_for(2)
        assert {each.event["entity_id"] for each in hook.received} == {failing, other}
        hook.hold.set()
        received = await hook.wait_for(5)
        last = await wait_for_delivery(client, webhook.id, DeliveryStatus.DELIVERED)
        of_entity = [each for each in received if each.event["entity_id"] == failing]
        assert [each.event["type"] for each in of_entity] == [
            *["canvas.created"] * 3,
            "canvas.renamed",
        ]
        assert len({each.headers["webhook-id"] for each in of_entity}) == 2
        assert all(each.is_signed_with(webhook.secret) for each in received)
        found = {each.event_id: each for each in await deliveries(client, webhook.id)}
        repeated = found[of_entity[0].event["id"]]
        assert (repeated.attempts, repeated.status) == (3, DeliveryStatus.DELIVERED)
        assert last.response_status == 200


@pytest.mark.parametrize(
    ("answer", "error", "response_status"),
    [
        (status(500), "the response has the status 500", 500),
        (status(302, "Location: http://127.0.0.1/"), "redirects are not followed", 302),
        (None, "the response is not valid HTTP", None),
        ("nonsense\r\n\r\n", "the response is not valid HTTP", None),
        ("HTTP/1.1 200 x\r\n" + "x: y\r\n" * 200_000, "the response is not valid HTTP", None),
    ],
    ids=["error", "redirect", "closed", "nonsense", "endless headers"],
)
async def test_delivery_that_always_fails_is_dead_and_can_be_repeated(
    backing: DevStack, client: Client, answer: str | None, error: str, response_status: int | None
) -> None:
    """The list names the cause without content of the response. Proves R-EVENT-6 and R-EVENT-7."""
    async with quick(backing, webhook_give_up_seconds=0.2), receiver(lambda _: answer) as hook:
        webhook = await create(client, hook.url, "canvas.created")
        await client.create()
        dead = await wait_for_delivery(client, webhook.id, DeliveryStatus.DEAD, attempts=2)
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
        await delete_webhooks(client)


async def test_slow_webhook_has_few_attempts_at_a_time_and_delays_no_other(
    backing: DevStack, client: Client
) -> None:
    """Proves R-EVENT-8: a receiver that does not answer ends after the time limit, and the other gets all events."""
    async with quick(backing), receiver() as slow, receiver() as fast:
        slow.hold.clear()
        slow_webhook = await create(client, slow.url, "canvas.created")
        fast_webhook = await create(client, fast.url, "canvas.created")
        for _ in range(12):
            await client.create()
        received = await fast.wait_for(12)
        assert len({each.event["id"] for each in received}) == 12
        assert slow.most_open == 4
        failed = [each for each in await deliveries(client, slow_webhook.id) if each.attempts]
        assert len(failed) == 4
        async with asyncio.timeout(20):
            while not any(each.error for each in await deliveries(client, slow_webhook.id)):
                await pause()
        errors = {each.error for each in await deliveries(client, slow_webhook.id)}
        assert "no response within 1 s" in errors
        page = await deliveries(client, fast_webhook.id)
        assert {each.status for each in page} == {DeliveryStatus.DELIVERED}
        await delete_webhooks(client)


async def test_endless_body_of_a_response_is_not_read(backing: DevStack, client: Client) -> None:
    """Proves R-EVENT-8: only the status counts."""

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
    async with server, quick(backing):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        webhook = await create(client, url, "canvas.created")
        await client.create()
        done = await wait_for_delivery(client, webhook.id, DeliveryStatus.DELIVERED)
        assert done.attempts == 1
        await asyncio.wait_for(ended.wait(), 5)
        await delete_webhooks(client)


async def test_private_target_is_refused_at_creation_at_change_and_at_delivery(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """Proves R-EVENT-9: a name whose address changes after the creation leads nowhere."""
    async with receiver() as hook:
        async with quick(backing):
            webhook = await create(client, hook.url, "canvas.created")
        async with quick(backing, webhook_allowed_networks="", webhook_give_up_seconds=0.05):
            for url in (hook.url, "http://localhost/", "http://[::ffff:127.0.0.1]/"):
                with pytest.raises(Invalid) as error:
                    await create(client, url)
                assert error.value.field == "url"
            update = UpdateWebhookRequest(webhook_id=webhook.id, url=hook.url)
            with pytest.raises(Invalid):
                await client.bus.ask(webhooks.UPDATE_WEBHOOK, update, caller=ADMIN)
            await client.create()
            dead = await wait_for_delivery(client, webhook.id, DeliveryStatus.DEAD)
            assert dead.error is not None
            assert "private or reserved network" in dead.error
            await delete_webhooks(client)
        assert hook.received == []
        assert hook.most_open == 0


@pytest.mark.usefixtures("running")
async def test_events_of_auth_are_recorded_once_and_delivered(client: Client) -> None:
    """Auth repeats a batch whose answer was lost. Proves R-EVENT-2."""
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
        assert [each.event["id"] for each in received] == [each.id for each in events]


@pytest.mark.usefixtures("running")
async def test_webhook_that_does_not_exist_is_not_found(client: Client) -> None:
    """Proves R-EVENT-4: each operation on one webhook or delivery answers with the name of the field."""
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


@pytest.mark.usefixtures("running")
async def test_secret_is_shown_only_at_the_creation(client: Client) -> None:
    """Proves R-EVENT-5."""
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


async def test_old_events_are_dropped_except_pending_ones(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """Proves R-EVENT-10."""
    async with receiver() as hook:
        async with quick(backing):
            webhook = await create(client, hook.url, "canvas.created")
            done, waiting = await client.create(), ""
            await wait_for_delivery(client, webhook.id, DeliveryStatus.DELIVERED)
            hook.answer = lambda _: status(500)
            waiting = await client.create()
            await hook.wait_for(2)
            await tables.execute(
                "UPDATE event SET at = at - interval '31 days' WHERE entity_id = ANY ($1)",
                [done, waiting],
            )
        async with quick(backing):
            query = "SELECT array_agg(entity_id) FROM event WHERE entity_id = ANY ($1)"
            async with asyncio.timeout(10):
                while await tables.fetchval(query, [done, waiting]) != [waiting]:
                    await pause()
            await delete_webhooks(client)
