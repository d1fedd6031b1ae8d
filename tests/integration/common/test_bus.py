"""The connection: restarts of NATS, order, permissions."""

import asyncio

import pytest
from nats.aio.msg import Msg

from svgx_common.contract.errors import DeadlineExceeded, Unavailable
from svgx_common.messaging import bus as bus_module
from svgx_common.messaging.bus import HEADER_BODY, Bus, NoResponders
from svgx_devstack import DevStack
from tests.integration.common.party import Question, asking


async def test_without_anybody_the_answer_is_immediate(asker: Bus) -> None:
    """Proves R-BUS-8: no waiting for a time limit."""
    with pytest.raises(NoResponders):
        await asker.ask(asking("nobody"), Question(), timeout=3600)


async def test_a_restart_of_nats_is_survived(backing: DevStack, asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-9: subscriptions live on, and whoever may have missed something is told."""
    nats = backing.process("nats")
    told, heard = asyncio.Event(), asyncio.Event()

    async def reconnected() -> None:
        told.set()

    async def listen(_: str, __: bytes) -> None:
        heard.set()

    asker.on_reconnect(reconnected)
    await asker.listen("svgx.canvas.restart.access", listen)
    await asker.settle()
    nats.kill()
    await nats.wait_ready()
    await told.wait()
    await answerer.wait_connected(30)
    await answerer.publish("svgx.canvas.restart.access", b"")
    await heard.wait()


async def test_messages_come_in_order_whatever_a_listener_does(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-10: a listener that fails misses nothing that comes after."""
    heard: list[int] = []
    done = asyncio.Event()

    async def listen(_: str, content: bytes) -> None:
        number = int(content)
        heard.append(number)
        if number == 99:
            done.set()
        if number % 10 == 0:
            raise ValueError("a defect")
        await asyncio.sleep(0)

    await asker.listen("svgx.canvas.order.access", listen)
    await asker.settle()
    for number in range(100):
        await answerer.publish("svgx.canvas.order.access", b"%d" % number)
    await done.wait()
    assert heard == list(range(100))


async def test_a_listener_is_told_of_a_message_it_lost(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-10: the sender of a large message is gone before it was pulled."""
    lost, heard = asyncio.Event(), asyncio.Event()

    async def listen(_: str, content: bytes) -> None:
        assert content == b"after"
        heard.set()

    subject = "svgx.canvas.lost.access"
    await asker.listen(subject, listen, lost=lost.set)
    await asker.settle()
    nobody = {HEADER_BODY: "svgx.blob.state.nobody.nothing 600000"}
    await answerer.connection.publish(subject, b"", headers=nobody)
    await answerer.publish(subject, b"after")
    await heard.wait()
    assert lost.is_set()


async def test_a_listener_whose_wait_was_cancelled_hears_on(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-10: nats-py by itself would end the subscription, without a word."""
    heard = asyncio.Event()

    async def listen(_: str, content: bytes) -> None:
        if content == b"first":
            raise asyncio.CancelledError
        heard.set()

    await asker.listen("svgx.canvas.cancelled.access", listen)
    await asker.settle()
    await answerer.publish("svgx.canvas.cancelled.access", b"first")
    await answerer.publish("svgx.canvas.cancelled.access", b"second")
    await heard.wait()


async def test_an_outage_is_one_line_and_ends_nothing(
    backing: DevStack,
    asker: Bus,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Proves R-BUS-9: whoever fails after a reconnect keeps nobody else from being told."""
    told = asyncio.Event()
    refused = asyncio.Event()
    lost = asyncio.Event()

    async def fail() -> None:
        raise Unavailable

    async def tell() -> None:
        told.set()

    errored, disconnected = asker.connection._error_cb, asker.connection._disconnected_cb
    assert disconnected is not None
    count = 0

    async def on_error(error: Exception) -> None:
        nonlocal count
        await errored(error)
        count += isinstance(error, ConnectionRefusedError)
        if count >= 3:
            refused.set()

    async def on_disconnect() -> None:
        await disconnected()
        lost.set()

    monkeypatch.setattr(asker.connection, "_error_cb", on_error)
    monkeypatch.setattr(asker.connection, "_disconnected_cb", on_disconnect)
    asker.on_reconnect(fail)
    asker.on_reconnect(tell)
    nats = backing.process("nats")
    nats.restart = False
    try:
        nats.kill()
        await lost.wait()
        with pytest.raises(DeadlineExceeded):
            await asker.request("svgx.state.any", b"", timeout=0.1)
        monkeypatch.setattr(bus_module, "PENDING", 1000)
        with pytest.raises(Unavailable):
            await asker.request("svgx.state.any", b"x" * 1001, timeout=3600)
        await refused.wait()
    finally:
        nats.restart = True
        await nats.start()
        await nats.wait_ready()
    await told.wait()
    await asker.settle()
    assert asker.connection._resp_map == {}
    assert capsys.readouterr().out.count("nats is not reachable") == 1


async def test_a_large_answer_counts_against_the_callers_patience(
    asker: Bus, answerer: Bus
) -> None:
    """Proves R-BUS-3: who has answered, but does not hand the body over, is not waited for."""
    reference = {bus_module.HEADER_BODY: "svgx.blob.state.hangs.blob 2000000"}
    await answerer.listen("svgx.blob.state.hangs.blob", hear_nothing)

    async def answer(message: Msg) -> None:
        await answerer.connection.publish(message.reply, b"", headers=reference)

    await answerer.connection.subscribe("svgx.state.test.hangs", cb=answer)
    await answerer.settle()
    with pytest.raises(DeadlineExceeded):
        await asker.request("svgx.state.test.hangs", b"", timeout=0.3)


async def hear_nothing(_: str, __: bytes) -> None:
    """Neither answer nor fail."""


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
async def test_a_service_may_use_its_own_subjects_only(
    backing: DevStack, service: str, publish: bool, subject: str
) -> None:
    """Proves R-BUS-11: by its NATS credentials."""
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
