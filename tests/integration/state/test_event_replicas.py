"""Domain events when a replica ends, or when its settings change."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from svgx_common import postgres
from svgx_common.contract.errors import Invalid
from svgx_common.contract.storage import webhooks
from svgx_common.contract.storage.events import BackupCompleted, CanvasDeleted, DomainEvent
from svgx_common.contract.storage.webhooks import DeliveryStatus, UpdateWebhookRequest
from svgx_common.events.outbox import emit
from svgx_common.events.relay import Relay
from svgx_common.messaging.bus import BusUnreachable
from svgx_devstack import DevStack
from tests.integration.state.service import Client, Tables
from tests.integration.state.webhook_client import (
    ADMIN,
    create,
    deliveries,
    forget_events,
    quick_replica,
    rename,
    wait_for_delivery,
)
from tests.polling import pause
from tests.receiver import Received, receiver, status


@pytest.fixture(autouse=True)
async def _forget(tables: Tables) -> None:
    await forget_events(tables)


async def test_event_of_a_relay_that_crashed_before_its_commit_arrives_twice_with_one_id(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """After a crash between the publication and the commit, the event is published again, and no event is lost.

    Proves R-EVENT-2.
    """
    url = backing.postgres_url
    published: list[str] = []
    handed_over: list[str] = []

    async def note(_: str, content: bytes) -> None:
        published.append(DomainEvent.model_validate_json(content).id)

    async with quick_replica(backing):
        pass  # from now on, the tables exist
    await client.bus.listen("svgx.events.state.canvas.deleted", note)
    async with postgres.connect(url, schema="state", package="svgx_state", pool_size=2) as database:

        async def hand_over(_: object, events: Any) -> None:
            handed_over.extend(event.id for event in events)

        relay = Relay(client.bus, database, hand_over, interval_seconds=1)
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
    """The outbox is in the database, so another replica finds the events of a replica that ended. Proves R-EVENT-2."""
    async with receiver() as hook:
        async with quick_replica(backing):
            webhook = await create(client, hook.url, "backup.completed")
        async with (
            postgres.connect(
                backing.postgres_url, schema="state", package="svgx_state", pool_size=1
            ) as database,
            database.transaction() as session,
        ):
            await emit(session, BackupCompleted(backup_id="b", canvases=2, size_bytes=3))
        async with quick_replica(backing):
            (one,) = await hook.wait_for(1)
            await wait_for_delivery(client, webhook.id, DeliveryStatus.DELIVERED)
    assert one.event["data"] == {"backup_id": "b", "canvases": 2, "size_bytes": 3}
    query = "SELECT relayed_at FROM event WHERE id::text = $1"
    assert await tables.fetchval(query, one.event["id"]) is not None


async def test_private_target_is_refused_at_creation_at_change_and_at_delivery(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """Proves R-EVENT-9: the address of a webhook is checked also at each delivery, because it may change."""
    async with receiver() as hook:
        async with quick_replica(backing):
            webhook = await create(client, hook.url, "canvas.created")
        async with quick_replica(
            backing, webhook_allowed_networks="", webhook_give_up_seconds=0.05
        ):
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
        assert hook.received == []
        assert hook.most_open == 0


async def test_old_events_are_dropped_except_pending_ones(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """Proves R-EVENT-10: events older than the retention are deleted, except for those with a pending delivery."""
    async with receiver() as hook:
        async with quick_replica(backing):
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
        async with quick_replica(backing):
            query = "SELECT array_agg(entity_id) FROM event WHERE entity_id = ANY ($1)"
            async with asyncio.timeout(10):
                while await tables.fetchval(query, [done, waiting]) != [waiting]:
                    await pause()


@pytest.mark.parametrize("attempts", [0, 1])
async def test_time_of_a_paused_webhook_does_not_make_its_deliveries_dead(
    backing: DevStack, client: Client, tables: Tables, attempts: int
) -> None:
    """A delivery is repeated for a day, which begins with its first attempt, and anew when its webhook becomes active.

    No replica runs while the test changes the table, so no attempt is under way then. Proves R-EVENT-6.
    """
    async with receiver(lambda _: status(500)) as hook:

        async def set_active(active: bool) -> None:
            update = UpdateWebhookRequest(webhook_id=webhook.id, active=active)
            await client.bus.ask(webhooks.UPDATE_WEBHOOK, update, caller=ADMIN)

        async with quick_replica(backing):
            webhook = await create(client, hook.url, "canvas.created")
            await client.create()
            await hook.wait_for(1)
            await set_active(False)
        await tables.execute(
            "UPDATE webhook_delivery SET status = 'pending', attempts = $2, due_at = now(),"
            " started_at = now() - interval '2 days' WHERE webhook_id = $1",
            *(webhook.id, attempts),
        )
        received = len(hook.received)
        hook.answer = lambda _: status(500 if len(hook.received) <= received + 1 else 204)
        async with quick_replica(backing):
            await set_active(True)
            done = await wait_for_delivery(client, webhook.id, DeliveryStatus.DELIVERED)
        assert done.attempts == attempts + 2


async def test_webhook_becomes_active_without_a_change_of_its_deliveries(
    backing: DevStack, client: Client, tables: Tables
) -> None:
    """The request neither waits for a delivery nor changes it, so it is quick for any number. Proves R-EVENT-6."""
    async with receiver(lambda _: status(500)) as hook, quick_replica(backing):
        webhook = await create(client, hook.url, "canvas.created")
        await client.create()
        await wait_for_delivery(client, webhook.id, DeliveryStatus.PENDING)
        for active in (False, True):
            async with asyncio.timeout(20), tables.transaction():
                await tables.execute(
                    "SELECT FROM webhook_delivery WHERE webhook_id = $1 FOR UPDATE", webhook.id
                )
                update = UpdateWebhookRequest(webhook_id=webhook.id, active=active)
                await client.bus.ask(webhooks.UPDATE_WEBHOOK, update, caller=ADMIN)


async def test_failed_delivery_is_repeated_with_the_same_id_and_delays_its_entity_only(
    backing: DevStack, client: Client
) -> None:
    """Later events of the same entity wait for the delivery, and events of other entities do not.

    Proves R-EVENT-3 and R-EVENT-6.
    """
    failures = 2

    def answer(request: Received) -> str:
        nonlocal failures
        if request.event["entity_id"] == failing and failures:
            failures -= 1
            return status(503)
        return status(200)

    failing = ""
    async with quick_replica(backing), receiver(answer) as hook:
        webhook = await create(client, hook.url, "canvas.created", "canvas.renamed")
        hook.may_answer.clear()
        failing = await client.create("one")
        await rename(client, failing, "two")
        other = await client.create("other")
        await hook.wait_for(2)
        assert {each.event["entity_id"] for each in hook.received} == {failing, other}
        hook.may_answer.set()
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


async def test_slow_webhook_has_few_attempts_at_a_time_and_delays_no_other(
    backing: DevStack, client: Client
) -> None:
    """Proves R-EVENT-8: attempts at a slow receiver end after the time limit. The other receiver gets all events."""
    short = quick_replica(backing, webhook_timeout_seconds=1.0)
    async with short, receiver() as slow, receiver() as fast:
        slow.may_answer.clear()
        slow_webhook = await create(client, slow.url, "canvas.created")
        fast_webhook = await create(client, fast.url, "canvas.created")
        delivered: list[DeliveryStatus] = []
        for _ in range(12):
            await client.create()
        async with asyncio.timeout(20):
            # An attempt at the fast receiver may also reach the time limit. Then it is repeated.
            while delivered != [DeliveryStatus.DELIVERED] * 12:
                await pause()
                page = await deliveries(client, fast_webhook.id)
                delivered = [each.status for each in page]
            while not any(each.error for each in await deliveries(client, slow_webhook.id)):
                await pause()
        assert len({each.event["id"] for each in fast.received}) == 12
        assert slow.most_open == 4
        errors = {each.error for each in await deliveries(client, slow_webhook.id)}
        assert "there was no response within 1 s" in errors
