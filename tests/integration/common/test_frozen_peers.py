"""Requests while NATS is frozen, and while NATS works and a replica is frozen."""

import asyncio
import dataclasses
import time

import pytest
from nats.aio.msg import Msg

from svgx_common.health import NotUsable
from svgx_common.messaging import repetition
from svgx_common.messaging.bus import RECONNECT_WAIT_SECONDS, Bus, BusUnreachable
from svgx_common.messaging.round_trips import ANSWER_SECONDS, LATE_SECONDS
from svgx_devstack import DevStack
from tests.integration.common.example_operations import (
    EchoReply,
    EchoRequest,
    PartialResponder,
    echo_operation,
)
from tests.polling import pause

READ = dataclasses.replace(echo_operation("read"), repeatable=True)
WRITE = echo_operation("write", timeout=2.0)


async def test_frozen_nats_fails_requests_and_recovers(
    backing: DevStack, gateway_bus: Bus, state_bus: Bus
) -> None:
    """A request in progress fails within seconds, later ones at once. Proves R-FAIL-20."""

    async def answer(message: Msg) -> None:
        await state_bus.respond(message.reply, b"answer")

    async def ignore(_: Msg) -> None:
        """Leave the request without an answer."""

    await state_bus.connection.subscribe("svgx.state.test.answer", cb=answer)
    await state_bus.connection.subscribe("svgx.state.test.ignore", cb=ignore)
    await state_bus.settle()
    await gateway_bus.check()
    asking = asyncio.create_task(gateway_bus.request("svgx.state.test.ignore", b"", timeout=60))
    server = backing.process("nats")
    server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(BusUnreachable):
            await asking
        assert time.monotonic() - began < 30
        # The first request after the loss may wait for `RECONNECT_WAIT_SECONDS` seconds.
        with pytest.raises(BusUnreachable):
            await gateway_bus.request("svgx.state.test.answer", b"", timeout=60)
        began = time.monotonic()
        for _ in range(10):
            with pytest.raises(BusUnreachable):
                await gateway_bus.request("svgx.state.test.answer", b"", timeout=60)
        with pytest.raises(NotUsable):
            await gateway_bus.check()
        assert time.monotonic() - began < 10 * RECONNECT_WAIT_SECONDS
    finally:
        server.resume()
    async with asyncio.timeout(20):
        await gateway_bus.wait_connected(20)
        await state_bus.wait_connected(20)
        await state_bus.settle()
        answered = await gateway_bus.request("svgx.state.test.answer", b"", timeout=10)
    assert answered.content == b"answer"


async def test_settle_after_a_silence_does_not_wait_for_a_new_connection(
    backing: DevStack, state_bus: Bus
) -> None:
    """A message that was sent to a frozen server is lost, so a new connection cannot confirm it. Proves R-EVENT-2."""
    await state_bus.settle()
    server = backing.process("nats")
    server.pause()
    try:
        async with asyncio.timeout(30):
            while state_bus.reachable:
                await pause()
        await state_bus.publish("svgx.canvas.frozen.access", b"")
    finally:
        server.kill()
    with pytest.raises(BusUnreachable):
        await state_bus.settle()
    await server.wait_ready()
    await state_bus.wait_connected(30)
    await state_bus.settle()


async def test_nats_that_was_paused_with_this_process_is_reachable(
    backing: DevStack, gateway_bus: Bus
) -> None:
    """A virtual machine may be paused several times in a row, with all its processes. Proves R-FAIL-20."""
    await gateway_bus.settle()
    server = backing.process("nats")
    server.pause()
    try:
        for _ in range(4):
            time.sleep(ANSWER_SECONDS + 2 * LATE_SECONDS)  # noqa: ASYNC251  # pauses this process
            for _ in range(20):
                await asyncio.sleep(0)
            assert gateway_bus.reachable
    finally:
        server.resume()
    await gateway_bus.settle()


async def test_read_reaches_another_replica_and_a_write_is_sent_once(
    gateway_bus: Bus, state_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two replicas gets half of the requests, and does not answer. Proves R-FAIL-21 and R-RESIL-4."""
    # NATS chooses a replica at random. With ten attempts, one of the reads would sometimes miss the other replica.
    monkeypatch.setattr(repetition, "MIN_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(repetition, "INTERVALS_PER_TIMEOUT", 50)
    received: list[str] = []
    first_ignored = asyncio.Event()

    async def echo(request: EchoRequest, _: object) -> EchoReply:
        return EchoReply(text=request.text)

    async def ignore(message: Msg) -> None:
        received.append(message.subject)
        first_ignored.set()

    responder = PartialResponder(state_bus, "0")
    responder.answer(READ, echo)
    await responder.start()
    for operation in (READ, WRITE):
        await state_bus.connection.subscribe(operation.subject, queue="svgx-state", cb=ignore)
    await state_bus.settle()
    answers = await asyncio.gather(
        *(gateway_bus.ask(READ, EchoRequest(text=str(number))) for number in range(20))
    )
    assert [each.text for each in answers] == [str(number) for number in range(20)]
    assert first_ignored.is_set()
    with pytest.raises(Exception, match="did not finish"):
        await gateway_bus.ask(WRITE, EchoRequest())
    assert received.count(WRITE.subject) == 1
    await responder.drain()
