"""Which access tokens count no more before their time (docs/decisions/0009).

Kept in memory: heard from auth's broadcast, and asked for at the start, after a reconnect and now and then. An entry is
forgotten when the tokens it is about have ended by themselves.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge

from svgx_common.background import repeat
from svgx_common.contract import subjects
from svgx_common.contract.errors import SvgxError, Unauthenticated, Unavailable
from svgx_common.contract.revocations import (
    LIST_REVOCATIONS,
    ListRevocationsRequest,
    Revocation,
    RevocationList,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller

log = structlog.get_logger(__name__)

POLL = 30.0
"""Seconds between two looks for broadcasts that were missed without a sign of it."""

RETRY = 1.0
"""Seconds until auth is asked again after it did not answer."""

OVERLAP = timedelta(minutes=1)
"""How far back each look goes before the end of the last one: a transaction may commit late."""

REVOKED = Gauge("svgx_engine_revoked", "Sessions and accounts whose access tokens are refused.")


class Revocations:
    """Knows what counts no more. Until it has heard from auth once, it lets nobody through."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._sessions: dict[str, float] = {}
        self._accounts: dict[str, tuple[int, float]] = {}
        self._on_revoked: list[Callable[[], None]] = []
        self._as_of: datetime | None = None
        self._known = False
        self._said = False
        """Whether the log has a line about the present silence of auth."""
        self._wake = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        REVOKED.set_function(lambda: len(self._sessions) + len(self._accounts))

    async def start(self) -> None:
        """Listen first, then ask: nothing falls between."""
        await self._bus.listen(subjects.REVOKED, self._heard)
        self._bus.on_reconnect(self._reconnected)
        self._asking = asyncio.create_task(repeat("ask for revocations", self._ask))

    def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    def on_revoked(self, callback: Callable[[], None]) -> None:
        """Call `callback()` when more is revoked than before."""
        self._on_revoked.append(callback)

    def revoked(self, caller: Caller) -> bool:
        """Whether the token that names this caller counts no more."""
        version, _ = self._accounts.get(caller.user_id, (0, 0.0))
        return caller.session_id in self._sessions or caller.token_version < version

    def check(self, caller: Caller) -> None:
        """Raise `Unauthenticated` for a token that counts no more, `Unavailable` before that can be known."""
        if not self._known:
            raise Unavailable(
                "it is not known yet who has signed out; try again", retry_after=RETRY
            )
        if self.revoked(caller):
            raise Unauthenticated("the access token has been revoked; refresh it, or sign in")

    async def ready(self) -> None:
        """Return when auth has been heard from; for the health report."""
        if not self._known:
            raise ConnectionError

    async def _heard(self, _: str, content: bytes) -> None:
        self._learn(RevocationList.model_validate_json(content).items)

    async def _reconnected(self) -> None:
        self._as_of = None
        self._wake.set()

    async def _ask(self) -> None:
        self._wake.clear()
        since = None if self._as_of is None else self._as_of - OVERLAP
        try:
            found = await self._bus.ask(LIST_REVOCATIONS, ListRevocationsRequest(since=since))
        except SvgxError as error:
            if not self._said:
                log.warning("auth does not say what is revoked; asking on", code=error.code)
            self._said = True
            await asyncio.sleep(RETRY)
            return
        self._as_of = found.as_of
        self._known = True
        self._said = False
        self._learn(found.items)
        self._forget(time.time())
        try:
            async with asyncio.timeout(POLL):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _learn(self, items: list[Revocation]) -> None:
        more = False
        for item in items:
            if item.session_id is not None:
                more |= item.session_id not in self._sessions
                self._sessions[item.session_id] = item.until
            elif item.before_version is not None:
                known, _ = self._accounts.get(item.user_id, (0, 0.0))
                if item.before_version > known:
                    more = True
                    self._accounts[item.user_id] = (item.before_version, item.until)
        if more:
            for callback in self._on_revoked:
                callback()

    def _forget(self, now: float) -> None:
        self._sessions = {key: until for key, until in self._sessions.items() if until > now}
        self._accounts = {key: value for key, value in self._accounts.items() if value[1] > now}
