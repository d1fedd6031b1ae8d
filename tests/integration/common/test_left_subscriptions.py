"""Subscriptions that a service leaves while NATS fails."""

import asyncio

import pytest
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from svgx_common.messaging.bus import Bus, BusUnreachable, NoResponders
from svgx_devstack import DevStack

SUBJECTS = ("svgx.state.test.one", "svgx.state.test.two", "svgx.state.test.three")


async def test_left_subscriptions_after_an_outage_of_nats_receive_nothing(
    backing: DevStack, gateway_bus: Bus, state_bus: Bus
) -> None:
    """Subscriptions that end while NATS does not answer stay ended after the outage. Proves R-BUS-17."""
    received: list[str] = []

    async def receive(message: Msg) -> None:
        received.append(message.subject)
        await state_bus.respond(message.reply, b"answer")

    subscriptions = [
        await state_bus.connection.subscribe(subject, cb=receive) for subject in SUBJECTS
    ]
    await state_bus.settle()
    server = backing.process("nats")
    server.pause()
    try:
        async with asyncio.timeout(60):
            with pytest.raises((BusUnreachable, NatsError)):
                await state_bus.leave(subscriptions)
    finally:
        server.resume()
    async with asyncio.timeout(30):
        await gateway_bus.wait_connected(20)
        await state_bus.wait_connected(20)
        await state_bus.settle()
    left = {each.subject for each in state_bus.connection._subs.values()}
    assert left.isdisjoint(SUBJECTS)
    for subject in SUBJECTS:
        with pytest.raises(NoResponders):
            await gateway_bus.request(subject, b"", timeout=10)
    assert received == []
