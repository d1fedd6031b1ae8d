"""The WebSocket protocol of the gateway, with a raw client."""

import asyncio
import base64
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from svgx_common.http.protocol import LimitedHttp
from svgx_gateway.websocket.protocol import WebSocketLimits, limited
from tests.e2e.clients.raw_socket import RawSocket, encode_frame

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@asynccontextmanager
async def serving(app: ASGIApp, limits: WebSocketLimits) -> AsyncIterator[Connect]:
    """Serve the application. Yield a function that opens a connection to it."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws=limited(limits))
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
            # Let the transports close.
            await asyncio.sleep(0)


async def test_fragmented_message_uses_memory_for_its_bytes_only() -> None:
    """An unfinished message uses memory for its bytes, not for fragments, and arrives complete. Proves R-LIMIT-12."""
    message: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message.set_result((await receive())["bytes"])

    async with serving(app, WebSocketLimits(frames=10_000_000)) as connect, asyncio.timeout(120):
        reader, writer = await connect()
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        tracemalloc.start()
        try:
            writer.write(encode_frame(0x2, b"begin", final=False))
            for _ in range(100):
                writer.write(encode_frame(0x0, b"x", final=False) * 1000)
                await writer.drain()
            writer.write(encode_frame(0x9, b""))
            # The pong shows that every earlier frame is parsed.
            await reader.readexactly(2)
            used_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        writer.write(encode_frame(0x0, b"end"))
        assert await message == b"begin" + b"x" * 100_000 + b"end"
        writer.close()
    assert used_bytes < 1_000_000


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

    async with serving(app, WebSocketLimits(frames=10)) as connect, asyncio.timeout(30):
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
