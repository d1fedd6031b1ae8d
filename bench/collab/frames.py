"""WebSocket frames and Yjs messages as bytes, for our server and for Hocuspocus."""

import json
from dataclasses import dataclass

from svgx_yjs import protocol
from svgx_yjs.lib0 import Encoder, encode_text
from svgx_yjs.structure import EMPTY_STATE_VECTOR

BINARY, CLOSE, PING, PONG = 0x82, 0x88, 0x89, 0x8A
"""The first byte of an unfragmented frame, by its kind."""

_HOCUSPOCUS_AUTH, _HOCUSPOCUS_TOKEN = 2, 0


@dataclass(frozen=True, slots=True)
class Target:
    """The address of one canvas for one client.

    `prefix` precedes each message in both directions: Hocuspocus writes the document's name there. `hello`: the
    messages that a client sends first, before it asks for the document.
    """

    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    prefix: bytes = b""
    hello: tuple[bytes, ...] = ()

    def handshake(self) -> bytes:
        """Return the request that opens the WebSocket."""
        headers = {
            "Host": f"127.0.0.1:{self.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            **dict(self.headers),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"GET {self.path} HTTP/1.1\r\n{lines}\r\n".encode()

    def frame(self, message: bytes) -> bytes:
        """Return a frame that contains a message for this canvas."""
        return frame(self.prefix + message)

    def opening_frames(self) -> bytes:
        """Return the frames that a client sends after the handshake: the last one asks for the whole document."""
        ask = Encoder().uint(protocol.SYNC).uint(protocol.STEP_1).buffer(EMPTY_STATE_VECTOR)
        return b"".join(self.frame(message) for message in (*self.hello, ask.finish()))


def hocuspocus_target(port: int, document: str) -> Target:
    """Return the address of a document of a Hocuspocus server. Any token is accepted."""
    token = Encoder().uint(_HOCUSPOCUS_AUTH).uint(_HOCUSPOCUS_TOKEN).text("token").finish()
    return Target(port, "/", prefix=encode_text(document), hello=(token,))


def frame(payload: bytes, first: int = BINARY) -> bytes:
    """Return a client's frame with `first` as its first byte. The mask is zero, so that the payload stays unchanged."""
    length = len(payload)
    if length < 126:
        header = bytes((first, 0x80 | length))
    elif length < 0x10000:
        header = bytes((first, 0x80 | 126)) + length.to_bytes(2)
    else:
        header = bytes((first, 0x80 | 127)) + length.to_bytes(8)
    return header + b"\0\0\0\0" + payload


def cursor(client: int, clock: int) -> bytes:
    """Return an awareness message with a cursor. The clock determines the position of the cursor."""
    state = {"name": f"user {client}", "cursor": {"x": clock % 997, "y": clock % 991}}
    update = Encoder().uint(1).uint(client).uint(clock).text(json.dumps(state)).finish()
    return protocol.encode_awareness(update)
