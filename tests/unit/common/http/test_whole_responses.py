"""Responses that are sent in one write, compared with those of uvicorn itself."""

import asyncio
import functools
from collections.abc import Iterable

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from svgx_common.http.protocol import LimitedHttp
from svgx_common.http.whole_responses import MAX_COPIED_BYTES

Headers = list[tuple[bytes, bytes]]

TYPE = (b"content-type", b"application/json")
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
SERVER = ("127.0.0.1", 1)


class RecordingTransport(asyncio.Transport):
    """A transport that records the written bytes."""

    def __init__(self) -> None:
        super().__init__({"sockname": SERVER, "peername": SERVER})
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.writes.append(b"".join(bytes(each) for each in list_of_data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def resume_reading(self) -> None:
        """Do nothing, because the whole request has arrived at once."""


async def answer(messages: list[Message], _: Scope, __: Receive, send: Send) -> None:
    """Send the messages of a response, as an ASGI application."""
    for message in messages:
        await send(message)


def response(status: int, headers: Headers, *parts: bytes) -> list[Message]:
    """Return the messages of a response with a body in parts."""
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    bodies = [
        {"type": "http.response.body", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]
    return [start, *bodies]


def sized(body: bytes, *headers: tuple[bytes, bytes]) -> list[Message]:
    """Return the messages of a response with a `Content-Length`, as Starlette sends it."""
    length = (b"content-length", b"%d" % len(body))
    return response(200, [length, TYPE, *headers], body)


async def exchange(
    protocol_class: type[HttpToolsProtocol], messages: list[Message], request: bytes
) -> RecordingTransport:
    """Return the transport after one request."""
    config = uvicorn.Config(
        functools.partial(answer, messages),
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    transport = RecordingTransport()
    protocol = protocol_class(config, state, {})
    protocol.connection_made(transport)
    protocol.data_received(request)
    await asyncio.gather(*state.tasks)
    protocol.connection_lost(ConnectionError())
    return transport


@pytest.mark.parametrize(
    ("messages", "request_bytes", "writes"),
    [
        (sized(b"{}"), REQUEST, 1),
        (sized(b""), REQUEST, 1),
        (sized(b"x" * (MAX_COPIED_BYTES + 1)), REQUEST, 1),
        (response(204, [], b""), REQUEST, 1),
        (sized(b"{}"), b"GET / HTTP/1.0\r\n\r\n", 1),
        (sized(b"{}"), b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n", 1),
        # These responses are left to uvicorn itself, so the number of writes is not checked.
        (sized(b"{}"), b"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n", None),
        (response(200, [TYPE], b"{}"), REQUEST, None),
        (response(200, [TYPE], b"{", b"}"), REQUEST, None),
        (response(200, [TYPE, (b"content-length", b"2")], b"{", b"}"), REQUEST, None),
        (response(200, [TYPE, (b"Content-Length", b"2")], b"{}"), REQUEST, None),
        (sized(b"{}", (b"connection", b"close")), REQUEST, None),
        (sized(b"{}", (b"x-wrong", b"a\r\nb: c")), REQUEST, None),
        (sized(b"{}", (b"x wrong", b"a")), REQUEST, None),
    ],
)
async def test_response_in_one_write_equals_that_of_uvicorn(
    messages: list[Message], request_bytes: bytes, writes: int | None
) -> None:
    """Proves R-HTTP-15: the same bytes are sent, and a response of known length is one write."""
    expected = await exchange(HttpToolsProtocol, messages, request_bytes)
    actual = await exchange(LimitedHttp, messages, request_bytes)
    assert b"".join(actual.writes) == b"".join(expected.writes)
    assert actual.closed == expected.closed
    assert writes is None or len(actual.writes) == writes


@pytest.mark.parametrize("body", [b"{", b"{}}"])
async def test_response_of_a_wrong_length_ends_the_connection(body: bytes) -> None:
    """Proves R-HTTP-15: a client never takes the next response for a part of this one."""
    messages = response(200, [TYPE, (b"content-length", b"2")], body)
    transport = await exchange(LimitedHttp, messages, REQUEST)
    assert transport.closed
