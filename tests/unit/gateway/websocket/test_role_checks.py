"""Role checks: cached roles, a role in doubt during its lookup, and failed lookups."""

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
from svgx_gateway.websocket import role_checks
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Connection, KnownRole, RoleInDoubt, RoleState
from svgx_gateway.websocket.role_checks import RoleChecks

ANN = Caller("u", "ann", Role.EDITOR, "s")
CANVAS = "00000000-0000-0000-0000-000000000001"


class FakeState:
    """A state service that answers each role lookup when the test sets the future in `asked`."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[asyncio.Future[CanvasRole]] = asyncio.Queue()

    async def ask(self, *_: object, **__: object) -> AccessReply:
        answer: asyncio.Future[CanvasRole] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait(answer)
        return AccessReply(role=await answer)


class FakeCanvas:
    """A canvas with one connection."""

    def __init__(self, role: CanvasRole) -> None:
        self.canvas_id = CANVAS
        self.connection = Connection(cast(WebSocket, None), ANN, role, wants_saved=False)
        self.connections = {self.connection}
        self.state_requests = 0

    async def request_client_state(self, _: Connection) -> None:
        self.state_requests += 1


def role_of(connection: Connection) -> RoleState:
    """Return the role, in a form that mypy does not narrow across an await."""
    return connection.role


async def announce(canvas_roles: CanvasRoles) -> None:
    """Announce that roles on the canvas changed."""
    await canvas_roles._changed(f"svgx.canvas.{CANVAS}.access", b"")


async def wait_for_known_role(connection: Connection) -> None:
    async with asyncio.timeout(5):
        await connection.wait_for_known_role()


async def test_role_from_before_a_change_is_not_cached() -> None:
    """An answer to a lookup that began before a change is not cached. Proves R-ACCESS-6."""
    state = FakeState()
    canvas_roles = CanvasRoles(cast(Bus, state))
    early = asyncio.create_task(canvas_roles.role(ANN, CANVAS))
    answer = await state.asked.get()
    await announce(canvas_roles)
    answer.set_result(CanvasRole.EDITOR)
    await early
    late = asyncio.create_task(canvas_roles.role(ANN, CANVAS))
    (await state.asked.get()).set_result(CanvasRole.VIEWER)
    assert await late is CanvasRole.VIEWER
    assert await canvas_roles.role(ANN, CANVAS) is CanvasRole.VIEWER, "the newer answer is cached"


async def test_forgotten_role_is_looked_up_again() -> None:
    """After `forget` a role is looked up again. Proves R-ACCESS-6."""
    state = FakeState()
    canvas_roles = CanvasRoles(cast(Bus, state))
    first = asyncio.create_task(canvas_roles.role(ANN, CANVAS))
    (await state.asked.get()).set_result(CanvasRole.EDITOR)
    await first
    canvas_roles.forget()
    second = asyncio.create_task(canvas_roles.role(ANN, CANVAS))
    (await state.asked.get()).set_result(CanvasRole.VIEWER)
    assert await second is CanvasRole.VIEWER


async def test_role_stays_in_doubt_until_the_newest_lookup_is_answered() -> None:
    """After two changes the role stays in doubt until the second lookup is answered. Proves R-ACCESS-6."""
    state = FakeState()
    checks, canvas = RoleChecks(CanvasRoles(cast(Bus, state))), FakeCanvas(CanvasRole.EDITOR)
    live = cast(LiveCanvas, canvas)
    checks.check_all(live)
    first = await state.asked.get()
    checks.check_all(live)
    second = await state.asked.get()
    first.set_result(CanvasRole.EDITOR)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert role_of(canvas.connection) == RoleInDoubt(CanvasRole.EDITOR, doubt_count=2)
    second.set_result(CanvasRole.VIEWER)
    await wait_for_known_role(canvas.connection)
    assert role_of(canvas.connection) == KnownRole(CanvasRole.VIEWER, doubt_count=2)
    await checks.stop()


async def test_promoted_viewer_is_asked_for_its_state_once() -> None:
    """A viewer that becomes an editor is asked for its state once. Proves R-ACCESS-9."""
    state = FakeState()
    checks, canvas = RoleChecks(CanvasRoles(cast(Bus, state))), FakeCanvas(CanvasRole.VIEWER)
    checks.check_all(cast(LiveCanvas, canvas))
    (await state.asked.get()).set_result(CanvasRole.EDITOR)
    await wait_for_known_role(canvas.connection)
    await checks.check(canvas.connection, cast(LiveCanvas, canvas))
    assert canvas.state_requests == 1


@pytest.mark.parametrize(
    ("retry_seconds", "failures", "code"),
    [
        (5.0, [Unavailable()], None),
        (0.0, [Unavailable()], Close.OVERLOADED),
        (5.0, [Forbidden()], Close.FORBIDDEN),
    ],
)
async def test_failed_role_lookup_is_repeated_then_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch,
    retry_seconds: float,
    failures: list[SvgxError],
    code: Close | None,
) -> None:
    """A lookup without an answer is repeated for a while, then the connection is closed.

    A refusal closes the connection at once. Proves R-ACCESS-6.
    """
    monkeypatch.setattr(role_checks, "RETRY_SECONDS", retry_seconds)
    monkeypatch.setattr(role_checks, "PAUSE_SECONDS", 0.0)
    state = FakeState()
    checks, canvas = RoleChecks(CanvasRoles(cast(Bus, state))), FakeCanvas(CanvasRole.EDITOR)
    checks.check_all(cast(LiveCanvas, canvas))
    for failure in failures:
        (await state.asked.get()).set_exception(failure)
    if code is None:
        (await state.asked.get()).set_result(CanvasRole.EDITOR)
        await wait_for_known_role(canvas.connection)
        assert not canvas.connection.closing.done()
    else:
        async with asyncio.timeout(5):
            assert (await canvas.connection.closing).code is code
        assert isinstance(canvas.connection.role, RoleInDoubt)
