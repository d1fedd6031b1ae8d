"""Bodies too large for a message: memory, senders that die, limits."""

import asyncio

import nats
import pytest
from nats.aio.msg import Msg

from svgx_common.contract import subjects
from svgx_common.contract.errors import Overloaded, TooLarge, Unavailable
from svgx_common.contract.operation import Blob
from svgx_common.messaging import blobs
from svgx_common.messaging.blobs import PIECE
from svgx_common.messaging.bus import HEADER_BODY, Bus
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from tests.integration.common.party import SEND, Bytes, TestResponder

TWENTY_MIB = 20 * 1024 * 1024


async def test_a_large_broadcast_is_whole_and_then_forgotten(
    asker: Bus, answerer: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-BUS-5: both listeners get what was sent; the sender keeps nothing past its time."""
    monkeypatch.setattr(blobs, "LINGER", 2.0)
    content = bytes(range(256)) * (TWENTY_MIB // 256) + b"end"
    heard: list[asyncio.Future[bytes]] = [asyncio.Future(), asyncio.Future()]

    async def first(_: str, body: bytes) -> None:
        heard[0].set_result(body)

    async def second(_: str, body: bytes) -> None:
        heard[1].set_result(body)

    await asker.listen("svgx.canvas.whole.access", first)
    await asker.listen("svgx.canvas.*.access", second)
    await asker.settle()
    await answerer.publish("svgx.canvas.whole.access", content)
    assert answerer.blobs.offered_bytes == len(content)
    assert [await body == content for body in heard] == [True, True]
    async with asyncio.timeout(30):
        while answerer.blobs.offered_bytes:
            await answerer.settle()


async def test_an_answer_nobody_pulls_is_forgotten(
    asker: Bus, answerer: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-BUS-5: the asker was gone before it had the body."""
    monkeypatch.setattr(blobs, "LINGER", 0.05)

    async def answer(_: Bytes, __: Call) -> Blob:
        return Blob(b"x" * 2 * PIECE)

    responder = TestResponder(answerer, "0")
    responder.answer(SEND, answer)
    await responder.start()
    message = await asker.connection.request(SEND.subject, b"", timeout=5)
    assert (message.headers or {})[HEADER_BODY].endswith(f" {2 * PIECE}")
    async with asyncio.timeout(30):
        while answerer.blobs.offered_bytes:
            await answerer.settle()
    await responder.drain()


@pytest.mark.parametrize("dies", ["at once", "between two pieces", "in silence"])
async def test_a_sender_that_dies_is_an_error(
    backing: DevStack, asker: Bus, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    """Proves R-BUS-5: not a wait without end, and never half a body."""
    monkeypatch.setattr(blobs, "PULL_TIMEOUT", 0.3)
    sender = await nats.connect(backing.nats_url("operator"))
    served = 0

    async def serve(message: Msg) -> None:
        nonlocal served
        served += 1
        if served <= 2:
            await message.respond(b"x" * PIECE)
        elif dies == "between two pieces":
            await sender.close()

    subject = subjects.blob("state", "dying", "blob")
    subscription = await sender.subscribe(subject, cb=serve)
    await sender.flush()
    if dies == "at once":
        await subscription.unsubscribe()
        await sender.flush()
    with pytest.raises(Unavailable):
        await asker.blobs.pull(f"{subject} {8 * PIECE}")
    assert (served == 0) == (dies == "at once")
    await sender.close()


@pytest.mark.parametrize("reference", ["", "svgx.blob.state.x.y", "svgx.auth.login 5", "x -1"])
async def test_nothing_else_is_asked_for_a_body(asker: Bus, reference: str) -> None:
    """Proves R-BUS-5: a header that is no reference is an error, not a request."""
    with pytest.raises(Unavailable):
        await asker.blobs.pull(reference)


async def test_a_body_over_the_limit_is_not_even_pulled(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-5: it is refused by its announced size."""

    async def answer(_: Bytes, __: Call) -> Blob:
        raise AssertionError

    responder = TestResponder(answerer, "0")
    responder.answer(SEND, answer)
    await responder.start()
    nobody = subjects.blob("gateway", "nobody", "nothing")
    headers = {HEADER_BODY: f"{nobody} {SEND.max_body + 1}"}
    with pytest.raises(TooLarge):
        await asker.request(SEND.subject, b"", headers, timeout=5)
    await responder.drain()


async def test_offers_are_bounded(asker: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-BUS-5: past the bound a request is overloaded, and a broadcast is not sent."""
    monkeypatch.setattr(blobs, "MAX_OFFERED", 3 * PIECE)
    with asker.blobs.offer(b"x" * 2 * PIECE):
        with pytest.raises(Overloaded):
            await asker.request(SEND.subject, b"x" * 2 * PIECE, timeout=5)
        with pytest.raises(Unavailable):
            await asker.publish("svgx.canvas.c.awareness", b"x" * 2 * PIECE)
    assert asker.blobs.offered_bytes == 0
