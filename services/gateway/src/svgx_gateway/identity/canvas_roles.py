"""Roles of callers on canvases. The state service decides; the gateway caches the answers for `MAX_AGE_SECONDS`."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from svgx_common.contract.errors import Forbidden
from svgx_common.contract.policy import CanvasRole
from svgx_common.contract.state import CANVAS_ACCESS, CanvasRequest
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.observability.cache_use import cache_counters

HITS, MISSES = cache_counters("canvas_roles")

MAX_AGE_SECONDS = 5.0
"""Lifetime of a cached role, in seconds. An announced change of the canvas's roles removes it earlier."""

MAX_CANVASES = 100_000
"""Largest number of canvases with cached roles.

Beyond it, the canvas that has had no new entry for the longest time is removed.
"""


RoleKey = tuple[str, str, str | None]
"""A caller's user id, role and share link. Callers with the same key have the same role on a canvas."""


_CachedRoles = OrderedDict[RoleKey, tuple[float, CanvasRole]]
"""The roles on one canvas: the time of each request, and the answer. The newest request is the last."""

_NO_ROLES = _CachedRoles()


def role_key(caller: Caller) -> RoleKey:
    """Return everything about a caller that decides its role on a canvas."""
    return caller.user_id, caller.role, caller.link_id


class CanvasRoles:
    """The roles of callers on canvases. A role in use is requested from the state service every `MAX_AGE_SECONDS`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._cache: OrderedDict[str, _CachedRoles] = OrderedDict()
        """The roles by canvas id. The canvas with the newest role is the last."""
        self._changes = 0
        """Number of announced changes, and of calls of `forget`, so far."""
        self._on_change: list[Callable[[str], Awaitable[None]]] = []

    async def start(self) -> None:
        """Listen to announced changes."""
        await self._bus.listen("svgx.canvas.*.access", self._changed)

    async def require(self, caller: Caller, canvas_id: str, needed: CanvasRole) -> CanvasRole:
        """Return the caller's role. Raises `Forbidden` if the role is below `needed`, and the errors of `role`."""
        role = await self.role(caller, canvas_id)
        if not role.allows(needed):
            raise Forbidden(f"this needs the role {needed} on the canvas; yours is {role}")
        return role

    async def role(self, caller: Caller, canvas_id: str) -> CanvasRole:
        """Return the caller's role.

        Raise `NotFound` for an unknown canvas, `Forbidden` for a caller without a role, and `Unauthenticated` for a
        visitor with a revoked link.
        """
        key = role_key(caller)
        cached = self._cache.get(canvas_id, _NO_ROLES).get(key)
        now = time.monotonic()
        if cached is not None and now - cached[0] < MAX_AGE_SECONDS:
            HITS.inc()
            return cached[1]
        MISSES.inc()
        changes = self._changes
        answer = await self._bus.ask(
            CANVAS_ACCESS, CanvasRequest(canvas_id=canvas_id), caller=caller
        )
        # When a change was announced during the request, the answer may be outdated, so it is not cached.
        if self._changes == changes:
            self._store(canvas_id, key, now, answer.role)
        return answer.role

    def forget(self) -> None:
        """Empty the cache, because announcements may have been missed."""
        self._changes += 1
        self._cache.clear()

    def on_change(self, callback: Callable[[str], Awaitable[None]]) -> None:
        """Call `callback(canvas_id)` after each announced change. By then, the canvas's roles are out of the cache."""
        self._on_change.append(callback)

    def _store(self, canvas_id: str, key: RoleKey, now: float, role: CanvasRole) -> None:
        """Cache a role, and remove outdated roles. Otherwise a canvas would keep the roles of all its visitors."""
        roles = self._cache.setdefault(canvas_id, OrderedDict())
        roles[key] = now, role
        roles.move_to_end(key)
        self._cache.move_to_end(canvas_id)
        outdated = now - MAX_AGE_SECONDS
        while _first_time(roles) < outdated:
            roles.popitem(last=False)
        while len(self._cache) > MAX_CANVASES or _last_time(self._oldest()) < outdated:
            self._cache.popitem(last=False)

    def _oldest(self) -> _CachedRoles:
        return next(iter(self._cache.values()))

    async def _changed(self, subject: str, _: bytes) -> None:
        canvas_id = subject.split(".")[2]
        self._changes += 1
        self._cache.pop(canvas_id, None)
        for callback in self._on_change:
            await callback(canvas_id)


def _first_time(roles: _CachedRoles) -> float:
    return next(iter(roles.values()))[0]


def _last_time(roles: _CachedRoles) -> float:
    return next(reversed(roles.values()))[0]
