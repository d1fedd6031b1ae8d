"""Limits of WebSockets: connections, connections per account, frames and bytes per second, handshake time.

The limits of `limited_gateway` are so low that ordinary clients exceed them, as heavier clients exceed the default
limits. `tests/unit/gateway/websocket/test_inflow.py` proves that the default limits never close ordinary clients.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from statistics import median

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from svgx_common.contract.collab import HOCUSPOCUS_PATH
from svgx_devstack import DevStack
from svgx_gateway.websocket.transport.protocol import CLOSING_SECONDS
from svgx_yjs import awareness, hocuspocus, protocol
from svgx_yjs.hocuspocus import Writer
from svgx_yjs.lib0 import Encoder
from tests.e2e.clients.api import Api, ApiSession, open_api
from tests.e2e.clients.close_code import wait_close_code
from tests.e2e.clients.metrics import Metrics
from tests.e2e.clients.raw_socket import RawSocket, encode_frame
from tests.e2e.clients.workspace import Workspace, open_workspace
from tests.e2e.clients.yjs_driver import YjsClient, YjsDriver
from tests.e2e.cluster.extra_gateway import ExtraGateway, extra_gateway
from tests.polling import pause

MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ACCOUNT = 5, 3
FRAMES_PER_SECOND = 50
FLOOD_SECONDS = 1
BYTES_PER_SECOND = 131_072
MAX_MESSAGE = 600_000
PONG = 0xA
SYNC_STEP_1 = bytes([0, 0, 1, 0])
AWARENESS_QUERY = bytes([3])


@pytest.fixture(scope="module")
async def limited_gateway(stack: DevStack) -> AsyncIterator[ExtraGateway]:
    """Start a gateway with low limits."""
    settings = {
        "WEBSOCKET_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
        "WEBSOCKET_MAX_CONNECTIONS_PER_IDENTITY": str(MAX_CONNECTIONS_PER_ACCOUNT),
        "WEBSOCKET_MAX_FRAMES_PER_SECOND": str(FRAMES_PER_SECOND),
        "WEBSOCKET_FLOOD_SECONDS": str(FLOOD_SECONDS),
        "WEBSOCKET_MAX_BYTES_PER_SECOND": str(BYTES_PER_SECOND),
        "WEBSOCKET_MAX_FRAME_BYTES": str(MAX_MESSAGE),
        "WEBSOCKET_HANDSHAKE_TIMEOUT": "3",
    }
    async with extra_gateway(stack, settings) as gateway:
        yield gateway


class LimitedCanvas:
    """A canvas at the gateway with low limits. Admins connect to this canvas."""

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
async def limited_canvas(limited_gateway: ExtraGateway) -> AsyncIterator[LimitedCanvas]:
    """Create a canvas through the gateway with low limits, and return it."""
    stack = limited_gateway.stack
    async with open_api(limited_gateway.url) as api:
        admin = api.session(stack.admin_username, stack.admin_password)
        yield LimitedCanvas(api, admin, await admin.create_canvas("limits"))


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
        assert await wait_close_code(await open_connection(limited_canvas.admin)) == 1013
        # The limit also applies to a token in a subprotocol. The handshake completes, so that a browser gets the code.
        offered = ["svgx", f"bearer.{await limited_canvas.admin.access_token()}"]
        async with connect(
            limited_canvas.url, subprotocols=[Subprotocol(each) for each in offered]
        ) as refused_socket:
            assert (await wait_close_code(refused_socket), refused_socket.subprotocol) == (
                1013,
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


async def test_documents_of_a_hocuspocus_socket_count_as_connections(
    limited_canvas: LimitedCanvas,
) -> None:
    """A document beyond the account's limit closes the socket. A socket that opens no document in time is closed too.

    Proves R-HOCUS-4 and R-HOCUS-10.
    """
    base, canvas = limited_canvas.url.split("/runtime/events/")
    account = await limited_canvas.create_admin("hocuspocus-admin")
    token = (
        Encoder().uint(hocuspocus.AUTH).uint(hocuspocus.TOKEN).text(await account.access_token())
    )
    async with asyncio.timeout(30):
        async with connect(f"{base}{HOCUSPOCUS_PATH}") as socket:
            for session in range(MAX_CONNECTIONS_PER_ACCOUNT):
                await socket.send(Writer(f"{canvas}\0{session}").named(token.finish()))
                assert b"read-write" in bytes(await socket.recv(decode=False))
            await socket.send(Writer(f"{canvas}\0one more").named(token.finish()))
            assert await wait_close_code(socket) == 1013
        async with connect(f"{base}{HOCUSPOCUS_PATH}") as idle:
            await idle.send(bytes((hocuspocus.PING,)))
            assert await idle.recv() == hocuspocus.PONG_MESSAGE
            assert await wait_close_code(idle) == 1013


async def connect_if_accepted(
    limited_canvas: LimitedCanvas, session: ApiSession
) -> ClientConnection | None:
    """Open a connection. Return it, or None if the gateway refuses it.

    A closed connection counts until the gateway has noticed the close, so a caller may have to try again.
    """
    try:
        socket = await limited_canvas.connect(session)
        await socket.recv()
    except (InvalidStatus, ConnectionClosed):
        return None
    return socket


@pytest.mark.parametrize(
    ("frame", "count", "seconds"),
    [(AWARENESS_QUERY, 140, 0.6), (bytes([2]) + bytes(30_000), 50, 3.0)],
    ids=["frames", "bytes"],
)
async def test_frames_or_bytes_beyond_the_limit_slow_down_only_the_sender(
    limited_canvas: LimitedCanvas, frame: bytes, count: int, seconds: float
) -> None:
    """The sender's next message is answered late, and messages of another connection at once. Proves R-LIMIT-10."""
    loop = asyncio.get_running_loop()
    async with (
        await limited_canvas.connect(limited_canvas.admin) as quiet,
        await limited_canvas.connect(limited_canvas.admin) as loud,
        asyncio.timeout(20),
    ):
        started = loop.time()
        sending = asyncio.create_task(send_repeatedly(loud, frame, count))
        answered = asyncio.create_task(send_and_wait_answer(loud, sending))
        delays = []
        for _ in range(5):
            asked = loop.time()
            await quiet.send(SYNC_STEP_1)
            while (await quiet.recv())[:2] != bytes([0, 1]):
                pass
            delays.append(loop.time() - asked)
        # Compare the median, because a busy machine may delay an answer.
        assert median(delays) < seconds, delays
        await answered
        assert loop.time() - started > seconds


async def send_and_wait_answer(socket: ClientConnection, sending: asyncio.Task[None]) -> None:
    """Send sync step 1 after the task `sending` has ended, and read until the server answers it."""

    async def read() -> None:
        answers = 0
        while answers < 2:  # the first answer is for `LimitedCanvas.connect`
            answers += (await socket.recv())[:2] == bytes([0, 1])

    reading = asyncio.create_task(read())
    await sending
    await socket.send(SYNC_STEP_1)
    await reading


async def send_repeatedly(socket: ClientConnection, frame: bytes, count: int) -> None:
    """Send a message `count` times without a pause. Stop early if the server closes the connection."""
    try:
        for _ in range(count):
            await socket.send(frame)
    except ConnectionClosed:
        pass


PINGS = encode_frame(0x2, SYNC_STEP_1) + encode_frame(0x9, b"") * 100_000
FRAGMENTS = (
    encode_frame(0x2, SYNC_STEP_1)
    + encode_frame(0x2, b"", final=False)
    + encode_frame(0x0, b"", final=False) * 100_000
)
FLOODS = 2
"""Number of floods that a test sends one after the other, each on a connection of its own."""


def most_pongs(seconds: float) -> float:
    """Return the upper bound of the pongs that the gateway sends for a flood of `seconds` seconds.

    The gateway answers a burst of `2 * FRAMES_PER_SECOND` pings, and the pings that the limit allows before the close.
    """
    return (2 + seconds) * FRAMES_PER_SECOND + 2


async def send_flood(url: str, content: bytes) -> int:
    """Send bytes without a pause until the connection has ended, and return the close code.

    The number of pongs must be within the bound.
    """
    began = time.monotonic()
    async with RawSocket.connect(url) as socket:
        sending = asyncio.create_task(socket.send(content))
        code = await socket.wait_closed()
        # The first call returned the code of the close frame. The second returns 1006 when the connection has ended.
        assert await socket.wait_closed() == 1006
        with contextlib.suppress(ConnectionError):
            await sending
        assert socket.received_frames[PONG] <= most_pongs(time.monotonic() - began)
        return code


async def rate_limit_closes(gateway: ExtraGateway) -> int:
    """Return the number of connections that the gateway has closed because of a rate limit."""
    metrics = Metrics(gateway.stack, timeout=60)
    return int(await metrics.value("websocket_refused_total", gateway.name, limit="rate"))


@pytest.mark.parametrize("content", [PINGS, FRAGMENTS], ids=["pings", "fragments"])
async def test_flood_of_control_frames_or_fragments_is_closed_and_others_are_served(
    limited_canvas: LimitedCanvas, limited_gateway: ExtraGateway, content: bytes
) -> None:
    """Control frames and fragments count as frames. Frames past the limit wait. Proves R-LIMIT-10 and R-LIMIT-12."""
    closes_before = await rate_limit_closes(limited_gateway)
    url = f"{limited_canvas.url}?token={await limited_canvas.admin.access_token()}"

    async def attack() -> list[int]:
        return [await send_flood(url, content) for _ in range(FLOODS)]

    async with (
        await limited_canvas.connect(limited_canvas.admin) as quiet,
        httpx.AsyncClient(base_url=limited_gateway.url, timeout=60) as http,
        asyncio.timeout(60),
    ):
        attacking = asyncio.create_task(attack())
        responses = 0
        while not attacking.done():
            assert (await http.get("/health/live")).status_code == 200
            responses += 1
        assert attacking.result() == [1013] * FLOODS
        assert responses
        await quiet.send(SYNC_STEP_1)
        await quiet.recv()
    async with asyncio.timeout(10):  # the metrics are up to a second old
        while await rate_limit_closes(limited_gateway) != closes_before + FLOODS:
            await pause()


@pytest.mark.parametrize("content", [PINGS, FRAGMENTS], ids=["pings", "fragments"])
async def test_flood_before_authentication_is_closed_after_few_pongs(
    limited_canvas: LimitedCanvas, content: bytes
) -> None:
    """The limits apply as soon as the upgrade completes, before the gateway checks the token. Proves R-LIMIT-12."""
    assert await send_flood(limited_canvas.url, content) == 4401


async def test_after_the_close_frame_only_a_close_frame_is_read(
    limited_canvas: LimitedCanvas,
) -> None:
    """The gateway answers no ping, and ends the connection if the client sends no close frame. Proves R-LIMIT-13."""
    async with RawSocket.connect(limited_canvas.url) as socket:
        assert await socket.wait_closed() == 4401
        await socket.send(encode_frame(0x9, b"") * 5)
        async with asyncio.timeout(CLOSING_SECONDS + 20):
            assert await socket.wait_closed() == 1006
        assert socket.received_frames[PONG] == 0


async def test_largest_allowed_message_passes_and_a_larger_one_is_refused(
    limited_canvas: LimitedCanvas,
) -> None:
    """With `limits=1`, the first frame states the limit. The close reason always states it. Proves R-SOCKET-2."""
    token = await limited_canvas.admin.access_token()
    async with (
        connect(f"{limited_canvas.url}?token={token}&limits=1") as socket,
        asyncio.timeout(20),
    ):
        frame = await socket.recv(decode=False)
        assert frame == protocol.encode_limits(MAX_MESSAGE)
        await socket.send(bytes([2]) + bytes(MAX_MESSAGE - 1))
        await socket.send(SYNC_STEP_1)
        while (await socket.recv())[:2] != bytes([0, 1]):
            pass
        await socket.send(bytes([2]) + bytes(MAX_MESSAGE))
        assert (await wait_close_code(socket), socket.close_reason) == (
            4413,
            f"a message has at most {MAX_MESSAGE} bytes",
        )


async def test_silent_client_is_closed_with_1013_after_the_handshake_timeout(
    limited_canvas: LimitedCanvas, limited_gateway: ExtraGateway
) -> None:
    """A client that has sent a message may then be silent. Proves R-LIMIT-11."""
    async with await limited_canvas.connect(limited_canvas.admin) as active:
        url = active.request.path if active.request else ""
        async with connect(f"{limited_gateway.websocket_url}{url}") as silent:
            assert await wait_close_code(silent) == 1013
        await active.send(SYNC_STEP_1)
        async with asyncio.timeout(10):
            await active.recv()


@pytest.fixture
async def workspace(
    limited_gateway: ExtraGateway, limited_canvas: LimitedCanvas, driver: YjsDriver
) -> AsyncIterator[Workspace]:
    """Open a workspace with a new owner at the gateway with low limits, and destroy its clients after the test."""
    gateway = limited_gateway
    async with open_workspace(gateway.stack, driver, url=gateway.url) as workspace:
        yield workspace
        await workspace.destroy_all()


Y_WEBSOCKETS = pytest.mark.parametrize(
    "y_websocket", [2, 3], ids=["y-websocket 2", "y-websocket 3"]
)


async def draw_450_values(client: YjsClient) -> None:
    """Set 450 values in one turn of the event loop, each in its own transaction."""
    await client.burst(450)


async def drag_two_elements(client: YjsClient) -> None:
    """Drag two elements at 60 Hz, with x and y set separately: almost five times the limit of this gateway."""
    await client.drag("a", "b", rate=60, seconds=2)


async def move_cursor(client: YjsClient) -> None:
    """Move the cursor at 240 Hz."""
    await client.move_cursor(rate=240, seconds=2)


async def add_three_photos(client: YjsClient) -> None:
    """Add three photos, each almost as large as a message may be."""
    await client.burst(3, size=550_000)


@Y_WEBSOCKETS
@pytest.mark.parametrize(
    "draw", [draw_450_values, drag_two_elements, move_cursor, add_three_photos]
)
async def test_yjs_client_that_exceeds_a_rate_stays_online(
    workspace: Workspace, draw: Callable[[YjsClient], Awaitable[None]], y_websocket: int
) -> None:
    """All edits arrive, and the client never gives up reconnecting. Proves R-LIMIT-10 and R-SOCKET-1."""
    canvas = await workspace.create_canvas()
    client = await workspace.connect(canvas, version=y_websocket)
    for element in ("a", "b"):
        await client.add_element(element)
    await workspace.driver.wait_saved([client])
    await draw(client)
    await workspace.driver.wait_saved([client])
    status = await client.status()
    assert status.gave_up is None
    assert {close.code for close in status.closes} <= {1013}
    observer = await workspace.connect(canvas)
    await workspace.driver.wait_converged([client, observer])


@Y_WEBSOCKETS
async def test_client_beyond_the_limit_of_connections_reconnects_by_itself(
    workspace: Workspace, y_websocket: int
) -> None:
    """The refused tab connects when another tab is closed. Proves R-LIMIT-9 and R-SOCKET-1."""
    canvas = await workspace.create_canvas()
    tabs = await workspace.connect_many(canvas, MAX_CONNECTIONS_PER_ACCOUNT)
    refused = await workspace.connect(canvas, version=y_websocket)
    closes = 1
    # The gateway may still have connections of the previous test. It then refuses the handshake with 503.
    while (close := await refused.wait_closed(closes)).code == 1006:
        closes += 1
    assert (close.code, close.reason) == (1013, "at most 3 connections of one account")
    await workspace.destroy(tabs[0])
    await workspace.driver.wait_synced([refused])


@Y_WEBSOCKETS
async def test_client_with_a_slow_start_reconnects_by_itself(
    workspace: Workspace, y_websocket: int
) -> None:
    """A client that sends its first message too late connects again. Proves R-LIMIT-11 and R-SOCKET-1."""
    canvas = await workspace.create_canvas()
    client = await workspace.connect(canvas, version=y_websocket, firstSendDelay=20_000)
    assert (await client.wait_closed()).code == 1013
    await workspace.driver.wait_synced([client])


async def test_document_over_the_limit_is_sent_once(workspace: Workspace) -> None:
    """The server sends the limit, and closes with 4413. The client then does not reconnect. Proves R-SOCKET-2."""
    canvas = await workspace.create_canvas()
    token = await workspace.owner.access_token()
    client = await workspace.connect(canvas, params={"token": token, "limits": "1"}, offline=True)
    await client.burst(1, size=MAX_MESSAGE)
    await client.reconnect()
    assert (await client.wait_closed()).code == 4413
    status = await client.status()
    assert status.gave_up is not None
    assert status.gave_up.reason == f"a message has at most {MAX_MESSAGE} bytes"
    assert status.max_message == MAX_MESSAGE
    assert status.connections == 1


async def test_awareness_queries_wait_while_the_account_does_not_read(stack: DevStack) -> None:
    """Each answer has all states of the canvas, and each query only a few bytes. Proves R-BOUND-7."""
    limit, state, queries = 1024 * 1024, 60_000, 400
    async with (
        extra_gateway(stack, {"WEBSOCKET_ACCOUNT_QUEUED_BYTES": str(limit)}) as gateway,
        open_api(gateway.url) as api,
    ):
        admin = api.session(stack.admin_username, stack.admin_password)
        canvas = await admin.create_canvas("queries")
        url = f"{api.websocket_url}/{canvas}?token={await admin.access_token()}"
        metrics = Metrics(stack, timeout=60)
        async with RawSocket.connect(url) as socket:
            await socket.send(encode_frame(2, SYNC_STEP_1))
            await socket.receive()
            own = awareness.encode([awareness.State(7, 1, f'"{"x" * state}"')])
            await socket.send(encode_frame(2, protocol.encode_awareness(own)))
            # The client reads nothing from now on.
            sending = asyncio.create_task(socket.send(encode_frame(2, AWARENESS_QUERY) * queries))
            await metrics.until(
                "websocket_sync_wait_seconds_total", bool, gateway.name, bound="memory"
            )
            unsent = await metrics.value("websocket_unsent_bytes", gateway.name)
            assert unsent <= 2 * limit
            sending.cancel()
