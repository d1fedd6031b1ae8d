"""A responder: its limits, deadlines, errors, traces and discovery."""

import asyncio
import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats
from opentelemetry import trace
from prometheus_client import REGISTRY

from svgx_common.contract.errors import (
    Conflict,
    DeadlineExceeded,
    Internal,
    Invalid,
    Overloaded,
    Unavailable,
)
from svgx_common.contract.operation import Blob
from svgx_common.contract.policy import Pool, RateClass, Role, Scope
from svgx_common.messaging import responder as responder_module
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller, Client
from svgx_common.messaging.headers import HEADER_DEADLINE, HEADER_PARAMS
from svgx_common.messaging.responder import Call
from tests.integration.common.example_operations import (
    UPLOAD,
    EchoReply,
    EchoRequest,
    PartialResponder,
    UploadRequest,
    echo_operation,
)


async def test_handler_gets_the_caller_and_the_client(gateway_bus: Bus, state_bus: Bus) -> None:
    """Proves R-BUS-1: caller and client come from the headers. Without headers, they are None and an empty client."""
    caller = Caller("id", "Änne", Role.EDITOR, "session", 3)
    client = Client("2001:db8::1", "Ünusual\r\nSvgx-Caller: {}")
    calls: list[Call] = []

    async def answer(request: EchoRequest, call: Call) -> EchoReply:
        calls.append(call)
        return EchoReply(text=request.text[::-1])

    responder = PartialResponder(state_bus, "0")
    operation = echo_operation()
    responder.answer(operation, answer)
    await responder.start()
    reply = await gateway_bus.ask(operation, EchoRequest(text="abc"), caller=caller, client=client)
    assert reply.text == "cba"
    assert (calls[0].caller, calls[0].client) == (caller, client)
    await gateway_bus.ask(operation, EchoRequest(text="abc"))
    assert (calls[1].caller, calls[1].client) == (None, Client())
    await responder.drain()


async def test_request_with_unused_new_fields_is_answered_by_an_earlier_version(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-19: a replica that does not know a field answers requests with the field's default value."""

    class NewEchoRequest(EchoRequest):
        user_id: str | None = None

    class NewUploadRequest(UploadRequest):
        user_id: str | None = None

    async def echo(request: EchoRequest, _: Call) -> EchoReply:
        return EchoReply(text=request.text)

    async def upload(request: UploadRequest, _: Call) -> Blob:
        return Blob(request.content, request.name)

    responder = PartialResponder(state_bus, "0")
    operation = echo_operation()
    responder.answer(operation, echo)
    responder.answer(UPLOAD, upload)
    await responder.start()
    new_operation = replace(operation, request=NewEchoRequest)
    assert (await gateway_bus.ask(new_operation, NewEchoRequest(text="abc"))).text == "abc"
    with pytest.raises(Invalid):
        await gateway_bus.ask(new_operation, NewEchoRequest(user_id="a"))
    new_upload = replace(UPLOAD, request=NewUploadRequest)
    reply = await gateway_bus.ask(new_upload, NewUploadRequest(name="text/plain", content=b"x"))
    assert (reply.content, reply.media_type) == (b"x", "text/plain")
    await responder.drain()


async def test_requests_over_concurrency_and_backlog_are_refused(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-2 and R-OBS-12: four requests run and four wait. The other four are refused at once, and counted."""
    running = most_running = 0
    release = asyncio.Event()

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        nonlocal running, most_running
        running += 1
        most_running = max(most_running, running)
        await release.wait()
        running -= 1
        return EchoReply(text="")

    responder = PartialResponder(state_bus, "0", concurrency=4, backlog=4)
    operation = echo_operation("crowded")
    responder.answer(operation, answer)
    await responder.start()
    asked = [asyncio.create_task(gateway_bus.ask(operation, EchoRequest())) for _ in range(12)]
    done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
    while len(done) < 4:
        more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert all(isinstance(task.exception(), Overloaded) for task in done)
    assert (most_running, running) == (4, 4)
    release.set()
    answers = await asyncio.gather(*waiting)
    assert (len(answers), most_running) == (8, 4)
    await responder.drain()
    labels = {"component": "state", "operation": operation.name, "code": Overloaded.code}
    assert REGISTRY.get_sample_value("svgx_engine_requests_total", labels) == 4


async def test_duration_of_a_request_contains_the_wait_for_a_slot(
    gateway_bus: Bus, state_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves R-OBS-12: two requests last 5 s each, although one of them only waits for its slot."""
    nanoseconds = 0
    clock = SimpleNamespace(time=time.time, perf_counter_ns=lambda: nanoseconds)
    monkeypatch.setattr(responder_module, "time", clock)
    release = asyncio.Event()

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        await release.wait()
        return EchoReply(text="")

    responder = PartialResponder(state_bus, "0", concurrency=1, backlog=1)
    operation = echo_operation("queued")
    responder.answer(operation, answer)
    await responder.start()
    asked = [asyncio.create_task(gateway_bus.ask(operation, EchoRequest())) for _ in range(3)]
    with pytest.raises(Overloaded):  # the slot and the place in the queue are taken
        await next(asyncio.as_completed(asked))
    nanoseconds = 5 * 10**9
    release.set()
    await asyncio.gather(*asked, return_exceptions=True)
    await responder.drain()
    labels = {"component": "state", "operation": operation.name}
    assert REGISTRY.get_sample_value("svgx_engine_request_duration_seconds_count", labels) == 2
    assert REGISTRY.get_sample_value("svgx_engine_request_duration_seconds_sum", labels) == 10


async def test_full_pool_leaves_the_other_pools_free(gateway_bus: Bus, state_bus: Bus) -> None:
    """Proves R-BUS-2: while the slots and the queue of one pool are full, the other pools answer."""
    release = asyncio.Event()

    async def wait(_: EchoRequest, __: Call) -> EchoReply:
        await release.wait()
        return EchoReply(text="")

    async def answer(request: EchoRequest, _: Call) -> EchoReply:
        return EchoReply(text=request.text)

    responder = PartialResponder(state_bus, "0", concurrency=2, backlog=2)
    slow = replace(echo_operation("slow"), password=True)
    quick = [
        replace(echo_operation("quick"), scope=Scope.SIGNED_IN),
        replace(echo_operation("internal"), scope=Scope.INTERNAL),
        replace(echo_operation("heavy"), rate=RateClass.HEAVY),
        replace(echo_operation("outside"), outside=True),
        replace(echo_operation("heavy_waiting"), outside=True, writes_content=True),
        replace(echo_operation("asking"), asks="auth"),
    ]
    assert len({operation.pool for operation in (slow, *quick)}) == len(Pool)
    responder.answer(slow, wait)
    for operation in quick:
        responder.answer(operation, answer)
    await responder.start()
    asked = [asyncio.create_task(gateway_bus.ask(slow, EchoRequest())) for _ in range(5)]
    with pytest.raises(Overloaded):
        await next(asyncio.as_completed(asked))
    for operation in quick:
        assert (await gateway_bus.ask(operation, EchoRequest(text="x"))).text == "x"
    release.set()
    await asyncio.gather(*asked, return_exceptions=True)
    await responder.drain()


async def test_expired_request_is_not_started(gateway_bus: Bus, state_bus: Bus) -> None:
    """Proves R-BUS-3: the handler is not called."""
    started = False

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        nonlocal started
        started = True
        return EchoReply(text="")

    responder = PartialResponder(state_bus, "0")
    operation = echo_operation()
    responder.answer(operation, answer)
    await responder.start()
    past = {HEADER_DEADLINE: str(int(time.time() * 1000) - 1)}
    with pytest.raises(DeadlineExceeded):
        await gateway_bus.request(operation.subject, b"{}", past, timeout=5)
    assert not started
    await responder.drain()


async def test_handler_past_its_deadline_is_cancelled(gateway_bus: Bus, state_bus: Bus) -> None:
    """Proves R-BUS-3: the caller gets `DeadlineExceeded`."""
    cancelled = asyncio.Event()

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return EchoReply(text="")

    responder = PartialResponder(state_bus, "0")
    operation = echo_operation(timeout=0.2)
    responder.answer(operation, answer)
    await responder.start()
    async with asyncio.timeout(30):
        while not cancelled.is_set():  # the handler is not called for a request that arrives late
            with pytest.raises(DeadlineExceeded):
                await gateway_bus.ask(operation, EchoRequest())
    await responder.drain()


async def test_error_reaches_the_caller_with_its_fields(gateway_bus: Bus, state_bus: Bus) -> None:
    """Proves R-BUS-4: the caller gets the code, detail, field, limit and `retry_after`."""

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        raise Conflict("the name is taken", field="name", limit=7, retry_after=1.5)

    responder = PartialResponder(state_bus, "0")
    operation = echo_operation()
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(Conflict) as caught:
        await gateway_bus.ask(operation, EchoRequest())
    error = caught.value
    assert (error.detail, error.field, error.limit, error.retry_after) == (
        "the name is taken",
        "name",
        7,
        1.5,
    )
    await responder.drain()


async def test_exception_text_is_not_sent_to_the_caller(gateway_bus: Bus, state_bus: Bus) -> None:
    """Proves R-BUS-4: an error has neither the text of a handler's exception nor the input that failed validation."""

    async def answer(request: EchoRequest, __: Call) -> EchoReply:
        raise RuntimeError(f"secret {request.text}")

    responder = PartialResponder(state_bus, "0")
    operation = echo_operation()
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(Internal) as caught:
        await gateway_bus.ask(operation, EchoRequest(text="text"))
    assert "secret" not in caught.value.body().model_dump_json()
    message = await gateway_bus.connection.request(
        operation.subject, b'{"text": 7, "more": "secret"}', timeout=5
    )
    assert b"secret" not in message.data
    with pytest.raises(Invalid) as invalid:
        await gateway_bus.request(operation.subject, b'{"text": 7}', timeout=5)
    assert invalid.value.field == "text"
    await responder.drain()


async def test_timeout_error_inside_a_handler_becomes_internal(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-4: a handler's `TimeoutError` is a defect of the service, not the caller's deadline."""

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        raise TimeoutError

    responder = PartialResponder(state_bus, "0")
    operation = echo_operation()
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(Internal):
        await gateway_bus.ask(operation, EchoRequest())
    await responder.drain()


async def test_handler_with_a_cancelled_wait_answers_unavailable_at_once(
    gateway_bus: Bus, state_bus: Bus
) -> None:
    """Proves R-BUS-4: the caller does not wait for its timeout."""

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        raise asyncio.CancelledError

    responder = PartialResponder(state_bus, "0")
    operation = echo_operation()
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(Unavailable):
        await gateway_bus.ask(operation, EchoRequest(), timeout=3600)
    await responder.drain()


@pytest.mark.parametrize(
    ("params", "field"), [("{", "body"), ('{"name": 7}', "name"), ('{"other": ""}', "other")]
)
async def test_invalid_parameters_of_a_raw_request_are_refused(
    gateway_bus: Bus, state_bus: Bus, params: str, field: str
) -> None:
    """Proves R-BUS-4: the parameters are JSON in a header and are validated."""

    async def answer(_: UploadRequest, __: Call) -> Blob:
        raise AssertionError

    responder = PartialResponder(state_bus, "0")
    responder.answer(UPLOAD, answer)
    await responder.start()
    with pytest.raises(Invalid) as refused:
        await gateway_bus.request(UPLOAD.subject, b"content", {HEADER_PARAMS: params}, timeout=5)
    assert refused.value.field == field
    await responder.drain()


@pytest.mark.parametrize("name", ["Zoë 😀", " lines\r\nSvgx-Error: internal ", '"\\', "\x00"])
async def test_parameters_of_a_raw_request_may_be_any_text(
    gateway_bus: Bus, state_bus: Bus, name: str
) -> None:
    """Proves R-BUS-12: line breaks and NUL in a parameter cannot add a header."""

    async def answer(request: UploadRequest, _: Call) -> Blob:
        return Blob(request.name.encode() + request.content)

    responder = PartialResponder(state_bus, "0")
    responder.answer(UPLOAD, answer)
    await responder.start()
    reply = await gateway_bus.ask(UPLOAD, UploadRequest(name=name, content=b"content"))
    assert reply.content == name.encode() + b"content"
    await responder.drain()


async def test_handler_runs_in_the_trace_of_the_caller(gateway_bus: Bus, state_bus: Bus) -> None:
    """Proves R-OBS-4: the trace id is sent in the headers."""
    seen: list[int] = []

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        seen.append(trace.get_current_span().get_span_context().trace_id)
        return EchoReply(text="")

    responder = PartialResponder(state_bus, "0")
    operation = echo_operation()
    responder.answer(operation, answer)
    await responder.start()
    context = trace.SpanContext(7, 9, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        await gateway_bus.ask(operation, EchoRequest())
    assert seen == [7]
    await responder.drain()


@pytest.mark.parametrize("suffix", ["", ".svgx-state", ".svgx-state.one"])
async def test_discovery_requests_are_answered(
    gateway_bus: Bus, state_bus: Bus, suffix: str
) -> None:
    """Proves R-BUS-7: a service answers PING, INFO and STATS sent to all services, to its name or to one replica."""

    async def answer(_: EchoRequest, __: Call) -> EchoReply:
        raise Conflict

    responder = PartialResponder(state_bus, "1.2.3")
    operation = echo_operation()
    responder.answer(operation, answer)
    await responder.start()
    with pytest.raises(Conflict):
        await gateway_bus.ask(operation, EchoRequest())

    async def discover(verb: str) -> dict[str, object]:
        message = await gateway_bus.connection.request(f"$SRV.{verb}{suffix}", timeout=5)
        content: dict[str, object] = json.loads(message.data)
        assert content["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
        return content

    ping = ServicePing.from_dict(await discover("PING"))
    assert (ping.name, ping.id, ping.version) == ("svgx-state", "one", "1.2.3")
    (endpoint,) = ServiceInfo.from_dict(await discover("INFO")).endpoints
    assert endpoint.subject == operation.subject
    (stats,) = ServiceStats.from_dict(await discover("STATS")).endpoints
    assert (stats.num_requests, stats.num_errors, stats.last_error) == (1, 1, "conflict")
    assert stats.average_processing_time > 0
    await responder.drain()
