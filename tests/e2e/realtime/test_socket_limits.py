"""Limits of WebSockets: connections, connections per account, frames and bytes per second, handshake time."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from svgx_devstack import DevStack
from svgx_gateway.websocket.protocol import CLOSING_SECONDS, TokenBucket
from tests.e2e.clients.api import Api, ApiSession, open_api
from tests.e2e.clients.raw_socket import RawSocket, encode_frame

MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ACCOUNT = 5, 3
FRAMES_PER_SECOND = 50
PONG = 0xA
SYNC_STEP_1 = bytes([0, 0, 1, 0])
AWARENESS_QUERY = bytes([3])


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Start a stack with low limits."""
    settings = {
        "WEBSOCKET_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
        "WEBSOCKET_MAX_CONNECTIONS_PER_IDENTITY": str(MAX_CONNECTIONS_PER_ACCOUNT),
        "WEBSOCKET_MAX_FRAMES_PER_SECOND": str(FRAMES_PER_SECOND),
        "WEBSOCKET_MAX_BYTES_PER_SECOND": "65536",
        "WEBSOCKET_MAX_FRAME_BYTES": "131072",
        "WEBSOCKET_HANDSHAKE_TIMEOUT": "1",
        "RATE_LIMIT_REQUESTS_PER_MINUTE": "1000000",
    }
    async with DevStack(tmp_path_factory.mktemp("sockets"), settings=settings) as stack:
        yield stack


class LimitedCanvas:
    """A canvas on the stack with low limits, and connections of admins to it."""

    def __init__(self, api: Api, admin: ApiSession, canvas: str) -> None:
        self._api = api
        self.url = f"{api.websocket_url}/{canvas}"
        self.admin = admin

    async def create_admin(self, name: str) -> ApiSession:
        """Create another admin account."""
        return self._api.session_of(await self.admin.create_user(name, "admin"))

    async def connect(self, session: ApiSession) -> ClientConnection:
        """Open a connection and send sync step 1, unless the server has closed it already."""
        socket = await connect(f"{self.url}?token={await session.access_token()}")
        with contextlib.suppress(ConnectionClosed):
            await socket.send(SYNC_STEP_1)
        return socket


@pytest.fixture
async def limited_canvas(own_stack: DevStack) -> AsyncIterator[LimitedCanvas]:
    """Create a canvas."""
    async with open_api(own_stack.url) as api:
        admin = api.session(own_stack.admin_username, own_stack.admin_password)
        yield LimitedCanvas(api, admin, await admin.create_canvas("limits"))


async def wait_close_code(socket: ClientConnection) -> int | None:
    """Wait until the connection is closed, and return the close code."""
    async with asyncio.timeout(10):
        await socket.wait_closed()
    return socket.close_code


async def test_connections_beyond_the_limits_are_refused_until_one_closes(
    limited_canvas: LimitedCanvas,
) -> None:
    """The limits are per account and for all accounts together. Proves R-LIMIT-9."""
    other = await limited_canvas.create_admin("another-admin")
    async with AsyncExitStack() as stack:

        async def open_connection(session: ApiSession) -> ClientConnection:
            return await stack.enter_async_context(await limited_canvas.connect(session))

        sockets = [
            await open_connection(limited_canvas.admin) for _ in range(MAX_CONNECTIONS_PER_ACCOUNT)
        ]
        assert await wait_close_code(await open_connection(limited_canvas.admin)) == 4429
        # The limit also applies to a token in a subprotocol. The handshake completes, so that a browser sees the code.
        offered = ["svgx", f"bearer.{await limited_canvas.admin.access_token()}"]
        async with connect(
            limited_canvas.url, subprotocols=[Subprotocol(each) for each in offered]
        ) as refused_socket:
            assert (await wait_close_code(refused_socket), refused_socket.subprotocol) == (
                4429,
                "svgx",
            )
        for _ in range(MAX_CONNECTIONS - MAX_CONNECTIONS_PER_ACCOUNT):
            await open_connection(other)
        with pytest.raises(InvalidStatus) as refused:
            await limited_canvas.connect(other)
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) >= 1
        await sockets[0].close()
        async with asyncio.timeout(10):
            while (
                accepted := await connect_if_accepted(limited_canvas, limited_canvas.admin)
            ) is None:
                pass
        await stack.enter_async_context(accepted)


async def connect_if_accepted(
    limited_canvas: LimitedCanvas, session: ApiSession
) -> ClientConnection | None:
    """Return an accepted connection, or None.

    A closed connection counts until the gateway has noticed the close, so a caller may have to try again.
    """
    try:
        socket = await limited_canvas.connect(session)
        await socket.recv()
    except (InvalidStatus, ConnectionClosed):
        return None
    return socket


@pytest.mark.parametrize(
    ("frame", "count"), [(AWARENESS_QUERY, 150), (bytes([2]) + bytes(30_000), 12)]
)
async def test_frames_or_bytes_beyond_the_limit_close_only_the_sender_with_4429(
    limited_canvas: LimitedCanvas, frame: bytes, count: int
) -> None:
    """Another connection to the same canvas stays open. Proves R-LIMIT-10."""
    async with (
        await limited_canvas.connect(limited_canvas.admin) as quiet,
        await limited_canvas.connect(limited_canvas.admin) as loud,
    ):
        sending = asyncio.create_task(send_repeatedly(loud, frame, count))
        reading = asyncio.create_task(discard_messages(loud))
        assert await wait_close_code(loud) == 4429
        await asyncio.gather(sending, reading)
        await quiet.send(SYNC_STEP_1)
        async with asyncio.timeout(10):
            await quiet.recv()


async def send_repeatedly(socket: ClientConnection, frame: bytes, count: int) -> None:
    """Send a message `count` times without a pause, until the server closes the connection."""
    try:
        for _ in range(count):
            await socket.send(frame)
    except ConnectionClosed:
        pass


async def discard_messages(socket: ClientConnection) -> None:
    """Read and discard messages until the server closes the connection."""
    try:
        async for _ in socket:
            pass
    except ConnectionClosed:
        pass


PINGS = encode_frame(0x9, b"") * 100_000
FRAGMENTS = encode_frame(0x2, b"", final=False) + encode_frame(0x0, b"", final=False) * 100_000
FLOODS = 5
"""Floods that one test sends, one connection after the other."""

MAX_PONGS = 10 * 2 * FRAMES_PER_SECOND
"""The gateway sends fewer pongs than this for one flood.

The gateway answers the burst of `2 * FRAMES_PER_SECOND` pings, and the pings allowed while it reads the flood.
"""


async def send_flood(url: str, content: bytes) -> tuple[int, int]:
    """Send bytes without a pause until the connection has ended. Return the close code and the number of pongs."""
    async with RawSocket.connect(url) as socket:
        sending = asyncio.create_task(socket.send(content))
        code = await socket.wait_closed()
        # After the close frame the connection ends.
        assert await socket.wait_closed() == 1006
        with contextlib.suppress(ConnectionError):
            await sending
        return code, socket.received_frames[PONG]


async def rate_limit_closes(stack: DevStack) -> int:
    """Return the number of connections that the gateway has closed because of a rate limit."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=60) as http:
        text = (await http.get("/metrics/prometheus")).text
    match = re.search(r'websocket_refused_total{limit="rate"} ([0-9.]+)', text)
    return int(float(match[1])) if match else 0


@pytest.mark.parametrize("content", [PINGS, FRAGMENTS], ids=["pings", "fragments"])
async def test_flood_of_control_frames_or_fragments_is_closed_and_others_are_served(
    limited_canvas: LimitedCanvas, own_stack: DevStack, content: bytes
) -> None:
    """Control frames and fragments count, and frames past the limit are discarded. Proves R-LIMIT-10 and R-LIMIT-12."""
    closes_before = await rate_limit_closes(own_stack)
    url = f"{limited_canvas.url}?token={await limited_canvas.admin.access_token()}"

    async def attack() -> list[tuple[int, int]]:
        return [await send_flood(url, content) for _ in range(FLOODS)]

    async with (
        await limited_canvas.connect(limited_canvas.admin) as quiet,
        httpx.AsyncClient(base_url=own_stack.url, timeout=60) as http,
        asyncio.timeout(60),
    ):
        attacking = asyncio.create_task(attack())
        responses = 0
        while not attacking.done():
            assert (await http.get("/health/live")).status_code == 200
            responses += 1
        for code, pongs in attacking.result():
            assert (code, pongs < MAX_PONGS) == (4429, True), pongs
        assert responses
        await quiet.send(SYNC_STEP_1)
        await quiet.recv()
    async with asyncio.timeout(10):  # the metrics are up to a second old
        while await rate_limit_closes(own_stack) != closes_before + FLOODS:
            pass


@pytest.mark.parametrize("content", [PINGS, FRAGMENTS], ids=["pings", "fragments"])
async def test_flood_before_authentication_is_closed_after_few_pongs(
    limited_canvas: LimitedCanvas, content: bytes
) -> None:
    """The limits apply as soon as the upgrade completes, before the gateway checks the token. Proves R-LIMIT-12."""
    code, pongs = await send_flood(limited_canvas.url, content)
    assert code in (4401, 4429)
    assert pongs < MAX_PONGS


async def test_after_the_close_frame_only_a_close_frame_is_read(
    limited_canvas: LimitedCanvas,
) -> None:
    """The gateway answers no ping, and ends the connection if the client sends no close frame. Proves R-LIMIT-13."""
    async with RawSocket.connect(limited_canvas.url) as socket:
        assert await socket.wait_closed() == 4401
        await socket.send(encode_frame(0x9, b"") * 5)
        async with asyncio.timeout(CLOSING_SECONDS + 3):
            assert await socket.wait_closed() == 1006
        assert socket.received_frames[PONG] == 0


async def test_largest_allowed_frame_passes_the_rate_limit(limited_canvas: LimitedCanvas) -> None:
    """The burst of allowed bytes is at least the maximum frame size. Proves R-LIMIT-10."""
    async with await limited_canvas.connect(limited_canvas.admin) as socket:
        await socket.send(bytes([2]) + bytes(131_072 - 1 - len(SYNC_STEP_1)))
        await socket.send(SYNC_STEP_1)
        responses = 0
        async with asyncio.timeout(10):
            while responses < 2:  # one for `connect`, one for the message after the large frame
                frame = await socket.recv()
                responses += frame[:2] == bytes([0, 1])


async def test_silent_client_is_closed_with_4408_after_the_handshake_timeout(
    limited_canvas: LimitedCanvas, own_stack: DevStack
) -> None:
    """A client that has sent a message may then be silent. Proves R-LIMIT-11."""
    async with await limited_canvas.connect(limited_canvas.admin) as active:
        url = active.request.path if active.request else ""
        address = own_stack.url.replace("http", "ws", 1)
        async with connect(f"{address}{url}") as silent:
            assert await wait_close_code(silent) == 4408
        await active.send(SYNC_STEP_1)
        async with asyncio.timeout(10):
            await active.recv()


def test_allowance_refills_with_time() -> None:
    """The allowance never exceeds its burst size. Proves R-LIMIT-10."""
    now: list[Any] = [100.0]
    allowance = TokenBucket(10, 20, lambda: now[0])
    assert [allowance.take(1) for _ in range(21)] == [True] * 20 + [False]
    now[0] += 0.5
    assert [allowance.take(1) for _ in range(6)] == [True] * 5 + [False]
    now[0] += 1000
    assert not allowance.take(21)
    assert allowance.take(20)
