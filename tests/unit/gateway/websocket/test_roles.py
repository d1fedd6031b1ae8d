"""Roles that change: what is remembered, and what a connection may do meanwhile."""

import asyncio
from typing import cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.close_codes import Close
from svgx_common.contract.errors import Forbidden, SvgxError, Unavailable
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.contract.state import Access as AccessReply
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.websocket import roles as module
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.roles import Roles

ANN = Caller("u", "ann", Role.EDITOR, "s")
CANVAS = "00000000-0000-0000-0000-000000000001"


class State:
    """Answers what the role is, when it is told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[asyncio.Future[CanvasRole]] = asyncio.Queue()

    async def ask(self, *_: object, **__: object) -> AccessReply:
        answer: asyncio.Future[CanvasRole] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(answer)
        return AccessReply(role=await answer)


class Canvas:
    """A canvas with one connection on it."""

    def __init__(self, role: CanvasRole) -> None:
        self.canvas_id = CANVAS
        self.connection = Connection(cast(WebSocket, None), ANN, role, wants_saved=False)
        self.connections = {self.connection}
        self.asked_for_all = 0

    async def ask_for_all(self, _: Connection) -> None:
        self.asked_for_all += 1


async def announce(access: CanvasRoles) -> None:
    """Say on the bus that roles on the canvas changed."""
    await access._changed(f"svgx.canvas.{CANVAS}.access", b"")


async def settle(connection: Connection) -> None:
    async with asyncio.timeout(5):
        await connection.role_known.wait()


async def test_an_answer_older_than_a_change_is_not_remembered() -> None:
    """Proves R-ACCESS-6."""
    state = State()
    access = CanvasRoles(cast(Bus, state))
    early = asyncio.create_task(access.role(ANN, CANVAS))
    answer = await state.asked.get()
    await announce(access)
    answer.set_result(CanvasRole.EDITOR)
    await early
    late = asyncio.create_task(access.role(ANN, CANVAS))
    (await state.asked.get()).set_result(CanvasRole.VIEWER)
    assert await late is CanvasRole.VIEWER
    assert await access.role(ANN, CANVAS) is CanvasRole.VIEWER, "and that one is"


async def test_what_may_have_been_missed_is_asked_again() -> None:
    """Proves R-ACCESS-6: a change announced while the bus was away."""
    state = State()
    access = CanvasRoles(cast(Bus, state))
    first = asyncio.create_task(access.role(ANN, CANVAS))
    (await state.asked.get()).set_result(CanvasRole.EDITOR)
    await first
    access.forget()
    second = asyncio.create_task(access.role(ANN, CANVAS))
    (await state.asked.get()).set_result(CanvasRole.VIEWER)
    assert await second is CanvasRole.VIEWER


async def test_of_two_changes_the_last_one_counts() -> None:
    """Proves R-ACCESS-6: nothing is written between them, whichever answer comes first."""
    state = State()
    roles, canvas = Roles(CanvasRoles(cast(Bus, state))), Canvas(CanvasRole.EDITOR)
    live = cast(LiveCanvas, canvas)
    roles.doubt(live)
    first = await state.asked.get()
    roles.doubt(live)
    second = await state.asked.get()
    first.set_result(CanvasRole.EDITOR)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not canvas.connection.role_known.is_set()
    second.set_result(CanvasRole.VIEWER)
    await settle(canvas.connection)
    assert canvas.connection.role is CanvasRole.VIEWER
    await roles.stop()


async def test_who_becomes_an_editor_is_asked_once() -> None:
    """Proves R-ACCESS-9."""
    state = State()
    roles, canvas = Roles(CanvasRoles(cast(Bus, state))), Canvas(CanvasRole.VIEWER)
    roles.doubt(cast(LiveCanvas, canvas))
    (await state.asked.get()).set_result(CanvasRole.EDITOR)
    await settle(canvas.connection)
    await roles.check(canvas.connection, cast(LiveCanvas, canvas))
    assert canvas.asked_for_all == 1


@pytest.mark.parametrize(
    ("patience", "failures", "code"),
    [
        (5.0, [Unavailable()], None),
        (0.0, [Unavailable()], Close.OVERLOADED),
        (5.0, [Forbidden()], Close.FORBIDDEN),
    ],
)
async def test_a_role_nobody_can_tell_is_asked_for_a_while(
    monkeypatch: pytest.MonkeyPatch, patience: float, failures: list[SvgxError], code: Close | None
) -> None:
    """Proves R-ACCESS-6: edits wait, and then the connection ends; none is dropped in silence."""
    monkeypatch.setattr(module, "PATIENCE", patience)
    monkeypatch.setattr(module, "PAUSE", 0.0)
    state = State()
    roles, canvas = Roles(CanvasRoles(cast(Bus, state))), Canvas(CanvasRole.EDITOR)
    roles.doubt(cast(LiveCanvas, canvas))
    for failure in failures:
        (await state.asked.get()).set_exception(failure)
    if code is None:
        (await state.asked.get()).set_result(CanvasRole.EDITOR)
        await settle(canvas.connection)
        assert not canvas.connection.closing.done()
    else:
        async with asyncio.timeout(5):
            assert (await canvas.connection.closing).code is code
        assert not canvas.connection.role_known.is_set()
