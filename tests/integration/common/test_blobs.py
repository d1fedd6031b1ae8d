"""Bodies that are too large for a message: memory, senders that end, and limits."""

import asyncio

import nats
import pytest
from nats.aio.msg import Msg

from svgx_common.contract.errors import (
    Overloaded,
    TooLarge,
    Unavailable,
)
from svgx_common.contract.operation import Blob
from svgx_common.contract.transport import blob_subject
from svgx_common.messaging import blobs
from svgx_common.messaging.blobs import PIECE_BYTES
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.headers import HEADER_BODY
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from tests.integration.common.example_operations import (
    UPLOAD,
    PartialResponder,
    UploadRequest,
)
from tests.polling import pause

TWENTY_MIB = 20 * 1024 * 1024


async def test_large_bodies_reach_the_service_and_the_caller(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-5: 20 MiB arrive although NATS limits a message to 1 MiB, and no process keeps them."""

    async def answer(request: UploadRequest, _: Call) -> Blob:
        return Blob(request.content[::-1], "x/y", f"{request.name}.bin")

    responder = PartialResponder(state_bus, "0")
    responder.answer(UPLOAD, answer)
    await responder.start()
    content = bytes(range(256)) * (TWENTY_MIB // 256) + b"end"
    reply = await gateway_bus.ask(UPLOAD, UploadRequest(name="Zoë", content=content))
    assert reply == Blob(content[::-1], "x/y", "Zoë.bin")
    for bus in (gateway_bus, state_bus):
        assert bus.blobs.offered_bytes == 0
    for size in (PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES):
        assert (
            len((await gateway_bus.ask(UPLOAD, UploadRequest(content=b"x" * size))).content) == size
        )
    with pytest.raises(TooLarge) as refused:
        await gateway_bus.ask(UPLOAD, UploadRequest(content=b"x" * (UPLOAD.max_body + 1)))
    assert refused.value.field == "body"
    await responder.drain()


async def test_large_broadcast_keeps_its_place_in_the_order(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-5: each listener gets the large message between the smaller ones."""
    content = b"x" * TWENTY_MIB
    sizes: list[list[int]] = [[], []]
    complete = asyncio.Event()

    def listener(number: int):  # type: ignore[no-untyped-def]
        async def listen(_: str, body: bytes) -> None:
            sizes[number].append(len(body))
            if all(len(each) == 3 for each in sizes):
                complete.set()

        return listen

    for number in range(2):
        await gateway_bus.listen("svgx.canvas.test.access", listener(number))
    await gateway_bus.settle()
    for body in (b"small", content, b"after"):
        await state_bus.publish("svgx.canvas.test.access", body)
    await complete.wait()
    assert sizes == [[5, TWENTY_MIB, 5]] * 2


async def test_pull_from_an_unknown_sender_raises_unavailable(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-5: the receiver of a large body does not wait for a sender that has ended."""
    with pytest.raises(Unavailable):
        await gateway_bus.blobs.pull("svgx.blob.state.nobody.nothing 2000000")


async def test_large_broadcast_reaches_two_listeners_and_is_removed_after_offer_seconds(
    gateway_bus: Bus, state_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-BUS-5: both listeners get the whole body, and the sender keeps it only for `OFFER_SECONDS`."""
    monkeypatch.setattr(blobs, "OFFER_SECONDS", 3.0)
    content = bytes(range(256)) * (3 * PIECE_BYTES // 256) + b"end"
    received: list[asyncio.Future[bytes]] = [asyncio.Future(), asyncio.Future()]

    async def first(_: str, body: bytes) -> None:
        received[0].set_result(body)

    async def second(_: str, body: bytes) -> None:
        received[1].set_result(body)

    await gateway_bus.listen("svgx.canvas.whole.access", first)
    await gateway_bus.listen("svgx.canvas.*.access", second)
    await gateway_bus.settle()
    await state_bus.publish("svgx.canvas.whole.access", content)
    assert state_bus.blobs.offered_bytes == len(content)
    assert [await body == content for body in received] == [True, True]
    async with asyncio.timeout(30):
        while state_bus.blobs.offered_bytes:
            await state_bus.settle()


async def test_large_answer_that_is_not_pulled_is_removed_after_offer_seconds(
    gateway_bus: Bus, state_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-BUS-5: if the caller does not pull the body of an answer, the body does not stay in memory."""
    monkeypatch.setattr(blobs, "OFFER_SECONDS", 0.05)

    async def answer(_: UploadRequest, __: Call) -> Blob:
        return Blob(b"x" * 2 * PIECE_BYTES)

    responder = PartialResponder(state_bus, "0")
    responder.answer(UPLOAD, answer)
    await responder.start()
    message = await gateway_bus.connection.request(UPLOAD.subject, b"", timeout=5)
    assert (message.headers or {})[HEADER_BODY].endswith(f" {2 * PIECE_BYTES}")
    async with asyncio.timeout(30):
        while state_bus.blobs.offered_bytes:
            await state_bus.settle()
    await responder.drain()


@pytest.mark.parametrize(
    "ends", ["before the first piece", "between two pieces", "without closing its connection"]
)
async def test_pull_from_an_ended_sender_raises_unavailable(
    backing: DevStack, gateway_bus: Bus, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Proves R-BUS-5: the wait is bounded, and an incomplete body is never returned."""
    monkeypatch.setattr(blobs, "PULL_SECONDS", 0.3)
    sender = await nats.connect(backing.nats_url("operator"))
    served = 0

    async def serve(message: Msg) -> None:
        nonlocal served
        served += 1
        if served <= 2:
            await message.respond(b"x" * PIECE_BYTES)
        elif ends == "between two pieces":
            await sender.close()

    subject = blob_subject("state", "dying", "blob")
    subscription = await sender.subscribe(subject, cb=serve)
    await sender.flush()
    if ends == "before the first piece":
        await subscription.unsubscribe()
        await sender.flush()
    with pytest.raises(Unavailable):
        await gateway_bus.blobs.pull(f"{subject} {8 * PIECE_BYTES}")
    if ends == "before the first piece":
        assert served == 0
    else:
        async with asyncio.timeout(20):
            while served == 0:  # the first request may arrive after its time limit
                await pause()
    await sender.close()


@pytest.mark.parametrize("reference", ["", "svgx.blob.state.x.y", "svgx.auth.login 5", "x -1"])
async def test_pull_with_a_malformed_reference_sends_no_request(
    gateway_bus: Bus, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    """Proves R-BUS-5: requests are sent only to subjects of offered bodies."""

    async def request(*_: object, **__: object) -> Msg:
        raise AssertionError

    monkeypatch.setattr(gateway_bus.connection, "request", request)
    with pytest.raises(Unavailable):
        await gateway_bus.blobs.pull(reference)


async def test_body_over_the_limit_is_refused_before_it_is_pulled(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-5: the size in the reference is enough to refuse the body."""

    async def answer(_: UploadRequest, __: Call) -> Blob:
        raise AssertionError

    responder = PartialResponder(state_bus, "0")
    responder.answer(UPLOAD, answer)
    await responder.start()
    not_offered = blob_subject("gateway", "nobody", "nothing")
    headers = {HEADER_BODY: f"{not_offered} {UPLOAD.max_body + 1}"}
    with pytest.raises(TooLarge):
        await gateway_bus.request(UPLOAD.subject, b"", headers, timeout=5)
    await responder.drain()


async def test_offers_over_the_limit_are_refused(
    gateway_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-BUS-5: a request raises `Overloaded`, and a broadcast raises `Unavailable`."""
    monkeypatch.setattr(blobs, "MAX_OFFERED_BYTES", 3 * PIECE_BYTES)
    with gateway_bus.blobs.offer(b"x" * 2 * PIECE_BYTES):
        with pytest.raises(Overloaded):
            await gateway_bus.request(UPLOAD.subject, b"x" * 2 * PIECE_BYTES, timeout=5)
        with pytest.raises(Unavailable):
            await gateway_bus.publish("svgx.canvas.c.awareness", b"x" * 2 * PIECE_BYTES)
    assert gateway_bus.blobs.offered_bytes == 0


async def test_pulls_of_several_bodies_share_one_window(
    gateway_bus: Bus, state_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of pieces in flight is bounded for all bodies together, because NATS closes a slow consumer.

    Proves R-BOUND-10.
    """
    monkeypatch.setattr(gateway_bus.blobs, "_all_pieces", asyncio.Semaphore(2))
    request = gateway_bus.connection.request
    in_flight: list[int] = [0]

    async def counted(subject: str, payload: bytes, *, timeout: float) -> Msg:
        in_flight.append(in_flight[-1] + 1)
        try:
            return await request(subject, payload, timeout=timeout)
        finally:
            in_flight.append(in_flight[-1] - 1)

    monkeypatch.setattr(gateway_bus.connection, "request", counted)
    await state_bus.settle()  # NATS refuses requests for pieces until it knows the subscription
    contents = [bytes([number]) * (3 * PIECE_BYTES + number) for number in range(3)]
    references = [state_bus.blobs.offer_for_a_while(content) for content in contents]
    pulled = await asyncio.gather(*map(gateway_bus.blobs.pull, references))
    assert pulled == contents
    assert max(in_flight) == 2
