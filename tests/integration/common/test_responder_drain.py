"""The drain of a responder: requests in progress are finished, or their callers get an error."""

import asyncio

import pytest

from svgx_common.contract.errors import (
    DeadlineExceeded,
    Overloaded,
    Unavailable,
)
from svgx_common.messaging.bus import Bus, NoResponders
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from tests.integration.common.example_operations import (
    EchoReply,
    EchoRequest,
    PartialResponder,
    echo_operation,
    service_bus,
)


async def test_drain_finishes_all_requests_that_have_arrived(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-6: fifty requests in progress are answered, and later requests get `NoResponders`."""
    arrived = 0
    all_arrived, release = asyncio.Event(), asyncio.Event()

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        nonlocal arrived
        arrived += 1
        if arrived == 50:
            all_arrived.set()
        await release.wait()
        return EchoReply(text="done")

    responder = PartialResponder(state_bus, "0")
    operation = echo_operation()
    responder.answer(operation, answer)
    await responder.start()
    calls = [asyncio.create_task(gateway_bus.ask(operation, EchoRequest())) for _ in range(50)]
    await all_arrived.wait()
    draining = asyncio.create_task(responder.drain())
    while True:
        try:
            # A request that arrives before the responder has left its queue group waits like the others.
            await gateway_bus.ask(operation, EchoRequest(), timeout=1)
        except DeadlineExceeded:
            continue
        except NoResponders:
            break
    release.set()
    await draining
    assert [answer.text for answer in await asyncio.gather(*calls)] == ["done"] * 50
    with pytest.raises(NoResponders):
        await gateway_bus.ask(operation, EchoRequest())


async def test_cancelled_drain_refuses_running_and_waiting_requests(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-6: the callers of running requests and of requests without a slot get `Unavailable`."""
    started = asyncio.Event()

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    responder = PartialResponder(state_bus, "0", concurrency=1, backlog=2)
    operation = echo_operation()
    responder.answer(operation, answer)
    await responder.start()
    calls = [
        asyncio.create_task(gateway_bus.ask(operation, EchoRequest(), timeout=3600))
        for _ in range(4)
    ]
    # The responder takes three requests: one runs and two wait. The refusal of the fourth shows that they have arrived.
    (refused,), waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(refused.exception(), Overloaded)
    await started.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await responder.drain()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3


async def test_request_sent_before_the_server_processes_the_unsubscribe_is_answered(
    gateway_bus: Bus, state_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-BUS-6: NATS sends requests to the service until NATS has processed the service's UNSUB.

    The test holds the service's outgoing buffer back, so the UNSUB is delayed.
    """

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        return EchoReply(text="answered")

    async def hold() -> None:
        """Send no bytes."""

    operation = echo_operation("leaving")
    responder = PartialResponder(state_bus, "0")
    responder.answer(operation, answer)
    await responder.start()
    with monkeypatch.context() as held:
        held.setattr(state_bus.connection, "_flush_pending", hold)
        draining = asyncio.create_task(responder.drain())
        for _ in range(20):
            await gateway_bus.settle()
        call = asyncio.create_task(gateway_bus.ask(operation, EchoRequest(), timeout=5))
        for _ in range(20):
            await gateway_bus.settle()
    await state_bus.connection._flush_pending()
    assert (await call).text == "answered"
    await draining
    with pytest.raises(NoResponders):
        await gateway_bus.ask(operation, EchoRequest())


async def test_drain_without_nats_finishes_the_running_request_and_ends(
    backing: DevStack, gateway_bus: Bus
) -> None:
    """Proves R-BUS-6: the running handler ends although its answer cannot be sent; no new request is accepted."""
    bus = await service_bus(backing, "state", "alone")
    finished, started, release, disconnected = (asyncio.Event() for _ in range(4))

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        started.set()
        await release.wait()
        finished.set()
        return EchoReply(text="")

    async def on_disconnect() -> None:
        disconnected.set()

    responder = PartialResponder(bus, "0")
    operation = echo_operation("alone")
    responder.answer(operation, answer)
    await responder.start()
    bus.connection._disconnected_cb = on_disconnect
    await gateway_bus.publish(operation.subject, b"{}")
    await started.wait()
    nats = backing.process("nats")
    nats.restart = False
    try:
        nats.kill()
        await disconnected.wait()
        draining = asyncio.create_task(responder.drain())
        release.set()
        await draining
        assert finished.is_set()
    finally:
        nats.restart = True
        await nats.start()
        await nats.wait_ready()
    await bus.wait_connected(30)
    await gateway_bus.wait_connected(30)
    await bus.settle()
    with pytest.raises(NoResponders):
        await gateway_bus.ask(operation, EchoRequest())
    await bus.close()
