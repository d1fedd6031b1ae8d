"""Roles on canvases: state decides, the gateway remembers the answer for seconds."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from svgx_common.contract.errors import Forbidden
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import CANVAS_ACCESS, CanvasRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller

REMEMBER = 5.0
"""Seconds an answer is reused. A change is announced on the canvas's `access` channel and forgotten at once."""

MAX_ENTRIES = 100_000


class Access:
    """Asks state for roles, at most every `REMEMBER` seconds for each caller and canvas."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: OrderedDict[str, dict[tuple[str, str], tuple[float, CanvasRole]]] = (
            OrderedDict()
        )
        self._changes = 0
        self._on_change: list[Callable[[str], Awaitable[None]]] = []

    async def start(self) -> None:
        """Forget what changes."""
        await self._bus.listen("svgx.canvas.*.access", self._changed)

    async def require(self, caller: Caller, canvas_id: str, needed: CanvasRole) -> CanvasRole:
        """The caller's role, at least `needed`. Raises `NotFound` (no such canvas) or `Forbidden`."""
        role = await self.role(caller, canvas_id)
        if not role.allows(needed):
            raise Forbidden(f"this needs the role {needed} on the canvas; yours is {role}")
        return role

    async def role(self, caller: Caller, canvas_id: str) -> CanvasRole:
        """The caller's role. Raises `NotFound` or `Forbidden`."""
        key = (caller.user_id, caller.role)
        known = self._known.get(canvas_id, {}).get(key)
        now = time.monotonic()
        if known is not None and now - known[0] < REMEMBER:
            return known[1]
        changes = self._changes
        answer = await self._bus.ask(
            CANVAS_ACCESS, CanvasRequest(canvas_id=canvas_id), caller=caller
        )
        if self._changes == changes:
            # Else the answer may be older than the change: it is not for those who ask later.
            self._known.setdefault(canvas_id, {})[key] = (now, answer.role)
            self._known.move_to_end(canvas_id)
            while len(self._known) > MAX_ENTRIES:
                self._known.popitem(last=False)
        return answer.role

    def forget(self) -> None:
        """Changes may have been missed."""
        self._changes += 1
        self._known.clear()

    def on_change(self, callback: Callable[[str], Awaitable[None]]) -> None:
        """Call `callback(canvas_id)` when roles on a canvas changed, after they are forgotten here."""
        self._on_change.append(callback)

    async def _changed(self, subject: str, _: bytes) -> None:
        canvas_id = subject.split(".")[2]
        self._changes += 1
        self._known.pop(canvas_id, None)
        for callback in self._on_change:
            await callback(canvas_id)
