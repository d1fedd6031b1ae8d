"""Messages that the WebSocket protocol class hands to the application without ASGI. A raw client sends them."""

import asyncio
import random

import pytest
from starlette.types import Receive, Scope, Send

from svgx_gateway.websocket.transport.frames import read_frame
from svgx_gateway.websocket.transport.inflow import InflowLimits
from svgx_gateway.websocket.transport.protocol import HAND_OVER, WebSocketLimits
from tests.e2e.clients.raw_socket import encode_frame
from tests.unit.gateway.websocket.test_protocol import HANDSHAKE, open_socket, serving

CONTENTS = (b"", b"a", b"b" * 125, b"c" * 126, b"d" * 65_535, b"e" * 65_536)


def frames_of(content: bytes, chance: random.Random) -> bytes:
    """Return a message as one frame, or as two frames with or without a ping between them."""
    if chance.random() < 0.6:
        return encode_frame(0x2, content)
    middle = chance.randint(0, len(content))
    ping = encode_frame(0x9, b"ping") if chance.random() < 0.5 else b""
    return (
        encode_frame(0x2, content[:middle], final=False)
        + ping
        + encode_frame(0x0, content[middle:])
    )


@pytest.mark.parametrize("seed", range(4))
async def test_handed_over_messages_keep_their_content_and_order(seed: int) -> None:
    """The bytes arrive in pieces of any size, and messages that `take` refuses come through ASGI. Proves R-SOCKET-6."""
    chance = random.Random(seed)
    sent = [bytes((number,)) + chance.choice(CONTENTS) for number in range(40)]
    received: list[bytes] = []
    direct = 0
    arrived = asyncio.Event()

    def note(message: bytes) -> None:
        received.append(message)
        arrived.set()

    def take(message: bytes) -> bool:
        nonlocal direct
        if chance.random() < 0.3:
            return False
        direct += 1
        note(message)
        return True

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        scope[HAND_OVER](take)
        while (event := await receive())["type"] == "websocket.receive":
            note(event["bytes"])

    limits = WebSocketLimits(inflow=InflowLimits(frames=100_000, bytes=1e9, burst_bytes=1e9))
    async with serving(app, limits) as connect, asyncio.timeout(30):
        reader, writer = await connect()
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        stream = b""
        for number, content in enumerate(sent, 1):
            stream += frames_of(content, chance)
            is_awaited = chance.random() < 0.3 or number == len(sent)
            while len(stream) > (0 if is_awaited else 1000):
                sizes = (1, 3, 7, 50, 1000) if len(stream) < 5000 else (5000, 100_000)
                size = chance.choice(sizes)
                writer.write(stream[:size])
                stream = stream[size:]
                await asyncio.sleep(0)
            while is_awaited and len(received) < number:
                arrived.clear()
                await arrived.wait()
        writer.close()
    assert received == sent
    assert direct


@pytest.mark.parametrize("first", [b"", b"begin"], ids=["empty", "not empty"])
async def test_message_inside_of_a_fragmented_message_closes_the_connection_with_1002(
    first: bytes,
) -> None:
    """The message within the other one is not handed over. Proves R-SOCKET-6."""
    received: list[bytes] = []

    def take(message: bytes) -> bool:
        received.append(message)
        return True

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        scope[HAND_OVER](take)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with (
        serving(app, WebSocketLimits()) as connect,
        open_socket(connect) as socket,
        asyncio.timeout(30),
    ):
        await socket.send(encode_frame(0x2, first, final=False) + encode_frame(0x9, b"ping"))
        assert await socket.receive() == b"ping", "the pong shows that the fragment is parsed"
        await socket.send(encode_frame(0x2, b"whole"))
        assert await socket.wait_closed() == 1002
    assert received == []


async def test_handed_over_messages_count_towards_the_rate() -> None:
    """The gateway reads more slowly from a client that exceeds the rate of frames. Proves R-LIMIT-10."""
    received: list[bytes] = []
    complete = asyncio.Event()

    def take(message: bytes) -> bool:
        received.append(message)
        if len(received) == 60:
            complete.set()
        return True

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        scope[HAND_OVER](take)
        while (event := await receive())["type"] == "websocket.receive":
            take(event["bytes"])

    limits = WebSocketLimits(inflow=InflowLimits(frames=20))
    loop = asyncio.get_running_loop()
    async with serving(app, limits) as connect, open_socket(connect) as socket, asyncio.timeout(30):
        started = loop.time()
        await socket.send(b"".join(encode_frame(0x2, bytes((each,))) for each in range(60)))
        await complete.wait()
        assert loop.time() - started > 0.8  # 40 frames are read at once, and 20 in the next second
    assert received == [bytes((each,)) for each in range(60)]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        encode_frame(0x2, b"abc")[:-1],
        encode_frame(0x1, b"abc"),
        encode_frame(0x9, b"abc"),
        encode_frame(0x2, b"abc", final=False),
        encode_frame(0x2, b"abc", reserved=0x40),
        encode_frame(0x2, b"abc", masked=False),
        encode_frame(0x2, b"a" * 126, masked=False),
        encode_frame(0x2, b"a" * 1001),
        encode_frame(0x2, b"a" * 65_536),
        b"\x82\xfe\x00\x03" + bytes(4) + b"abc",
    ],
)
def test_frame_of_another_kind_is_left_to_the_parser(frame: bytes) -> None:
    """Only a whole, masked and small frame of a binary message is read directly. Proves R-SOCKET-6.

    A frame with a part of a message, with a reserved bit, or with a longer length field than its payload needs is not
    read directly either.
    """
    assert read_frame(frame, 0, 1000) is None


@pytest.mark.parametrize("size", [0, 1, 125, 126, 1000])
def test_whole_frame_is_read_directly(size: int) -> None:
    """The mask is removed, and the returned position is the end of the frame. Proves R-SOCKET-6."""
    frame = encode_frame(0x2, b"x" * size)
    assert read_frame(b"?" + frame + b"?", 1, 1000) == (b"x" * size, 1 + len(frame))
