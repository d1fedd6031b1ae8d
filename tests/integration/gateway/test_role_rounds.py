"""The rounds through the roles of open connections, with a real connection to NATS. No change is announced."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import (
    Forbidden,
    NotFound,
    SvgxError,
    Unauthenticated,
    Unavailable,
)
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import CANVAS_ACCESS, Access, CanvasRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_common.messaging.responder import Call
from svgx_devstack import DevStack
from svgx_gateway import role_rounds
from svgx_gateway.identity import canvas_roles
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.role_rounds import RoleRounds
from svgx_gateway.websocket.connection import Connection, KnownRole
from svgx_gateway.websocket.live_canvases import LiveCanvases
from tests.integration.gateway.running_gateway import answering
from tests.polling import pause

CANVAS_ID = "00000000-0000-0000-0000-000000000001"
ANN = Caller("u", "ann", Role.EDITOR, "s")
VISITOR = Caller.of_link("l", "creator")
CALLERS = {"visitor": VISITOR, "account": ANN, "account with a link": ANN.with_link("l")}


class State:
    """A stand-in for the state service, which gives each caller `answer`."""

    def __init__(self) -> None:
        self.answer: CanvasRole | SvgxError = CanvasRole.EDITOR
        self.callers: list[Caller] = []

    async def access(self, _: CanvasRequest, call: Call) -> Access:
        self.callers.append(call.signed_in_caller())
        if isinstance(self.answer, SvgxError):
            raise self.answer
        return Access(role=self.answer)

    async def wait_asked(self, number: int) -> None:
        """Wait until the state service was asked another `number` times."""
        asked = len(self.callers)
        async with asyncio.timeout(10):
            while len(self.callers) < asked + number:
                await pause()


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def canvases(
    backing: DevStack, state: State, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LiveCanvases]:
    """Return the live canvases of a gateway with short rounds, and without a cache of roles."""
    monkeypatch.setattr(role_rounds, "LINK_ROUND_SECONDS", 0.1)
    monkeypatch.setattr(role_rounds, "ACCOUNT_ROUND_SECONDS", 0.1)
    monkeypatch.setattr(canvas_roles, "MAX_AGE_SECONDS", 0.0)
    async with AsyncExitStack() as stack:
        bus = await Bus.connect(backing.nats_url("gateway"), "gateway", secrets.token_hex(6))
        stack.push_async_callback(bus.close)
        await stack.enter_async_context(answering(backing, CANVAS_ACCESS, state.access))
        roles = CanvasRoles(bus)
        live = LiveCanvases(bus, roles)
        stack.push_async_callback(live.stop)
        rounds = RoleRounds(live, roles)
        stack.push_async_callback(rounds.stop)
        rounds.start()
        yield live


@asynccontextmanager
async def joined(canvases: LiveCanvases, caller: Caller) -> AsyncIterator[Connection]:
    """Join the canvas with a new connection of an editor for the duration of the context."""
    connection = Connection(cast(WebSocket, None), caller, CanvasRole.EDITOR, wants_saved=False)
    canvas = await canvases.join(CANVAS_ID, connection)
    try:
        yield connection
    finally:
        await canvases.leave(canvas, connection)


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Unauthenticated(), Close.UNAUTHENTICATED),
        (Forbidden(), Close.FORBIDDEN),
        (NotFound(), Close.NOT_FOUND),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_lost_role_without_an_announcement_closes_the_connection(
    canvases: LiveCanvases, state: State, caller: Caller, answer: SvgxError, code: Close
) -> None:
    """Proves R-ACCESS-14: a connection without a role is closed, even if no announcement arrived."""
    async with joined(canvases, caller) as connection:
        state.answer = answer
        async with asyncio.timeout(10):
            assert (await connection.closing).code is code


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
async def test_changed_role_without_an_announcement_is_adopted(
    canvases: LiveCanvases, state: State, caller: Caller
) -> None:
    """Proves R-ACCESS-14: an open connection gets its changed role, even if no announcement arrived."""
    async with joined(canvases, caller) as connection:
        state.answer = CanvasRole.VIEWER
        async with asyncio.timeout(10):
            while connection.role.role is not CanvasRole.VIEWER:
                await pause()
        assert isinstance(connection.role, KnownRole)
        assert not connection.closing.done()


async def test_unanswered_round_delays_no_edit(canvases: LiveCanvases, state: State) -> None:
    """Proves R-ACCESS-14: while state does not answer, connections keep their roles, and edits do not wait."""
    async with joined(canvases, VISITOR) as connection, joined(canvases, ANN) as other:
        state.answer = Unavailable()
        await state.wait_asked(6)
        for each in (connection, other):
            assert each.is_known_editor
            assert each.role.doubt_count == 0
            assert not each.closing.done()


async def test_connections_of_the_same_caller_share_a_lookup(
    canvases: LiveCanvases, state: State
) -> None:
    """Proves R-ACCESS-14: a round has one lookup for all visitors of a link, and one for each account."""
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(joined(canvases, VISITOR))
        for number in range(2):
            account = Caller(f"u{number}", "ann", Role.EDITOR, "s")
            await stack.enter_async_context(joined(canvases, account))
        rounds = 5
        state.callers.clear()
        await state.wait_asked(3 * rounds)
        by_user = [each.user_id for each in state.callers]
        assert by_user.count(VISITOR.user_id) <= 2 * rounds
        assert {*by_user} == {VISITOR.user_id, "u0", "u1"}
