"""Rounds through the roles of all open connections, because the announcement of a changed role may be lost.

The state service announces a change after the commit. If the service ends before the announcement, the announcement is
lost. A role by a share link also depends on the account that created the link, and auth's broadcast about this account
is lost while no replica of state runs.
"""

import asyncio
import functools
from collections import defaultdict
from weakref import ref

import structlog

from svgx_common.background import BackgroundTasks
from svgx_common.contract.close_codes import close_code
from svgx_common.contract.errors import SvgxError
from svgx_common.contract.policy import CanvasRole
from svgx_gateway.identity.canvas_roles import CanvasRoles, RoleKey, role_key
from svgx_gateway.websocket.connection import Connection, KnownRole
from svgx_gateway.websocket.live_canvases import LiveCanvases

log = structlog.get_logger(__name__)

LINK_ROUND_SECONDS = 30.0
"""Length of a round through the roles of callers with a share link, in seconds.

The gateway reads the revoked access tokens in the same interval.
"""

ACCOUNT_ROUND_SECONDS = 300.0
"""Length of a round through the roles of callers without a share link, in seconds.

It is longer, because there are many such callers, and their announcements are lost only if state ends between a commit
and its announcement.
"""

SHORTEST_PAUSE_SECONDS = 0.02
"""Shortest pause between two lookups of a round, in seconds. With many callers, a round takes longer instead."""


class RoleRounds:
    """The rounds of one gateway. A round looks up the role of each caller on each canvas once.

    Edits do not wait for these lookups, and a connection keeps its role while the state service does not answer. When
    an answer differs from the role of an open connection, the role is checked as after an announcement.
    """

    def __init__(self, live_canvases: LiveCanvases, canvas_roles: CanvasRoles) -> None:
        self._live_canvases = live_canvases
        self._canvas_roles = canvas_roles
        self._background = BackgroundTasks()

    def start(self) -> None:
        """Repeat the rounds until `stop`."""
        for name, with_link in (("roles by share links", True), ("roles of accounts", False)):
            step = functools.partial(self._run_round, with_link=with_link)
            self._background.repeat(f"look up {name}", step)

    async def stop(self) -> None:
        """End the rounds."""
        await self._background.stop()

    async def _run_round(self, *, with_link: bool) -> None:
        """Look up the roles of all callers with or without a share link, one after the other, spread over the round.

        All visitors of a link share one lookup. All connections of an account to one canvas share one too.
        """
        length = LINK_ROUND_SECONDS if with_link else ACCOUNT_ROUND_SECONDS
        # Weak references, because a connection that ends during the round must not stay in memory.
        groups: dict[tuple[str, RoleKey], list[ref[Connection]]] = defaultdict(list)
        for canvas_id, connection in self._live_canvases.connections():
            if (connection.caller.link_id is not None) is with_link:
                groups[canvas_id, role_key(connection.caller)].append(ref(connection))
        if not groups:
            await asyncio.sleep(length)
        pause = max(length / max(len(groups), 1), SHORTEST_PAUSE_SECONDS)
        for (canvas_id, _), group in groups.items():
            await self._compare(canvas_id, group)
            await asyncio.sleep(pause)

    async def _compare(self, canvas_id: str, group: list[ref[Connection]]) -> None:
        """Look up the role of connections with the same caller. Check each connection that has another role."""
        caller = next((each.caller for each in self._joined(canvas_id, group)), None)
        if caller is None:
            return
        role: CanvasRole | None = None
        try:
            role = await self._canvas_roles.role(caller, canvas_id)
        except SvgxError as error:
            if not close_code(error).is_final:
                return
        changed = [
            each
            for each in self._joined(canvas_id, group)
            if isinstance(each.role, KnownRole) and each.role.role is not role
        ]
        for connection in changed:
            self._live_canvases.check_role_later(connection, canvas_id)
        if changed:
            log.info(
                "a role changed without an announcement",
                canvas_id=canvas_id,
                user_id=caller.user_id,
                connections=len(changed),
            )

    def _joined(self, canvas_id: str, group: list[ref[Connection]]) -> list[Connection]:
        """Return the connections of the group that have not left the canvas."""
        canvas = self._live_canvases.live(canvas_id)
        found = (each() for each in group)
        return [each for each in found if canvas is not None and each in canvas.connections]
