"""The bus connection: restarts of NATS, order of messages, and permissions."""

import asyncio
import functools
import gc
import re
import weakref

import pytest
from nats.aio.msg import Msg
from nats.errors import SlowConsumerError

from svgx_common.contract.errors import DeadlineExceeded, Unavailable
from svgx_common.messaging.bus import Bus, BusUnreachable, NoResponders
from svgx_common.messaging.headers import HEADER_BODY
from svgx_devstack import DevStack
from tests.integration.common.example_operations import EchoRequest, echo_operation
from tests.polling import pause

ERROR_OF_LINE = re.compile(r"error(?:\x1b\[\d+m)?=(?:\x1b\[\d+m)?(\w+)")
"""The type of the error in a log line. A terminal's colours may surround it."""


async def test_request_without_responders_fails_at_once(gateway_bus: Bus) -> None:
    """Proves R-BUS-8: the caller does not wait for its timeout."""
    with pytest.raises(NoResponders):
        await gateway_bus.ask(echo_operation("nobody"), EchoRequest(), timeout=3600)


async def test_answer_to_a_cancelled_ping_does_not_end_the_connection(gateway_bus: Bus) -> None:
    """nats-py flushes when a subscription is drained, and the drain may be cancelled. Proves R-BUS-9."""
    flushing = asyncio.create_task(gateway_bus.connection.flush())
    while not gateway_bus.connection._pongs:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0)
    flushing.cancel()
    await asyncio.wait({flushing})
    for _ in range(2):
        await gateway_bus.settle()
    assert gateway_bus.connection.stats["reconnects"] == 0


async def test_restart_of_nats_keeps_subscriptions_and_calls_the_reconnect_callback(
    backing: DevStack, gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-9: subscriptions survive, and the callback lets a component fetch missed broadcasts."""
    nats = backing.process("nats")
    reconnected, received = asyncio.Event(), asyncio.Event()

    async def on_reconnect() -> None:
        reconnected.set()

    async def listen(_: str, __: bytes) -> None:
        received.set()

    gateway_bus.on_reconnect(on_reconnect)
    await gateway_bus.listen("svgx.canvas.restart.access", listen)
    await gateway_bus.settle()
    nats.kill()
    await nats.wait_ready()
    await reconnected.wait()
    await state_bus.wait_connected(30)
    await state_bus.publish("svgx.canvas.restart.access", b"")
    await received.wait()


async def test_listener_gets_messages_in_order_also_after_its_failures(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-10: a failure of the listener affects no other message."""
    received: list[int] = []
    done = asyncio.Event()

    async def listen(_: str, content: bytes) -> None:
        number = int(content)
        received.append(number)
        if number == 99:
            done.set()
        if number % 10 == 0:
            raise ValueError("a defect")
        await asyncio.sleep(0)

    await gateway_bus.listen("svgx.canvas.order.access", listen)
    await gateway_bus.settle()
    for number in range(100):
        await state_bus.publish("svgx.canvas.order.access", b"%d" % number)
    await done.wait()
    assert received == list(range(100))


async def test_dropped_message_is_reported_to_its_listener_only(gateway_bus: Bus) -> None:
    """Proves R-BUS-10: `lost` is called for a message that nats-py drops because too many wait."""
    lost: list[str] = []

    async def listen(_: str, __: bytes) -> None:
        pass

    subscriptions = [
        await gateway_bus.listen(
            f"svgx.canvas.{name}.access", listen, lost=functools.partial(lost.append, name)
        )
        for name in ("one", "two")
    ]
    await gateway_bus.listen("svgx.canvas.three.access", listen)
    # The test reports the dropped messages itself, because 512 k waiting messages would take long.
    report = gateway_bus.connection._error_cb
    for subscription in gateway_bus.connection._subs.values():
        if subscription is not subscriptions[0]:
            await report(
                SlowConsumerError(subscription.subject, "", subscription._id, subscription)
            )
    assert lost == ["two"]


async def test_ended_subscription_leaves_no_listener_in_memory(gateway_bus: Bus) -> None:
    """Proves R-BUS-17: an object that keeps its subscription is released after the subscription has ended."""

    class Listening:
        async def start(self) -> None:
            self.subscription = await gateway_bus.listen(
                "svgx.canvas.ended.access", self.receive, lost=self.note_loss
            )

        async def receive(self, _: str, __: bytes) -> None:
            pass

        def note_loss(self) -> None:
            pass

    listening = Listening()
    await listening.start()
    await listening.subscription.unsubscribe()
    left = weakref.ref(listening)
    del listening
    async with asyncio.timeout(10):
        while left() is not None:
            gc.collect()
            await pause()


async def test_lost_body_is_reported_to_the_listener(gateway_bus: Bus, state_bus: Bus) -> None:
    """Proves R-BUS-10: `lost` is called when the sender of a large message has ended."""
    lost, received = asyncio.Event(), asyncio.Event()

    async def listen(_: str, content: bytes) -> None:
        assert content == b"after"
        received.set()

    subject = "svgx.canvas.lost.access"
    await gateway_bus.listen(subject, listen, lost=lost.set)
    await gateway_bus.settle()
    lost_body = {HEADER_BODY: "svgx.blob.state.nobody.nothing 600000"}
    await state_bus.connection.publish(subject, b"", headers=lost_body)
    await state_bus.publish(subject, b"after")
    await received.wait()
    assert lost.is_set()


async def test_listener_with_a_cancelled_wait_gets_later_messages(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-10: `CancelledError` in a listener does not end the subscription, as it would with nats-py alone."""
    received = asyncio.Event()

    async def listen(_: str, content: bytes) -> None:
        if content == b"first":
            raise asyncio.CancelledError
        received.set()

    await gateway_bus.listen("svgx.canvas.cancelled.access", listen)
    await gateway_bus.settle()
    await state_bus.publish("svgx.canvas.cancelled.access", b"first")
    await state_bus.publish("svgx.canvas.cancelled.access", b"second")
    await received.wait()


async def test_outage_is_logged_once_and_all_reconnect_callbacks_are_called(
    backing: DevStack,
    gateway_bus: Bus,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves R-BUS-9: a reconnect callback that fails does not prevent the next one."""
    called = asyncio.Event()
    refused = asyncio.Event()
    disconnected = asyncio.Event()

    async def fail() -> None:
        raise Unavailable

    async def succeed() -> None:
        called.set()

    bus_on_error = gateway_bus.connection._error_cb
    bus_on_disconnect = gateway_bus.connection._disconnected_cb
    assert bus_on_disconnect is not None
    refusals = 0

    async def on_error(error: Exception) -> None:
        nonlocal refusals
        await bus_on_error(error)
        refusals += isinstance(error, ConnectionRefusedError)
        if refusals >= 3:
            refused.set()

    async def on_disconnect() -> None:
        await bus_on_disconnect()
        disconnected.set()

    monkeypatch.setattr(gateway_bus.connection, "_error_cb", on_error)
    monkeypatch.setattr(gateway_bus.connection, "_disconnected_cb", on_disconnect)
    gateway_bus.on_reconnect(fail)
    gateway_bus.on_reconnect(succeed)
    nats = backing.process("nats")
    nats.restart = False
    try:
        nats.kill()
        await disconnected.wait()
        with pytest.raises(BusUnreachable):
            await gateway_bus.request("svgx.state.any", b"", timeout=60)
        await refused.wait()
    finally:
        nats.restart = True
        await nats.start()
        await nats.wait_ready()
    await called.wait()
    await gateway_bus.settle()
    # The failed request must not wait for an answer any more. The regular check of NATS may have a request in flight.
    async with asyncio.timeout(10):
        while gateway_bus.connection._resp_map:
            await pause()
    lines = [
        line for line in capsys.readouterr().out.splitlines() if "nats is not reachable" in line
    ]
    # There is one line for each type of error. On a slow machine, some attempts may get another type of error.
    errors = [match[1] for line in lines if (match := ERROR_OF_LINE.search(line))]
    assert "ConnectionRefusedError" in errors, lines
    assert len(set(errors)) == len(errors) == len(lines), lines


async def test_timeout_of_a_request_includes_the_pull_of_its_answer(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-RESIL-1: a request ends at its timeout, even if the sender answers and then does not send the body."""
    reference = {HEADER_BODY: "svgx.blob.state.hangs.blob 2000000"}
    await state_bus.listen("svgx.blob.state.hangs.blob", ignore)

    async def answer(message: Msg) -> None:
        await state_bus.connection.publish(message.reply, b"", headers=reference)

    await state_bus.connection.subscribe("svgx.state.test.hangs", cb=answer)
    await state_bus.settle()
    with pytest.raises(DeadlineExceeded):
        await gateway_bus.request("svgx.state.test.hangs", b"", timeout=0.3)


async def ignore(_: str, __: bytes) -> None:
    """Send no answer."""


@pytest.mark.parametrize(
    ("service", "publish", "subject"),
    [
        ("gateway", True, "svgx.canvas.c.update"),
        ("gateway", True, "svgx.canvas.c.access"),
        ("gateway", False, "svgx.state.canvas.create"),
        ("gateway", False, "svgx.canvas.c.edit"),
        ("auth", True, "svgx.state.canvas.create"),
        ("auth", False, "svgx.canvas.c.update"),
        ("state", True, "svgx.auth.login"),
        ("state", True, "svgx.canvas.c.edit"),
        ("state", False, "svgx.auth.login"),
        ("state", False, "_INBOX.gateway.x"),
        ("collab", True, "svgx.auth.login"),
        ("collab", False, "svgx.state.journal.append"),
        ("collab", False, "svgx.blob.state.x"),
    ],
)
async def test_service_credentials_refuse_other_subjects(
    backing: DevStack, service: str, publish: bool, subject: str
) -> None:
    """Proves R-BUS-11: NATS reports a permissions violation."""
    refused = asyncio.Event()

    async def on_error(error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            refused.set()

    import nats

    connection = await nats.connect(backing.nats_url(service), error_cb=on_error)
    if publish:
        await connection.publish(subject, b"")
    else:
        await connection.subscribe(subject)
    await refused.wait()
    await connection.close()
