"""A WebSocket client that sends arbitrary bytes (RFC 6455)."""

import asyncio
import base64
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


def encode_frame(
    opcode: int,
    payload: bytes,
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """Return the bytes of a frame. `length` replaces the payload's length in the header, to announce a wrong length."""
    announced = len(payload) if length is None else length
    first = (0x80 if final else 0) | reserved | opcode
    mask = 0x80 if masked else 0
    if announced < 126:
        head = bytes([first, mask | announced])
    elif announced < 2**16:
        head = bytes([first, mask | 126]) + announced.to_bytes(2)
    else:
        head = bytes([first, mask | 127]) + announced.to_bytes(8)
    if not masked:
        return head + payload
    key = b"\x12\x34\x56\x78"
    return head + key + bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


class RawSocket:
    """A connection after its WebSocket handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received_frames: Counter[int] = Counter()
        """Number of received frames by opcode."""
        self.close_reason = ""
        """The reason in the close frame."""

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str) -> AsyncIterator["RawSocket"]:
        """Open a connection and complete the handshake."""
        reader, writer = await _open_connection(url)
        try:
            assert await _shake_hands(reader, writer, url, {}) == 101
            yield cls(reader, writer)
        finally:
            writer.close()

    @classmethod
    async def handshake_status(
        cls, url: str, changed: Mapping[str, str], *, until_closed: bool = False
    ) -> int:
        """Send a handshake with added or changed headers, and return the status of the response.

        With `until_closed`, also wait until the server has closed the connection.
        """
        reader, writer = await _open_connection(url)
        try:
            async with asyncio.timeout(10):
                status = await _shake_hands(reader, writer, url, changed)
                if until_closed:
                    await reader.read()
            return status
        finally:
            writer.close()

    async def send(self, content: bytes) -> None:
        """Send bytes without framing them."""
        self._writer.write(content)
        await self._writer.drain()

    async def wait_closed(self) -> int:
        """Wait for the close frame and return its code, or 1005 if the frame has no code.

        Return 1006 if the connection ends without a close frame.
        """
        try:
            async with asyncio.timeout(30):
                while True:
                    opcode, payload = await self._read_frame()
                    self.received_frames[opcode] += 1
                    if opcode == 0x8:
                        self.close_reason = payload[2:].decode()
                        return int.from_bytes(payload[:2]) if payload else 1005
        except (asyncio.IncompleteReadError, ConnectionError):
            return 1006

    async def receive(self) -> bytes:
        """Return the payload of the next binary message or pong."""
        return await self.wait_for(0x2, 0xA)

    async def wait_for(self, *opcodes: int) -> bytes:
        """Wait for a frame with one of these opcodes, and return its payload."""
        while True:
            opcode, payload = await self._read_frame()
            self.received_frames[opcode] += 1
            if opcode in opcodes:
                return payload

    async def _read_frame(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8))
        return first & 0xF, await self._reader.readexactly(length)


async def _open_connection(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def _shake_hands(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str, changed: Mapping[str, str]
) -> int:
    """Send the handshake request, and return the status of the response."""
    parts = urlsplit(url)
    headers = {
        "Host": parts.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        **changed,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {parts.path}?{parts.query} HTTP/1.1\r\n{lines}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1])
