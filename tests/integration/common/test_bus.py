"""The connection: restarts of NATS, order, permissions."""

import asyncio

import pytest

from svgx_common.bus import Bus, NoResponders
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
