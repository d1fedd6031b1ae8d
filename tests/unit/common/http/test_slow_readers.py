"""The end of connections with clients that do not read their responses."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.types import Receive, Scope, Send

from svgx_common.http import slow_readers
from svgx_common.http.protocol import MAX_HEADER_BYTES, LimitedHttp
from svgx_common.http.slow_readers import SCARCE_BYTES, SlowReaderCheck, SlowReaders
from tests.polling import pause
from tests.unit.common.http.raw_server import RawServer, serve

REQUIRED = 1000
"""Bytes that a client has to take during a measurement of `ScriptedTransport`."""

LARGE = b"x" * 8 * 1024 * 1024
"""More bytes than the buffers of the system take."""

PART = b"x" * 60_000
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
LAST_REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"


def ended() -> float:
    """Return the number of connections that were ended so far."""
    return REGISTRY.get_sample_value("svgx_engine_http_slow_readers_total") or 0.0


class ScriptedTransport(asyncio.Transport):
    """A transport with a script: the waiting and the acknowledged bytes at each measurement."""

    def __init__(self, script: list[tuple[int, int]]) -> None:
        super().__init__()
        self._script = [(1, 0), *script]
        self.done = asyncio.Event()
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        """Return the waiting bytes of the next measurement. 0 at the end of the script."""
        if not self._script:
            self.done.set()
            return 0
        waiting, self._acknowledged = self._script.pop(0)
        return waiting

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return an object with the `getsockopt` of a socket."""
        return self

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """Return a `struct tcp_info`."""
        return struct.pack("=120xQ", self._acknowledged)

    def abort(self) -> None:
        """Note the abort."""
        self.aborted = True
        self.done.set()


@pytest.mark.parametrize(
    ("script", "others", "aborted"),
    [
        pytest.param([(9000, 1), (9000, 1)], 0, True, id="nothing is taken"),
        pytest.param([(9000, 1), (9000, REQUIRED)], 0, True, id="less than the rate"),
        pytest.param([(9000, 1), (9000, REQUIRED + 1)], 0, False, id="the rate"),
        pytest.param([(9000, 1), (9000, 5000), (9000, 5500)], 0, True, id="the rate at first"),
        pytest.param([(10, 1), (9000, 11)], 0, False, id="all that waited"),
        pytest.param([(10, 1), (10, 10)], 0, True, id="less than waited"),
        pytest.param([(9000, 1), (9000, 1 + REQUIRED)], SCARCE_BYTES, True, id="scarce"),
        pytest.param(
            [(9000, 1), (9000, 1 + 2 * REQUIRED)], SCARCE_BYTES, False, id="scarce, double rate"
        ),
        pytest.param(
            [(9000, 1), (9000, 1 + REQUIRED)], SCARCE_BYTES - 9000, False, id="not scarce"
        ),
        pytest.param([(10, 1), (9000, 11)], SCARCE_BYTES, False, id="scarce, all that waited"),
        pytest.param([(9000, 1)], 0, False, id="empty at the second measurement"),
        pytest.param([], 0, False, id="empty at the first measurement"),
        pytest.param([(9000, 0), (9000, 0)], 0, True, id="no count, nothing is taken"),
        pytest.param([(9000, 0), (8999, 0)], 0, False, id="no count, something is taken"),
    ],
)
async def test_connection_is_ended_when_the_client_takes_too_few_bytes(
    monkeypatch: pytest.MonkeyPatch, script: list[tuple[int, int]], others: int, *, aborted: bool
) -> None:
    """The rate is higher while many bytes wait for all clients, but taking all bytes is enough. Proves R-HTTP-20."""
    monkeypatch.setattr(slow_readers, "MEASURE_SECONDS", 0.001)
    monkeypatch.setattr(slow_readers, "MIN_RATE", REQUIRED * 1000)
    monkeypatch.setattr(slow_readers, "SCARCE_RATE", 2 * REQUIRED * 1000)
    before = ended()
    transport = ScriptedTransport(script)
    readers = SlowReaders()
    readers.bytes = others
    SlowReaderCheck(transport, readers).begin()
    await transport.done.wait()
    assert transport.aborted == aborted
    await asyncio.sleep(0)
    assert readers.bytes == others
    assert ended() - before == aborted


async def send_whole(scope: Scope, receive: Receive, send: Send) -> None:
    """Send a large response in one piece, as an ASGI application."""
    length = (b"content-length", b"%d" % len(LARGE))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": LARGE})


async def send_parts(scope: Scope, receive: Receive, send: Send) -> None:
    """Send a large response in small parts, as an ASGI application."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(len(LARGE) // len(PART)):
        await send({"type": "http.response.body", "body": PART, "more_body": True})
    await send({"type": "http.response.body"})


async def send_and_fail(scope: Scope, receive: Receive, send: Send) -> None:
    """Fail within a large response, as an ASGI application."""
    length = (b"content-length", b"%d" % (len(LARGE) + 1))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": LARGE, "more_body": True})
    raise RuntimeError("the application has failed")


async def send_part(scope: Scope, receive: Receive, send: Send) -> None:
    """Send a small response, as an ASGI application."""
    length = (b"content-length", b"%d" % len(PART))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": PART})


async def connect(server: RawServer, buffer_bytes: int = 4096) -> socket.socket:
    """Return a connection with a client that takes few bytes before it reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, server.address)
    return client


Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@pytest.mark.parametrize(
    ("application", "request_bytes"),
    [
        (send_whole, REQUEST),
        (send_whole, LAST_REQUEST),
        (send_parts, REQUEST),
        (send_and_fail, REQUEST),
        (send_whole, REQUEST * 3),
        (send_whole, REQUEST + b"X-A: " + b"a" * MAX_HEADER_BYTES),
    ],
    ids=["kept", "closed", "parts", "failed", "several", "refusal"],
)
async def test_client_that_reads_nothing_loses_its_connection(
    monkeypatch: pytest.MonkeyPatch, application: Application, request_bytes: bytes
) -> None:
    """The response may be unfinished, or wait in a transport that is closed already. Proves R-HTTP-20."""
    monkeypatch.setattr(slow_readers, "MEASURE_SECONDS", 0.02)
    before = ended()
    async with serve(application) as server:
        client = await connect(server)
        with client:
            await asyncio.get_running_loop().sock_sendall(client, request_bytes)
            while server.connections == 0:
                await pause()
            while server.connections > 0:
                await pause()
    assert ended() - before == 1
    assert LimitedHttp.slow_readers.bytes == 0


async def test_client_that_does_not_read_small_responses_loses_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The transport does not report so few waiting bytes by itself. Proves R-HTTP-20."""
    monkeypatch.setattr(slow_readers, "MEASURE_SECONDS", 0.02)
    before = ended()
    async with serve(send_part) as server:
        with await connect(server) as client:
            while server.unsent_bytes == 0:
                await asyncio.get_running_loop().sock_sendall(client, REQUEST)
                await pause()
            assert server.unsent_bytes <= len(PART) + 200
            while server.connections > 0:
                await pause()
    assert ended() - before == 1
    assert LimitedHttp.slow_readers.bytes == 0


async def test_client_that_reads_in_small_pieces_gets_the_whole_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's buffers hide the progress, so the acknowledged bytes are measured. Proves R-HTTP-20."""
    monkeypatch.setattr(slow_readers, "MEASURE_SECONDS", 0.25)
    monkeypatch.setattr(slow_readers, "MIN_RATE", 10)
    checks: set[SlowReaderCheck] = set()

    def hold(check: SlowReaderCheck) -> None:
        checks.add(check)

    # The test measures by itself, because a timer could end while the client gets no processor time.
    monkeypatch.setattr(SlowReaderCheck, "_continue", hold)
    loop = asyncio.get_running_loop()
    received = 0
    async with serve(send_whole) as server:
        # A smaller buffer announces its free bytes too rarely for these measurements.
        with await connect(server, 64 * 1024) as client:
            await loop.sock_sendall(client, LAST_REQUEST)
            # The client reads only 192 KiB between two measurements, so that the kernel takes nothing from the
            # transport between some of them.
            for _ in range(5):
                for _ in range(12):
                    received += len(await loop.sock_recv(client, 16 * 1024))
                    await pause()
                (check,) = checks
                check._measure()
            while received < len(LARGE):
                received += len(await loop.sock_recv(client, 1024 * 1024))
        while server.connections > 0:
            await pause()
    assert received > len(LARGE)
    assert LimitedHttp.slow_readers.bytes == 0
