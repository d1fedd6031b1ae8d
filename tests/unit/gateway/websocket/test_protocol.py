"""WebSockets as the services read them."""

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
    """Connections to the application."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws=limited(limits))
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: LimitedHttp(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        yield lambda: asyncio.open_connection(*server.sockets[0].getsockname())


async def test_many_parts_cost_what_is_in_them() -> None:
    """Proves R-LIMIT-12: the message comes whole, and what waits for its end is no more than its bytes."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        heard.set_result((await receive())["bytes"])

    async with serving(app, WebSocketLimits(frames=10_000_000)) as connect, asyncio.timeout(30):
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
            await reader.readexactly(2)  # the answer to the ping: all before it is parsed
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        writer.write(encode_frame(0x0, b"end"))
        assert await heard == b"begin" + b"x" * 100_000 + b"end"
        writer.close()
    assert kept < 1_000_000


async def test_who_speaks_before_the_answer_waits_for_it() -> None:
    """Proves R-LIMIT-12: nothing is parsed until then; then it counts."""
    asked, answer = asyncio.Semaphore(0), asyncio.Event()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        asked.release()
        await answer.wait()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with serving(app, WebSocketLimits(frames=10)) as connect, asyncio.timeout(30):
        reader, writer = await connect()
        writer.write(HANDSHAKE)
        await asked.acquire()
        writer.write(encode_frame(0x3, b"no such frame"))
        # By the time another one is heard, this one would have been.
        _, other = await connect()
        other.write(HANDSHAKE)
        await asked.acquire()
        answer.set()
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        assert await RawSocket(reader, writer).wait_closed() == 1002
        writer.close()
        other.close()


async def test_a_bad_text_and_a_close_at_once() -> None:
    """Proves R-SYNC-8: the connection ends, and nobody has failed."""
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))

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
    assert failed == []
