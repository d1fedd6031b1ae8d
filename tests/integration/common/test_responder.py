"""Asking and answering: bounds, deadlines, errors, drain, large bodies, discovery."""

import asyncio
import json
import time

import pytest
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats
from opentelemetry import trace

from svgx_common.contract.errors import (
    Conflict,
    DeadlineExceeded,
    Internal,
    Invalid,
    Overloaded,
    TooLarge,
    Unavailable,
)
from svgx_common.contract.operation import Blob
from svgx_common.contract.policy import Role
from svgx_common.messaging.blobs import PIECE
from svgx_common.messaging.bus import HEADER_DEADLINE, Bus, NoResponders
from svgx_common.messaging.caller import Caller, Client
from svgx_common.messaging.responder import Call
from tests.integration.common.party import SEND, Bytes, Question, Reply, TestResponder, asking

MIB = 1024 * 1024


async def test_a_question_is_answered_with_its_caller(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-1: whoever asks is known to whoever answers, and from where."""
    caller = Caller("id", "Änne", Role.EDITOR, "session", 3)
    client = Client("2001:db8::1", "Ünusual\r\nSvgx-Caller: {}")
    heard: list[Call] = []

    async def answer(question: Question, call: Call) -> Reply:
        heard.append(call)
        return Reply(text=question.text[::-1])

    responder = TestResponder(answerer, "0")
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    answered = await asker.ask(operation, Question(text="abc"), caller=caller, client=client)
    assert answered.text == "cba"
    assert (heard[0].caller, heard[0].client) == (caller, client)
    await asker.ask(operation, Question(text="abc"))
    assert (heard[1].caller, heard[1].client) == (None, Client())
    await responder.drain()


async def test_handlers_run_at_once_but_not_too_many(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-2: four run, four wait, and what is over that is refused at once."""
    running = most = 0
    go = asyncio.Event()

    async def answer(_: Question, __: Call) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        return Reply(text="")

    responder = TestResponder(answerer, "0", concurrency=4, backlog=4)
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    asked = [asyncio.create_task(asker.ask(operation, Question())) for _ in range(12)]
    done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
    while len(done) < 4:
        more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert all(isinstance(task.exception(), Overloaded) for task in done)
    assert (most, running) == (4, 4)
    go.set()
    answers = await asyncio.gather(*waiting)
    assert (len(answers), most) == (8, 4)
    await responder.drain()


async def test_an_expired_request_is_not_started(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-3."""
    started = False

    async def answer(_: Question, __: Call) -> Reply:
        nonlocal started
        started = True
        return Reply(text="")

    responder = TestResponder(answerer, "0")
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    past = {HEADER_DEADLINE: str(int(time.time() * 1000) - 1)}
    with pytest.raises(DeadlineExceeded):
        await asker.request(operation.subject, b"{}", past, timeout=5)
    assert not started
    await responder.drain()


async def test_a_handler_past_its_deadline_is_cancelled(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-3."""
    cancelled = asyncio.Event()

    async def answer(_: Question, __: Call) -> Reply:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Reply(text="")

    responder = TestResponder(answerer, "0")
    operation = asking(timeout=0.2)
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(DeadlineExceeded):
        await asker.ask(operation, Question())
    await cancelled.wait()
    await responder.drain()


async def test_errors_travel_as_code_and_detail(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-4."""

    async def answer(_: Question, __: Call) -> Reply:
        raise Conflict("somebody has it", field="name", limit=7, retry_after=1.5)

    responder = TestResponder(answerer, "0")
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(Conflict) as caught:
        await asker.ask(operation, Question())
    error = caught.value
    assert (error.detail, error.field, error.limit, error.retry_after) == (
        "somebody has it",
        "name",
        7,
        1.5,
    )
    await responder.drain()


async def test_an_exceptions_text_stays_in_the_service(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-4: whatever a handler raises, and whatever it is asked."""

    async def answer(question: Question, __: Call) -> Reply:
        raise RuntimeError(f"secret {question.text}")

    responder = TestResponder(answerer, "0")
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(Internal) as caught:
        await asker.ask(operation, Question(text="text"))
    assert "secret" not in caught.value.body().model_dump_json()
    message = await asker.connection.request(
        operation.subject, b'{"text": 7, "more": 1}', timeout=5
    )
    assert b"secret" not in message.data
    with pytest.raises(Invalid) as invalid:
        await asker.request(operation.subject, b'{"text": 7}', timeout=5)
    assert invalid.value.field == "text"
    await responder.drain()


async def test_large_bodies_travel_both_ways(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-5: 20 MiB, where NATS takes 1 MiB; nothing of it is kept afterwards."""

    async def answer(request: Bytes, _: Call) -> Blob:
        return Blob(request.content[::-1], "x/y", f"{request.name}.bin")

    responder = TestResponder(answerer, "0")
    responder.answer(SEND, answer)
    await responder.start()
    content = bytes(range(256)) * (20 * MIB // 256) + b"end"
    reply = await asker.ask(SEND, Bytes(name="Zoë", content=content))
    assert reply == Blob(content[::-1], "x/y", "Zoë.bin")
    for bus in (asker, answerer):
        assert bus.blobs.offered_bytes == 0
    for size in (PIECE - 1, PIECE, PIECE + 1, 2 * PIECE):
        assert len((await asker.ask(SEND, Bytes(content=b"x" * size))).content) == size
    with pytest.raises(TooLarge) as refused:
        await asker.ask(SEND, Bytes(content=b"x" * (SEND.max_body + 1)))
    assert refused.value.field == "body"
    await responder.drain()


async def test_a_large_broadcast_reaches_every_listener(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-5, in the order of sending."""
    content = b"x" * 20 * MIB
    heard: list[list[int]] = [[], []]
    all_heard = asyncio.Event()

    def listener(number: int):  # type: ignore[no-untyped-def]
        async def listen(_: str, body: bytes) -> None:
            heard[number].append(len(body))
            if all(len(each) == 3 for each in heard):
                all_heard.set()

        return listen

    for number in range(2):
        await asker.listen("svgx.canvas.test.access", listener(number))
    await asker.settle()
    for body in (b"small", content, b"after"):
        await answerer.publish("svgx.canvas.test.access", body)
    await all_heard.wait()
    assert heard == [[5, 20 * MIB, 5]] * 2


async def test_a_sender_that_dies_is_not_waited_for(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-5: the reader of a large body gets an error."""
    with pytest.raises(Unavailable):
        await asker.blobs.pull("svgx.blob.state.nobody.nothing 2000000")


async def test_stopping_finishes_what_has_arrived(asker: Bus, answerer: Bus) -> None:
    """Proves R-BUS-6: fifty slow calls are in flight; all are answered, and new ones find nobody."""
    arrived = 0
    everybody, go = asyncio.Event(), asyncio.Event()

    async def answer(_: Question, __: Call) -> Reply:
        nonlocal arrived
        arrived += 1
        if arrived == 50:
            everybody.set()
        await go.wait()
        return Reply(text="done")

    responder = TestResponder(answerer, "0")
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    calls = [asyncio.create_task(asker.ask(operation, Question())) for _ in range(50)]
    await everybody.wait()
    draining = asyncio.create_task(responder.drain())
    while True:
        try:
            await asker.ask(asking("unknown"), Question(), timeout=5)
        except NoResponders:
            break
    go.set()
    await draining
    assert [answer.text for answer in await asyncio.gather(*calls)] == ["done"] * 50
    with pytest.raises(NoResponders):
        await asker.ask(operation, Question())


async def test_the_trace_goes_along(asker: Bus, answerer: Bus) -> None:
    """Proves R-OBS-4: the handler runs in the asker's trace."""
    seen: list[int] = []

    async def answer(_: Question, __: Call) -> Reply:
        seen.append(trace.get_current_span().get_span_context().trace_id)
        return Reply(text="")

    responder = TestResponder(answerer, "0")
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    context = trace.SpanContext(7, 9, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        await asker.ask(operation, Question())
    assert seen == [7]
    await responder.drain()


@pytest.mark.parametrize("suffix", ["", ".svgx-state", ".svgx-state.one"])
async def test_discovery_is_answered(asker: Bus, answerer: Bus, suffix: str) -> None:
    """Proves R-BUS-7: NATS micro's PING, INFO and STATS, for all, by name and by id."""

    async def answer(_: Question, __: Call) -> Reply:
        raise Conflict

    responder = TestResponder(answerer, "1.2.3")
    operation = asking()
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(Conflict):
        await asker.ask(operation, Question())

    async def ask(verb: str) -> dict[str, object]:
        message = await asker.connection.request(f"$SRV.{verb}{suffix}", timeout=5)
        content: dict[str, object] = json.loads(message.data)
        assert content["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
        return content

    ping = ServicePing.from_dict(await ask("PING"))
    assert (ping.name, ping.id, ping.version) == ("svgx-state", "one", "1.2.3")
    (endpoint,) = ServiceInfo.from_dict(await ask("INFO")).endpoints
    assert endpoint.subject == operation.subject
    (stats,) = ServiceStats.from_dict(await ask("STATS")).endpoints
    assert (stats.num_requests, stats.num_errors, stats.last_error) == (1, 1, "conflict")
    assert stats.average_processing_time > 0
    await responder.drain()
