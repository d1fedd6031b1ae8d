"""The list of all gateways' connections. A gateway asks the other gateways over NATS for their connections."""

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from nats.aio.msg import Msg

from svgx_common.contract.administration.connections import (
    ConnectionPage,
    ListConnectionsRequest,
)
from svgx_common.contract.errors import Invalid
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.transport import replica_subject
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call, Responder
from svgx_devstack import DevStack
from svgx_gateway.live_connections import LiveConnections
from svgx_gateway.replica_watch import Replica, ReplicaWatch
from svgx_gateway.websocket.connection import Connection, KnownRole
from svgx_gateway.websocket.live_canvases import LiveCanvases
from tests.integration.pages import all_pages

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class OpenConnection:
    """The parts of a `Connection` that the list shows."""

    caller: Caller
    opened_at: datetime
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    role: KnownRole = field(default_factory=lambda: KnownRole(CanvasRole.EDITOR, doubt_count=0))


@dataclass
class Canvases:
    """The connections of one gateway, in place of `LiveCanvases`, which needs all services."""

    opened: list[tuple[str, OpenConnection]] = field(default_factory=list)

    def connections(self) -> Iterator[tuple[str, Connection]]:
        """Yield the connections."""
        return ((canvas, cast("Connection", each)) for canvas, each in self.opened)

    def open(self, canvas: str, user: str, second: int, *, by_key: bool = False) -> None:
        """Add a connection that was opened `second` seconds after `START`."""
        caller = Caller(user, f"name of {user}", Role.EDITOR, f"session of {user}", by_key=by_key)
        opened = OpenConnection(caller, START + timedelta(seconds=second))
        self.opened.append((canvas, opened))


@dataclass(frozen=True)
class Gateway:
    """A gateway with connections."""

    id: str
    canvases: Canvases
    live: LiveConnections
    watch: ReplicaWatch

    async def page(self, **query: str | int | None) -> ConnectionPage:
        """Return the page that this gateway's handler returns for a query."""
        request = ListConnectionsRequest.model_validate(query)
        return await self.live.page(request, Call(None, 0.0))


@asynccontextmanager
async def gateway(backing: DevStack) -> AsyncIterator[Gateway]:
    """Run the part of a gateway that lists connections."""
    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", secrets.token_hex(6))
    watch = ReplicaWatch(bus)
    canvases = Canvases()
    live = LiveConnections(bus, cast("LiveCanvases", canvases), watch)
    try:
        await Responder(bus, "0").announce()
        await watch.start()
        await live.start()
        await bus.settle()
        yield Gateway(bus.replica_id, canvases, live, watch)
        await watch.stop()
    finally:
        await bus.close()


@pytest.fixture
async def gateways(backing: DevStack) -> AsyncIterator[list[Gateway]]:
    """Yield three gateways with connections of two canvases."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(gateway(backing)) for _ in range(3)]
        for second in range(9):
            canvas = "plan" if second % 2 else "map"
            found[second % 3].canvases.open(canvas, f"user-{second}", second)
        found[0].canvases.open("plan", "robot", 9, by_key=True)
        yield found


async def users_of_all_pages(asked: Gateway, **query: str | int | None) -> list[str]:
    """Return the users on all pages, in their order."""
    users: list[str] = []
    async for page in all_pages(lambda cursor: asked.page(**query, cursor=cursor)):
        assert page.missing == []
        users += [each.user_id for each in page.items]
    return users


async def test_any_gateway_lists_the_connections_of_all(gateways: list[Gateway]) -> None:
    """Proves R-OBS-15: each gateway lists each connection once, the oldest first, in pages of any size."""
    expected = [*(f"user-{second}" for second in range(9)), "robot"]
    for asked, limit in zip(gateways, (4, 7, 200), strict=True):
        assert await users_of_all_pages(asked, limit=limit) == expected


async def test_connections_are_selected_by_canvas_and_user(gateways: list[Gateway]) -> None:
    """Proves R-OBS-15: the list has the connections of one canvas, or those of one user."""
    on_plan = await users_of_all_pages(gateways[1], canvas_id="plan", limit=2)
    assert on_plan == ["user-1", "user-3", "user-5", "user-7", "robot"]
    (found,) = (await gateways[1].page(user_id="robot")).items
    assert (found.canvas_id, found.username, found.by_key) == ("plan", "name of robot", True)
    assert (found.replica, found.role) == (gateways[0].id, CanvasRole.EDITOR)
    assert (await gateways[1].page(user_id="robot", canvas_id="map")).items == []


async def test_cursor_of_another_query_is_refused(gateways: list[Gateway]) -> None:
    """Proves R-STATE-15: a cursor is accepted only with the filters of its page."""
    cursor = (await gateways[0].page(limit=1)).next
    with pytest.raises(Invalid) as error:
        await gateways[0].page(limit=1, cursor=cursor, canvas_id="plan")
    assert error.value.field == "cursor"


async def test_silent_gateway_is_named(backing: DevStack, gateways: list[Gateway]) -> None:
    """Proves R-OBS-15: the page has the connections of the other gateways, and names the missing gateway."""

    async def stay_silent(_: Msg) -> None:
        pass

    bus = await Bus.connect(backing.nats_url("gateway"), "gateway", "frozen")
    await bus.connection.subscribe(replica_subject("gateway", "frozen"), cb=stay_silent)
    await bus.settle()
    now = time.monotonic()
    gateways[0].watch._replicas["gateway", "frozen"] = Replica("gateway", "frozen", now, now)
    page = await gateways[0].page()
    await bus.close()
    assert page.missing == ["frozen"]
    assert len(page.items) == 10
