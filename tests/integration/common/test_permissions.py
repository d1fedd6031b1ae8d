"""The NATS permissions of each service, tried with the service's own credentials.

The tests that need a server run against three: the server of the development stack, a server with the files of the
umbrella chart, and a server with the values that `nats-config` prints for the official chart of NATS.
"""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from svgx_common.contract import CHANNELS, OPERATIONS
from svgx_common.contract.operation import SERVICES, ServiceName
from svgx_common.contract.permissions import MAX_RESPONSES
from svgx_common.contract.transport import (
    blob_subject,
    echo_subject,
    inbox_prefix,
    replica_subject,
)
from svgx_common.nats_server import official_chart
from svgx_devstack import DevStack
from tests.integration.common import nats_users
from tests.integration.common.nats_users import NatsUsers

# The services allowed for each subject are written by hand and not derived from the contract, so that these tests find
# a mistake in the derivation. Only the service that answers an operation comes from the contract.
JOURNAL = {"svgx.state.journal.append", "svgx.state.journal.load"}
CALLERS: dict[str, set[str]] = {subject: {"collab"} for subject in JOURNAL} | {
    "svgx.collab.open": {"gateway", "collab"},
    "svgx.auth.account.find": {"state"},
    "svgx.state.user.erase": {"auth"},
    "svgx.state.events.record": {"auth"},
    "svgx.auth.backup.export": {"state"},
    "svgx.auth.backup.import": {"state"},
    "svgx.collab.replace": {"state"},
    "svgx.state.version.before_import": {"collab"},
}
EVENTS = (
    *(
        f"svgx.events.auth.user.{each}"
        for each in ("created", "updated", "deleted", "restored", "erased")
    ),
    *(
        f"svgx.events.state.canvas.{each}"
        for each in ("created", "renamed", "deleted", "restored", "purged")
    ),
    *(f"svgx.events.state.link.{each}" for each in ("created", "revoked")),
    *(f"svgx.events.state.version.{each}" for each in ("created", "restored")),
    *(f"svgx.events.state.backup.{each}" for each in ("completed", "failed")),
    *(f"svgx.events.state.restore.{each}" for each in ("completed", "failed")),
    "svgx.events.state.member.changed",
)
PUBLISHERS: dict[str, set[str]] = {
    **{subject: {subject.split(".")[2]} for subject in EVENTS},
    "svgx.state.value.changed": {"state"},
    "svgx.state.quotas.changed": {"state"},
    "svgx.canvas.c.edit": {"gateway", "collab"},
    "svgx.canvas.c.sync": {"gateway", "collab"},
    "svgx.canvas.c.awareness": {"gateway"},
    "svgx.canvas.c.update": {"collab"},
    "svgx.canvas.c.presence": {"collab"},
    "svgx.canvas.c.elements": {"collab"},
    "svgx.canvas.c.locks": {"collab"},
    "svgx.link.collab.r": {"gateway"},
    "svgx.link.gateway.r": {"collab"},
    "svgx.replicas.load": {"collab"},
    "svgx.replicas.late_commits": {"collab"},
    "svgx.collab.take.r": {"collab"},
    "svgx.canvas.c.access": {"state"},
    "svgx.state.rate_limits.changed": {"state"},
    "svgx.auth.revoked": {"auth"},
    "svgx.replicas.left": set(SERVICES),
    "svgx.gateway.r.connections": {"gateway"},
    "svgx.replica.auth.r.drain": {"gateway"},
    "svgx.replica.auth.r": {"gateway"},
    "svgx.replica.state.r": {"gateway"},
    "svgx.replica.collab.r": {"gateway", "collab"},
    "svgx.replica.gateway.r": {"gateway"},
    "svgx.blob.auth.r.b": {"gateway", "state"},
    "svgx.blob.state.r.b": {"gateway", "collab", "auth", "state"},
    "svgx.blob.collab.r.b": {"gateway", "collab", "state"},
    "svgx.blob.gateway.r.b": {"auth", "state", "collab", "gateway"},
    "$SRV.PING": {"gateway"},
    "$SRV.STATS": set(),
}
SUBSCRIBERS: dict[str, set[str]] = {
    # Programs of the operator listen to events, and no service does.
    **{subject: set() for subject in EVENTS},
    "svgx.state.value.changed": {"state"},
    "svgx.state.quotas.changed": {"gateway"},
    "svgx.canvas.c.edit": {"collab"},
    "svgx.canvas.c.sync": {"collab"},
    "svgx.canvas.c.awareness": {"collab"},
    "svgx.canvas.c.update": {"gateway"},
    "svgx.canvas.c.presence": {"gateway"},
    "svgx.canvas.c.elements": {"gateway"},
    "svgx.canvas.c.locks": {"gateway"},
    "svgx.link.collab.r": {"collab"},
    "svgx.link.gateway.r": {"gateway"},
    "svgx.replicas.load": {"collab"},
    "svgx.replicas.late_commits": {"collab"},
    "svgx.collab.take.r": {"collab"},
    "svgx.canvas.c.access": {"gateway", "collab"},
    "svgx.state.rate_limits.changed": {"gateway"},
    "svgx.auth.revoked": {"gateway", "state"},
    "svgx.replicas.left": {"gateway"},
    "svgx.gateway.r.connections": {"gateway"},
    "svgx.replica.auth.r.drain": {"auth"},
    **{replica_subject(service, "r"): {service} for service in SERVICES},
    **{blob_subject(service, "r", "b"): {service} for service in SERVICES},
    **{echo_subject(service, "r"): {service} for service in SERVICES},
    **{f"{inbox_prefix(service)}.x.y": {service} for service in SERVICES},
    "$SRV.PING": set(SERVICES),
    "$SRV.PING.svgx-auth.r": {"auth"},
    "_INBOX.x": set(),
    "svgx.unknown": set(),
}
PUBLISHERS |= {echo_subject(service, "r"): {service} for service in SERVICES}
PUBLISHERS |= {f"{inbox_prefix(service)}.x.y": set() for service in SERVICES}
PUBLISHERS |= {"_INBOX.x": set(), "svgx.unknown": set(), "svgx.state.journal.other": set()}
for _operation in OPERATIONS:
    PUBLISHERS[_operation.subject] = CALLERS.get(_operation.subject, {"gateway"})
    SUBSCRIBERS[_operation.subject] = {_operation.service}


@pytest.fixture(scope="module", params=["stack", "chart", "official chart"])
async def server(
    request: pytest.FixtureRequest, backing: DevStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[NatsUsers]:
    """Return one of the servers."""
    if request.param == "stack":
        yield nats_users.of_stack(backing)
        return
    files = nats_users.chart_files()
    if request.param == "official chart":
        files = nats_users.official_chart_files(official_chart.values("svgx-nats"))
    async with nats_users.start(tmp_path_factory.mktemp("nats"), files) as users:
        yield users


@pytest.fixture
async def operator(server: NatsUsers) -> AsyncIterator[Client]:
    """A connection that may publish and subscribe to every subject."""
    client = await server.operator()
    yield client
    await client.close()


def test_permission_tables_name_every_channel() -> None:
    """Proves R-BUS-11: the tables of this file have every subject that the contract declares."""
    examples = {"canvas_id": "c", "replica_id": "r", "gateway_id": "r", "service": "auth"}
    channels = {channel.subject.format(**examples) for channel in CHANNELS}
    operations = {operation.subject for operation in OPERATIONS}
    assert channels | operations <= PUBLISHERS.keys() & SUBSCRIBERS.keys()


async def settle(client: Client, name: str) -> None:
    """Return when the server has handled everything that the client sent before.

    nats-py's `flush` is not enough, because it sends its PING before the outgoing buffer.
    """
    subject = echo_subject(name, "settle")
    subscription = await client.subscribe(subject)
    await client.publish(subject)
    await subscription.next_msg(timeout=10)
    await subscription.unsubscribe()


async def received(client: Client, name: str, *subscriptions: Subscription) -> list[Msg]:
    """Return the messages that the server has sent on these subscriptions until now."""
    await settle(client, name)
    return [
        await subscription.next_msg()
        for subscription in subscriptions
        for _ in range(subscription.pending_msgs)
    ]


@pytest.mark.parametrize("service", SERVICES)
async def test_service_publishes_exactly_the_declared_subjects(
    server: NatsUsers, operator: Client, service: ServiceName
) -> None:
    """Proves R-BUS-11: the server delivers the allowed messages, and none of the others."""
    marker = f"from {service}".encode()
    subscriptions = [await operator.subscribe(pattern) for pattern in (">", "$SRV.>")]
    await settle(operator, "operator")
    client = await server.connect(service)
    for subject in PUBLISHERS:
        await client.publish(subject, marker)
    await settle(client, service)
    await client.close()
    messages = await received(operator, "operator", *subscriptions)
    arrived = {message.subject for message in messages if message.data == marker}
    assert arrived == {subject for subject, allowed in PUBLISHERS.items() if service in allowed}


@pytest.mark.parametrize("service", SERVICES)
async def test_service_receives_exactly_the_declared_subjects(
    server: NatsUsers, operator: Client, service: ServiceName
) -> None:
    """Proves R-BUS-11: a service receives messages on its declared subjects, and on no foreign inbox."""
    client = await server.connect(service)
    subscriptions = [await client.subscribe(subject) for subject in SUBSCRIBERS]
    await settle(client, service)
    for subject in SUBSCRIBERS:
        await operator.publish(subject)
    await settle(operator, "operator")
    arrived = {message.subject for message in await received(client, service, *subscriptions)}
    await client.close()
    assert arrived == {subject for subject, allowed in SUBSCRIBERS.items() if service in allowed}


@pytest.mark.parametrize("service", SERVICES)
async def test_service_cannot_subscribe_to_wider_patterns(
    server: NatsUsers, operator: Client, service: ServiceName
) -> None:
    """Proves R-BUS-11: a wildcard that covers more than the declared subjects is refused."""
    client = await server.connect(service)
    wide = (">", "svgx.>", "_INBOX.>", "$SRV.>", "svgx.*.*", f"svgx.{service}.>")
    subscriptions = [await client.subscribe(pattern) for pattern in wide]
    await settle(client, service)
    for subject in SUBSCRIBERS:
        await operator.publish(subject)
    await settle(operator, "operator")
    assert await received(client, service, *subscriptions) == []
    await client.close()


async def test_service_answers_each_request_once(server: NatsUsers, operator: Client) -> None:
    """Proves R-BUS-11: a service publishes one response to the inbox of a received request, and nothing else."""
    client = await server.connect("state")
    requests = await client.subscribe("svgx.state.canvas.get")
    await settle(client, "state")
    answers = await operator.subscribe("_INBOX.gateway.>")
    await client.publish("_INBOX.gateway.one", b"before the request")
    await settle(client, "state")
    await operator.publish("svgx.state.canvas.get", reply="_INBOX.gateway.one")
    await settle(operator, "operator")
    (request,) = await received(client, "state", requests)
    for number in range(MAX_RESPONSES + 1):
        await client.publish(request.reply, b"%d" % number)
    await client.publish("_INBOX.gateway.other", b"forged")
    await settle(client, "state")
    assert [message.data for message in await received(operator, "operator", answers)] == [b"0"]
    await client.close()


async def test_bus_answers_on_inboxes_only(server: NatsUsers, operator: Client) -> None:
    """Proves R-BUS-11: a request's reply subject cannot make a service publish on another service's subject."""
    bus = await server.bus("state", "careful")
    try:
        requests = await bus.connection.subscribe("svgx.state.canvas.get")
        await bus.settle()
        answers = [
            await operator.subscribe(subject)
            for subject in ("svgx.auth.revoked", "_INBOX.gateway.two")
        ]
        for reply in ("svgx.auth.revoked", "_INBOX.gateway.two"):
            await operator.publish("svgx.state.canvas.get", reply=reply)
        await operator.publish(echo_subject("state", "careful"), reply="svgx.auth.revoked")
        await operator.publish(
            blob_subject("state", "careful", "b"), b"0", reply="svgx.auth.revoked"
        )
        await settle(operator, "operator")
        for request in await received(bus.connection, "state", requests):
            await bus.respond(request.reply, b"answer")
        # The bus handles its own echo after the earlier messages, so it has handled all of them now.
        await bus.settle()
        messages = await received(operator, "operator", *answers)
    finally:
        await bus.close()
    assert [(message.subject, message.data) for message in messages] == [
        ("_INBOX.gateway.two", b"answer")
    ]
