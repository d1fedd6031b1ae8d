"""The WebSocket protocol of the gateway, with a raw client."""

import asyncio
import base64
import contextlib
import gc
import json
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.server import ServerState

from svgx_common.http.protocol import LimitedHttp
from svgx_gateway.websocket.transport import inflow as inflow_module
from svgx_gateway.websocket.transport import protocol as protocol_module
from svgx_gateway.websocket.transport.inflow import InflowLimits, LargeMessages
from svgx_gateway.websocket.transport.protocol import INFLOW, WRITE_FRAME, WebSocketLimits, limited
from tests.e2e.clients.raw_socket import RawSocket, encode_frame

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)

FRAME = b"\x82\x7e\xff\xff" + bytes(0xFFFF)
"""An encoded frame with a message of 65,535 bytes."""

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@asynccontextmanager
async def serving(
    app: ASGIApp, limits: WebSocketLimits, *, ping_interval: float = 20, ping_timeout: float = 20
) -> AsyncIterator[Connect]:
    """Serve the application. Yield a function that opens a connection to it."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        ws=limited(limits),
        ws_ping_interval=ping_interval,
        ws_ping_timeout=ping_timeout,
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: LimitedHttp(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        try:
            yield lambda: asyncio.open_connection(*server.sockets[0].getsockname())
        finally:
            for connection in list(state.connections):
                connection.transport.abort()
            # Let the transports close. A task that is still pending would be reported in a later test.
            await asyncio.sleep(0)
            for task in state.tasks:
                task.cancel()
            await asyncio.gather(*state.tasks, return_exceptions=True)


async def test_fragmented_message_uses_memory_for_its_bytes_only() -> None:
    """An unfinished message uses memory for its bytes, not for fragments, and arrives complete. Proves R-LIMIT-12."""
    message: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message.set_result((await receive())["bytes"])

    async with (
        serving(app, WebSocketLimits(inflow=InflowLimits(frames=10_000_000))) as connect,
        asyncio.timeout(120),
    ):
        reader, writer = await connect()
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        tracemalloc.start()
        try:
            writer.write(encode_frame(0x2, b"begin", final=False))
            for _ in range(30):
                writer.write(encode_frame(0x0, b"x", final=False) * 1000)
                await writer.drain()
            writer.write(encode_frame(0x9, b""))
            # The pong shows that every earlier frame is parsed.
            await reader.readexactly(2)
            used_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        writer.write(encode_frame(0x0, b"end"))
        assert await message == b"begin" + b"x" * 30_000 + b"end"
        writer.close()
    assert used_bytes < 300_000


async def test_handshake_in_progress_is_refused_with_503_when_the_gateway_stops() -> None:
    """After a 503, the client tries another gateway. A 500 would look like a fault. Proves R-FAIL-11."""
    protocol_future = asyncio.get_running_loop().create_future()

    async def app(scope: Scope, receive: Receive, _: Send) -> None:
        await receive()
        protocol_future.set_result(scope[WRITE_FRAME].__self__)
        await asyncio.Event().wait()

    async with serving(app, WebSocketLimits()) as connect, asyncio.timeout(10):
        reader, writer = await connect()
        writer.write(HANDSHAKE)
        protocol = await protocol_future
        protocol.shutdown()
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert json.loads(await reader.read())["code"] == "unavailable"
        writer.close()


@pytest.mark.parametrize("refusal", ["response", "close", "error"])
async def test_refusal_by_the_application_after_the_503_of_a_stop_changes_nothing(
    caplog: pytest.LogCaptureFixture, refusal: str
) -> None:
    """A handshake has one response, also when the application decides while the gateway stops. Proves R-FAIL-11."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        await websocket.receive()
        scope[WRITE_FRAME].__self__.shutdown()
        match refusal:
            case "response":
                await websocket.send_denial_response(PlainTextResponse("no", status_code=403))
            case "close":
                await websocket.close()
            case _:
                raise ZeroDivisionError

    async with serving(app, WebSocketLimits()) as connect, asyncio.timeout(10):
        reader, writer = await connect()
        writer.write(HANDSHAKE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert json.loads(await reader.read())["code"] == "unavailable"
        writer.close()
    assert "eof_sent" not in caplog.text
    assert ("ZeroDivisionError" in caplog.text) == (refusal == "error")


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """Switch garbage collection off."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize(
    "close", [encode_frame(0x8, (1000).to_bytes(2)), b""], ids=["close", "abort"]
)
async def test_closed_connection_is_freed_without_garbage_collection(close: bytes) -> None:
    """The objects of a closed connection and of its handshake form no reference cycles. Proves R-FAIL-27."""
    both_freed = asyncio.Event()
    watched: list[weakref.ref[object]] = []

    def note_freed(_: object) -> None:
        if all(each() is None for each in watched):
            both_freed.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        protocol = scope[WRITE_FRAME].__self__
        watched.extend(weakref.ref(each, note_freed) for each in (protocol, protocol.conn))
        del protocol
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    handshakes = sum(issubclass(type(each), LimitedHttp) for each in gc.get_objects())
    async with serving(app, WebSocketLimits()) as connect, asyncio.timeout(10):
        reader, writer = await connect()
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        assert sum(issubclass(type(each), LimitedHttp) for each in gc.get_objects()) == handshakes
        writer.write(encode_frame(0x2, b"message") + close)
        if close:
            await reader.read()
        writer.close()
        await both_freed.wait()


async def test_open_connection_keeps_the_headers_of_its_handshake_once() -> None:
    """The headers are in the scope of the application, and not in the parser too. Proves R-SOCKET-7."""
    kept: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        protocol = scope[WRITE_FRAME].__self__
        request = protocol.request
        await send({"type": "websocket.accept"})
        kept.set_result((len(request.headers), len(scope["headers"])))

    async with serving(app, WebSocketLimits()) as connect, asyncio.timeout(10):
        _, writer = await connect()
        writer.write(HANDSHAKE)
        assert await kept == (0, 5)
        writer.close()


async def test_frame_is_written_only_to_an_open_connection_that_reads() -> None:
    """A frame before the accept or after the close would break the protocol. Frames must not pile up for a slow client.

    Proves R-SYNC-10.
    """
    outcomes: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
    buffers_full = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        write_frame = scope[WRITE_FRAME]
        results = [write_frame(b"early")]
        await receive()
        await send({"type": "websocket.accept"})
        results.append(write_frame(b"\x82\x02ok"))
        # The client does not read. When the buffers are full, no frame is taken any more.
        while write_frame(FRAME):
            pass
        buffers_full.set()
        await send({"type": "websocket.send", "bytes": b"end"})
        results.append(write_frame(b"\x82\x02ok"))
        await send({"type": "websocket.close", "code": 1000})
        results.append(write_frame(b"late"))
        outcomes.set_result(results)

    async with serving(app, WebSocketLimits()) as connect, asyncio.timeout(30):
        reader, writer = await connect()
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        await buffers_full.wait()
        socket = RawSocket(reader, writer)
        closed = asyncio.create_task(socket.wait_closed())
        assert await outcomes == [False, True, True, False]
        assert await closed == 1000
        writer.close()


async def test_frames_before_the_accept_are_parsed_after_it() -> None:
    """Frames that arrive before the handshake is answered are parsed only after the answer. Proves R-LIMIT-12."""
    connecting, accept = asyncio.Semaphore(0), asyncio.Event()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        connecting.release()
        await accept.wait()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with (
        serving(app, WebSocketLimits(inflow=InflowLimits(frames=10))) as connect,
        asyncio.timeout(30),
    ):
        reader, writer = await connect()
        writer.write(HANDSHAKE)
        await connecting.acquire()
        writer.write(encode_frame(0x3, b"no such frame"))
        # Once a later connection is handled, the gateway has had the time to read this frame.
        _, other = await connect()
        other.write(HANDSHAKE)
        await connecting.acquire()
        accept.set()
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        assert await RawSocket(reader, writer).wait_closed() == 1002
        writer.close()
        other.close()


async def test_invalid_text_with_a_close_ends_the_connection() -> None:
    """An invalid text and a close frame in one read end the connection without an error. Proves R-SYNC-8."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async with serving(app, WebSocketLimits()) as connect, asyncio.timeout(30):
        reader, writer = await connect()
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(encode_frame(0x1, b"\xff") + encode_frame(0x8, (1000).to_bytes(2)))
        await reader.read()
        writer.close()
    assert errors == []


async def echo(_: Scope, receive: Receive, send: Send) -> None:
    """Accept the connection, and send each message back."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": event["bytes"]})


@asynccontextmanager
async def open_socket(connect: Connect) -> AsyncIterator[RawSocket]:
    """Open a connection and complete its handshake."""
    reader, writer = await connect()
    try:
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        yield RawSocket(reader, writer)
    finally:
        writer.close()


FRAMES_BY_KIND = {
    "pings": [encode_frame(0x9, b"")],
    "messages": [encode_frame(0x2, b"edit")],
    "fragments": [encode_frame(0x2, b"e", final=False), encode_frame(0x0, b"dit")],
}


@pytest.mark.parametrize("frames", FRAMES_BY_KIND.values(), ids=FRAMES_BY_KIND)
async def test_frames_beyond_the_rate_are_read_later_and_none_is_lost(frames: list[bytes]) -> None:
    """Beyond the rate, the connection is read slowly, in order, and stays open. Proves R-LIMIT-10 and R-LIMIT-12."""
    slowed: list[float] = []
    limits = WebSocketLimits(inflow=InflowLimits(frames=100), on_slowed=slowed.append)
    count = 250 // len(frames)
    loop = asyncio.get_running_loop()
    async with (
        serving(echo, limits) as connect,
        open_socket(connect) as socket,
        asyncio.timeout(30),
    ):
        started = loop.time()
        await socket.send(b"".join(frames) * count)
        for _ in range(count):
            await socket.receive()
        # 200 frames, which the rate allows in two seconds, are read without a pause. 50 frames take half a second.
        assert loop.time() - started > 0.4
        assert 0 < sum(slowed) < 1
        await socket.send(encode_frame(0x8, (1000).to_bytes(2)))
        assert await socket.wait_closed() == 1000


async def test_bytes_beyond_the_rate_are_read_later_and_none_is_lost() -> None:
    """A large message is read once the rate has allowed all bytes of the messages before it. Proves R-LIMIT-10."""
    limits = WebSocketLimits(inflow=InflowLimits(bytes=1_000_000, burst_bytes=1_000_000))
    payload = bytes(500_000)
    loop = asyncio.get_running_loop()
    async with (
        serving(echo, limits) as connect,
        open_socket(connect) as socket,
        asyncio.timeout(30),
    ):
        started = loop.time()
        sending = asyncio.create_task(socket.send(encode_frame(0x2, payload) * 4))
        for _ in range(4):
            assert await socket.receive() == payload
        await sending
        assert loop.time() - started > 0.4


async def test_flood_that_does_not_slow_down_is_closed_with_1013() -> None:
    """The connection is closed after `flood_seconds` over the rate, and the client may reconnect. Proves R-LIMIT-10."""
    refused: list[bool] = []
    limits = WebSocketLimits(
        inflow=InflowLimits(frames=50, flood_seconds=0.5), on_refused=lambda: refused.append(True)
    )
    loop = asyncio.get_running_loop()
    async with (
        serving(echo, limits) as connect,
        open_socket(connect) as socket,
        asyncio.timeout(30),
    ):
        started = loop.time()
        sending = asyncio.create_task(socket.send(encode_frame(0x9, b"") * 100_000))
        assert await socket.wait_closed() == 1013
        assert socket.close_reason == "more than 50 frames a second for 0.5 s"
        # The gateway answers a burst of 100 pings, and 50 pings a second until the close after half a second.
        assert socket.received_frames[0xA] <= 102 + 50 * (loop.time() - started)
        with contextlib.suppress(ConnectionError):
            await sending
        assert refused == [True]


@pytest.mark.parametrize(
    "content",
    [encode_frame(0x2, bytes(2000)), encode_frame(0x2, bytes(600), final=False) * 2],
    ids=["message", "fragments"],
)
async def test_message_over_the_limit_closes_the_connection_with_4413_and_the_limit(
    content: bytes,
) -> None:
    """The client does not send the same message again, because the code is final. Proves R-SOCKET-2."""
    async with (
        serving(echo, WebSocketLimits(max_bytes=1000)) as connect,
        open_socket(connect) as socket,
        asyncio.timeout(30),
    ):
        await socket.send(content)
        assert await socket.wait_closed() == 4413
        assert socket.close_reason == "a message has at most 1000 bytes"


async def test_large_message_waits_for_memory_and_arrives() -> None:
    """A large message waits until the application has handled another one. Proves R-SOCKET-3."""
    received, may_continue = asyncio.Semaphore(0), asyncio.Semaphore(0)
    memory = LargeMessages(1000, threshold=100)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[INFLOW].account = str(id(scope))
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            received.release()
            await may_continue.acquire()

    async with (
        serving(app, WebSocketLimits(large_messages=memory)) as connect,
        open_socket(connect) as first,
        open_socket(connect) as second,
        asyncio.timeout(30),
    ):
        await first.send(encode_frame(0x2, bytes(800)))
        await received.acquire()
        await second.send(encode_frame(0x2, bytes(900)))
        await second.send(encode_frame(0x9, b""))
        await first.send(encode_frame(0x2, bytes(700)))
        assert memory.used == 800
        may_continue.release()
        # One of the two waiting messages is next, and the other one after it.
        await received.acquire()
        assert memory.used in (700, 900)
        may_continue.release()
        await received.acquire()
        may_continue.release()
        await second.wait_for(0xA)
        for socket in (first, second):
            await socket.send(encode_frame(0x8, (1000).to_bytes(2)))
            assert await socket.wait_closed() == 1000
    assert memory.used == 0


async def test_small_and_large_messages_alternate() -> None:
    """A small message that arrives with a part of a large one does not stop the connection. Proves R-SOCKET-3."""
    memory = LargeMessages(100_000, threshold=100)
    large = encode_frame(0x2, bytes(80_000))
    async with (
        serving(echo, WebSocketLimits(large_messages=memory)) as connect,
        open_socket(connect) as socket,
        asyncio.timeout(30),
    ):
        for _ in range(2):
            await socket.send(encode_frame(0x2, b"small") + large[:40_000])
            assert await socket.receive() == b"small"
            # Memory is reserved for the arrived bytes, and for the next step of 100 bytes.
            assert 0 < memory.used <= 40_100
            # The end of one large message, and the beginning of the next one.
            await socket.send(large[40_000:] + large[:40_000])
            assert len(await socket.receive()) == 80_000
            await socket.send(large[40_000:] + encode_frame(0x2, b"small"))
            assert len(await socket.receive()) == 80_000
            assert await socket.receive() == b"small"
    assert memory.used == 0


async def test_large_message_that_stops_arriving_closes_the_connection_with_1013(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gateway closes the connection although no further byte arrives.

    A waiting message gets the memory of the closed connection. Proves R-SOCKET-3.
    """
    monkeypatch.setattr(protocol_module, "MEASURE_SECONDS", 0.02)
    monkeypatch.setattr(inflow_module, "SLOW_SECONDS", 0.1)
    memory = LargeMessages(100_000, threshold=100)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[INFLOW].account = str(id(scope))
        await echo(scope, receive, send)

    async with (
        serving(app, WebSocketLimits(large_messages=memory)) as connect,
        open_socket(connect) as stopped,
        open_socket(connect) as other,
        asyncio.timeout(30),
    ):
        await stopped.send(encode_frame(0x2, bytes(90_000))[:80_000])
        await stopped.send(b"")
        sending = asyncio.create_task(other.send(encode_frame(0x2, bytes(70_000))))
        assert await stopped.wait_closed() == 1013
        assert len(await other.receive()) == 70_000
        await sending
    assert memory.used == 0


@pytest.mark.parametrize("sends", [True, False], ids=["held", "silent"])
async def test_only_a_silent_client_fails_the_keepalive(sends: bool) -> None:
    """A client counts as alive while its pong waits behind its own frames. The connection of a silent client is closed.

    Proves R-SOCKET-4.
    """
    limits = WebSocketLimits(inflow=InflowLimits(frames=50))
    async with (
        serving(echo, limits, ping_interval=0.1, ping_timeout=0.2) as connect,
        open_socket(connect) as socket,
        asyncio.timeout(30),
    ):
        if sends:
            # The gateway needs a second to read these frames. Answers to its pings would be read after them.
            await socket.send(encode_frame(0x2, b"edit") * 150)
            for _ in range(150):
                await socket.receive()
        else:
            assert await socket.wait_closed() == 1011
