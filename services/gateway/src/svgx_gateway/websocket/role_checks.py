"""The role checks of open connections: a role is looked up again when it may have changed."""

import asyncio
import time

from svgx_common.background import BackgroundTasks
from svgx_common.contract.close_codes import close_code
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.policy import CanvasRole
from svgx_gateway.identity.canvas_roles import CanvasRoles
from svgx_gateway.websocket.canvas import LiveCanvas
from svgx_gateway.websocket.connection import Connection

CONCURRENT_LOOKUPS = 16
"""Largest number of lookups that run at a time. Further lookups wait."""

RETRY_SECONDS = 30.0
"""Time limit for all attempts at a lookup, in seconds. The connection's edits wait.

Beyond the limit, the connection is closed.
"""

PAUSE_SECONDS = 0.25
"""Seconds between two attempts at a lookup."""


class RoleChecks:
    """The role checks of one gateway. A connection's edits wait until the newest check of its role has an answer."""

    def __init__(self, canvas_roles: CanvasRoles) -> None:
        self._canvas_roles = canvas_roles
        self._lookups = asyncio.Semaphore(CONCURRENT_LOOKUPS)
        self._background = BackgroundTasks()

    def check_all(self, canvas: LiveCanvas) -> None:
        """Check the role of every connection in the background, because the roles on the canvas may have changed."""
        for connection in canvas.connections:
            self.check_later(connection, canvas)

    def check_later(self, connection: Connection, canvas: LiveCanvas) -> None:
        """Check the role of one connection in the background. The connection's edits wait until the role is known."""
        connection.doubt_role()
        self._background.start("role check", self.check(connection, canvas))

    async def check(self, connection: Connection, canvas: LiveCanvas) -> None:
        """Look up a connection's role and adopt it. Close the connection if there is no role, or if the lookup fails.

        If a viewer has become an editor, ask the client for its edits: the gateway has discarded the edits that the
        client sent as a viewer.
        """
        doubt_count = connection.role.doubt_count
        try:
            role = await self._look_up(connection, canvas)
            if connection.settle_role(role, doubt_count):
                await canvas.request_client_state(connection)
        except SvgxError as error:
            connection.close(close_code(error), error.detail)

    async def stop(self) -> None:
        """Cancel all checks, and wait until they have ended."""
        await self._background.stop()

    async def _look_up(self, connection: Connection, canvas: LiveCanvas) -> CanvasRole:
        end = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                async with self._lookups:
                    return await self._canvas_roles.role(connection.caller, canvas.canvas_id)
            except SvgxError as error:
                # After `end` the connection is closed; the client reconnects and sends its unsaved edits again.
                if (
                    close_code(error).is_final
                    or time.monotonic() > end
                    or connection not in canvas.connections
                ):
                    raise
            await asyncio.sleep(PAUSE_SECONDS)
