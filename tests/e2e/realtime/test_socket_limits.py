"""WebSockets within limits: how many, whose, how much, how soon."""

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
from svgx_gateway.websocket.protocol import CLOSING_SECONDS, Allowance
from tests.e2e.clients.api import Api, Session, reach
from tests.e2e.clients.raw_socket import RawSocket, frame

ALL, MINE = 5, 3
FRAMES = 50
PONG = 0xA
SYNC_STEP_1 = bytes([0, 0, 1, 0])
AWARENESS_QUERY = bytes([3])


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    """Tight limits."""
    settings = {
        "WEBSOCKET_MAX_CONNECTIONS": str(ALL),
        "WEBSOCKET_MAX_CONNECTIONS_PER_IDENTITY": str(MINE),
        "WEBSOCKET_MAX_FRAMES_PER_SECOND": str(FRAMES),
        "WEBSOCKET_MAX_BYTES_PER_SECOND": "65536",
        "WEBSOCKET_MAX_FRAME_BYTES": "131072",
        "WEBSOCKET_HANDSHAKE_TIMEOUT": "1",
    }
    async with DevStack(tmp_path_factory.mktemp("sockets"), settings=settings) as stack:
        yield stack


class Room:
    """A canvas that anybody may enter who is an admin."""

    def __init__(self, api: Api, admin: Session, canvas: str) -> None:
        self._api = api
        self.url = f"{api.live_url}/{canvas}"
        self.admin = admin

    async def another(self, name: str) -> Session:
        """Another admin."""
        return self._api.of(await self.admin.create_user(name, "admin"))

    async def enter(self, by: Session) -> ClientConnection:
        """A connection that has said something, unless it was closed before."""
        socket = await connect(f"{self.url}?token={await by.token()}")
        with contextlib.suppress(ConnectionClosed):
            await socket.send(SYNC_STEP_1)
        return socket


@pytest.fixture
async def room(own_stack: DevStack) -> AsyncIterator[Room]:
    """A new canvas."""
    async with reach(own_stack.url) as api:
        admin = api.session(own_stack.admin_username, own_stack.admin_password)
        yield Room(api, admin, await admin.create_canvas("limits"))


async def closed(socket: ClientConnection) -> int | None:
    """The close code, once there is one."""
    async with asyncio.timeout(10):
        await socket.wait_closed()
    return socket.close_code


async def test_so_many_and_no_more(room: Room) -> None:
    """Proves R-LIMIT-9: of one account, of all; and whoever leaves makes room."""
    other = await room.another("another-admin")
    async with AsyncExitStack() as stack:

        async def enter(by: Session) -> ClientConnection:
            return await stack.enter_async_context(await room.enter(by))

        mine = [await enter(room.admin) for _ in range(MINE)]
        assert await closed(await enter(room.admin)) == 4429
        # However the account says who it is, and so that a page sees the code.
        offered = ["svgx", f"bearer.{await room.admin.token()}"]
        async with connect(room.url, subprotocols=[Subprotocol(each) for each in offered]) as again:
            assert (await closed(again), again.subprotocol) == (4429, "svgx")
        for _ in range(ALL - MINE):
            await enter(other)
        with pytest.raises(InvalidStatus) as refused:
            await room.enter(other)
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) >= 1
        await mine[0].close()
        async with asyncio.timeout(10):
            while (found := await attempt(room, room.admin)) is None:
                pass
        await stack.enter_async_context(found)


async def attempt(room: Room, by: Session) -> ClientConnection | None:
    """A connection that stays, or none: a place is free once the gateway has noticed that its owner left."""
    try:
        socket = await room.enter(by)
        await socket.recv()
    except (InvalidStatus, ConnectionClosed):
        return None
    return socket


@pytest.mark.parametrize(
    ("frame", "count"), [(AWARENESS_QUERY, 150), (bytes([2]) + bytes(30_000), 12)]
)
async def test_too_much_is_the_end(room: Room, frame: bytes, count: int) -> None:
    """Proves R-LIMIT-10: frames, and bytes; another connection of the canvas stays."""
    async with await room.enter(room.admin) as quiet, await room.enter(room.admin) as loud:
        sending = asyncio.create_task(send(loud, frame, count))
        reading = asyncio.create_task(drain(loud))
        assert await closed(loud) == 4429
        await asyncio.gather(sending, reading)
        await quiet.send(SYNC_STEP_1)
        async with asyncio.timeout(10):
            await quiet.recv()


async def send(socket: ClientConnection, frame: bytes, count: int) -> None:
    """As fast as it goes."""
    try:
        for _ in range(count):
            await socket.send(frame)
    except ConnectionClosed:
        pass


async def drain(socket: ClientConnection) -> None:
    """Read whatever comes."""
    try:
        async for _ in socket:
            pass
    except ConnectionClosed:
        pass


PINGS = frame(0x9, b"") * 100_000
PARTS = frame(0x2, b"", final=False) + frame(0x0, b"", final=False) * 100_000
TIMES = 5
AT_ONCE = 10 * 2 * FRAMES
"""More than what may come at once, with what comes back while it is read."""


async def flood(url: str, content: bytes) -> tuple[int, int]:
    """Send it as fast as it goes: the close code, and how many pings were answered. Then the connection has ended."""
    async with RawSocket.opened(url) as socket:
        sending = asyncio.create_task(socket.send(content))
        code = await socket.closed()
        assert await socket.closed() == 1006
        with contextlib.suppress(ConnectionError):
            await sending
        return code, socket.heard[PONG]


async def refused(stack: DevStack) -> int:
    """How many connections were closed for sending too much."""
    async with httpx.AsyncClient(base_url=stack.url) as http:
        text = (await http.get("/metrics/prometheus")).text
    found = re.search(r'websocket_refused_total{limit="rate"} ([0-9.]+)', text)
    return int(float(found[1])) if found else 0


@pytest.mark.parametrize("content", [PINGS, PARTS], ids=["pings", "parts"])
async def test_every_frame_counts(room: Room, own_stack: DevStack, content: bytes) -> None:
    """Proves R-LIMIT-10 and R-LIMIT-12: of whatever kind, and a read's rest is not looked at; others are served."""
    before = await refused(own_stack)
    url = f"{room.url}?token={await room.admin.token()}"

    async def attack() -> list[tuple[int, int]]:
        return [await flood(url, content) for _ in range(TIMES)]

    async with (
        await room.enter(room.admin) as quiet,
        httpx.AsyncClient(base_url=own_stack.url) as http,
        asyncio.timeout(60),
    ):
        attacking = asyncio.create_task(attack())
        answers = 0
        while not attacking.done():
            assert (await http.get("/health/live")).status_code == 200
            answers += 1
        for code, pongs in attacking.result():
            assert (code, pongs < AT_ONCE) == (4429, True), pongs
        assert answers
        await quiet.send(SYNC_STEP_1)
        await quiet.recv()
    assert await refused(own_stack) == before + TIMES


@pytest.mark.parametrize("content", [PINGS, PARTS], ids=["pings", "parts"])
async def test_who_may_not_enter_is_not_listened_to(room: Room, content: bytes) -> None:
    """Proves R-LIMIT-12: the upgrade comes before the identity is looked at, and helps nobody."""
    code, pongs = await flood(room.url, content)
    assert code in (4401, 4429)
    assert pongs < AT_ONCE


async def test_after_our_close_nothing_counts_but_theirs(room: Room) -> None:
    """Proves R-LIMIT-13: no ping is answered, and whoever does not close is cut off."""
    async with RawSocket.opened(room.url) as socket:
        assert await socket.closed() == 4401
        await socket.send(frame(0x9, b"") * 5)
        async with asyncio.timeout(CLOSING_SECONDS + 3):
            assert await socket.closed() == 1006
        assert socket.heard[PONG] == 0


async def test_the_largest_frame_passes(room: Room) -> None:
    """Proves R-LIMIT-10: what is allowed at once is no less than one frame may have."""
    async with await room.enter(room.admin) as socket:
        await socket.send(bytes([2]) + bytes(131_072 - 1 - len(SYNC_STEP_1)))
        await socket.send(SYNC_STEP_1)
        answers = 0
        async with asyncio.timeout(10):
            while answers < 2:  # the one of entering, and the one of after
                frame = await socket.recv()
                answers += frame[:2] == bytes([0, 1])


async def test_who_says_nothing_has_to_go(room: Room, own_stack: DevStack) -> None:
    """Proves R-LIMIT-11; who has said something may be silent."""
    async with await room.enter(room.admin) as spoke:
        url = spoke.request.path if spoke.request else ""
        address = own_stack.url.replace("http", "ws", 1)
        async with connect(f"{address}{url}") as silent:
            assert await closed(silent) == 4408
        await spoke.send(SYNC_STEP_1)
        async with asyncio.timeout(10):
            await spoke.recv()


def test_an_allowance_comes_back() -> None:
    """Proves R-LIMIT-10: by a clock of the test's own."""
    now: list[Any] = [100.0]
    allowance = Allowance(10, 20, lambda: now[0])
    assert [allowance.take(1) for _ in range(21)] == [True] * 20 + [False]
    now[0] += 0.5
    assert [allowance.take(1) for _ in range(6)] == [True] * 5 + [False]
    now[0] += 1000
    assert not allowance.take(21)
    assert allowance.take(20)
