"""What each connection may do, when that may have changed while it is connected."""

import asyncio
import time

from svgx_common.contract.close_codes import Close, close_code
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.policy import CanvasRole
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Connection

AT_ONCE = 16
"""Roles looked up at a time."""

PATIENCE = 30.0
"""Seconds a role is looked up again while nobody can tell it. Meanwhile its connection's edits wait."""

PAUSE = 0.25
"""Seconds between two tries."""


class Roles:
    """Looks roles up again. A connection's edits wait until the newest question about it is answered."""

    def __init__(self, canvas_roles: CanvasRoles) -> None:
        self._canvas_roles = canvas_roles
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._checks: set[asyncio.Task[None]] = set()

    def doubt(self, canvas: LiveCanvas) -> None:
        """The roles on a canvas may have changed."""
        for connection in canvas.connections:
            connection.doubts += 1
            connection.role_known.clear()
            task = asyncio.create_task(self.check(connection, canvas))
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)

    async def check(self, connection: Connection, canvas: LiveCanvas) -> None:
        """Give a connection the role it has now, or end it."""
        doubts = connection.doubts
        try:
            role = await self._look_up(connection, canvas)
            if connection.doubts != doubts:
                return  # changed once more: the later check has the answer
            promoted = role.allows(CanvasRole.EDITOR) and not connection.may_edit
            connection.role = role
            connection.role_known.set()
            if promoted:
                await canvas.ask_for_all(connection)
        except SvgxError as error:
            connection.close(close_code(error), error.detail)

    async def stop(self) -> None:
        """Look nothing up any more."""
        for task in self._checks:
            task.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)

    async def _look_up(self, connection: Connection, canvas: LiveCanvas) -> CanvasRole:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                async with self._turns:
                    return await self._canvas_roles.role(connection.caller, canvas.canvas_id)
            except SvgxError as error:
                # Past the end nobody can say what is still allowed: the client comes back, and brings what it drew.
                passing = close_code(error) is Close.OVERLOADED
                if not passing or time.monotonic() > end or connection not in canvas.connections:
                    raise
            await asyncio.sleep(PAUSE)
