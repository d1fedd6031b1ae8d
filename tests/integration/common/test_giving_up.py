"""What is not finished is told to whoever waits for it."""

import asyncio

import pytest

from svgx_common.contract import operations_of
from svgx_common.contract.auth import ME
from svgx_common.contract.errors import Internal, Invalid, Overloaded, Unavailable
from svgx_common.contract.operation import Blob
from svgx_common.messaging.bus import HEADER_PARAMS, Bus, NoResponders
from svgx_common.messaging.responder import Call, Responder
from svgx_devstack import DevStack
from tests.integration.common.party import (
    SEND,
    Bytes,
    Question,
    Reply,
    TestResponder,
    asking,
    service_bus,
)


async def test_an_operation_without_a_handler_stops_the_start(answerer: Bus) -> None:
    """Proves R-CONTRACT-2: all that is missing is named, and nothing is answered."""
    responder = Responder(answerer, "0")
    with pytest.raises(ValueError, match=r"svgx\.state\.canvas\.create.*svgx\.state\.member\.set"):
        await responder.start()
    assert len(operations_of("state")) > 2


async def test_an_operation_has_one_handler_in_its_own_service(answerer: Bus) -> None:
    """Proves R-CONTRACT-2."""

    async def answer(_: Question, __: Call) -> Reply:
        return Reply(text="")

    async def me(*_: object) -> None:
        raise NotImplementedError

    responder = Responder(answerer, "0")
    responder.answer(asking(), answer)
    with pytest.raises(ValueError, match="has a handler already"):
        responder.answer(asking(), answer)
    with pytest.raises(ValueError, match="not this service's"):
        responder.answer(ME, me)  # type: ignore[arg-type]  # refused before its type matters


async def test_a_handler_whose_own_wait_ends_is_not_late(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-4: its TimeoutError is a defect of ours, not the caller's deadline."""

    async def answer(_: Question, __: Call) -> Reply:
        raise TimeoutError

    responder = TestResponder(answerer, "0")
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(Internal):
        await asker.ask(operation, Question())
    await responder.drain()


async def test_a_handler_whose_wait_was_cancelled_is_told(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-4: the caller hears of it at once, not after its whole patience."""

    async def answer(_: Question, __: Call) -> Reply:
        raise asyncio.CancelledError

    responder = TestResponder(answerer, "0")
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(Unavailable):
        await asker.ask(operation, Question(), timeout=3600)
    await responder.drain()


async def test_a_drain_that_is_cut_short_tells_everybody(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-6: those who run and those who still wait for a slot."""
    started = asyncio.Event()

    async def answer(_: Question, __: Call) -> Reply:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    responder = TestResponder(answerer, "0", concurrency=1, backlog=2)
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    calls = [asyncio.create_task(asker.ask(operation, Question(), timeout=3600)) for _ in range(4)]
    # The fourth is refused, so the other three have arrived.
    (refused,), waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(refused.exception(), Overloaded)
    await started.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await responder.drain()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3


async def test_what_is_sent_while_a_service_leaves_is_answered(
    asker: Bus, answerer: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-BUS-6: it counts what the server knows, not what it has been asked.

    The service's outgoing buffer is held, so that leaving the queue group takes its time.
    """

    async def answer(_: Question, __: Call) -> Reply:
        return Reply(text="answered")

    async def hold() -> None:
        """Send nothing."""

    operation = asking("leaving")
    responder = TestResponder(answerer, "0")
    responder.answer(operation, answer)
    await responder.start()
    with monkeypatch.context() as held:
        held.setattr(answerer.connection, "_flush_pending", hold)
        draining = asyncio.create_task(responder.drain())
        for _ in range(20):
            await asker.settle()
        call = asyncio.create_task(asker.ask(operation, Question(), timeout=5))
        for _ in range(20):
            await asker.settle()
    await answerer.connection._flush_pending()
    assert (await call).text == "answered"
    await draining
    with pytest.raises(NoResponders):
        await asker.ask(operation, Question())


async def test_a_drain_without_nats_ends(backing: DevStack, asker: Bus) -> None:
    """Proves R-BUS-6: what runs is finished, though nobody can hear of it, and nothing new is taken."""
    bus = await service_bus(backing, "state", "alone")
    finished, started, go, lost = (asyncio.Event() for _ in range(4))

    async def answer(_: Question, __: Call) -> Reply:
        started.set()
        await go.wait()
        finished.set()
        return Reply(text="")

    async def disconnected() -> None:
        lost.set()

    responder = TestResponder(bus, "0")
    operation = asking("alone")
    responder.answer(operation, answer)
    await responder.start()
    bus.connection._disconnected_cb = disconnected
    await asker.publish(operation.subject, b"{}")
    await started.wait()
    nats = backing.process("nats")
    nats.restart = False
    try:
        nats.kill()
        await lost.wait()
        draining = asyncio.create_task(responder.drain())
        go.set()
        await draining
        assert finished.is_set()
    finally:
        nats.restart = True
        await nats.start()
        await nats.wait_ready()
    await bus.wait_connected(30)
    await asker.wait_connected(30)
    await bus.settle()
    with pytest.raises(NoResponders):
        await asker.ask(operation, Question())
    await bus.close()


@pytest.mark.parametrize(
    ("params", "field"), [("{", "body"), ('{"name": 7}', "name"), ('{"other": ""}', "other")]
)
async def test_parameters_beside_a_raw_body_are_checked(
    asker: Bus, answerer: Bus, params: str, field: str
) -> None:
    """Proves R-BUS-4: they travel in a header, as JSON."""

    async def answer(_: Bytes, __: Call) -> Blob:
        raise AssertionError

    responder = TestResponder(answerer, "0")
    responder.answer(SEND, answer)
    await responder.start()
    with pytest.raises(Invalid) as refused:
        await asker.request(SEND.subject, b"content", {HEADER_PARAMS: params}, timeout=5)
    assert refused.value.field == field
    await responder.drain()


@pytest.mark.parametrize("name", ["Zoë 😀", " lines\r\nSvgx-Error: internal ", '"\\', "\x00"])
async def test_parameters_beside_a_raw_body_are_any_text(
    asker: Bus, answerer: Bus, name: str
) -> None:
    """Proves R-BUS-12: whatever they are, they are no header of their own."""

    async def answer(request: Bytes, _: Call) -> Blob:
        return Blob(request.name.encode() + request.content)

    responder = TestResponder(answerer, "0")
    responder.answer(SEND, answer)
    await responder.start()
    reply = await asker.ask(SEND, Bytes(name=name, content=b"content"))
    assert reply.content == name.encode() + b"content"
    await responder.drain()
