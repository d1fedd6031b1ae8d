"""Sessions, tokens and keys that were revoked before they expired (docs/decisions/0009).

The gateway keeps these revocations in memory. It receives each revocation in a broadcast of the auth service, and reads
the list of revocations at the start, after a reconnect and at every poll. An entry is removed when the tokens that it
concerns have expired.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from prometheus_client import Gauge

from svgx_common.contract.errors import Unauthenticated, Unavailable
from svgx_common.contract.revocations import (
    LIST_REVOCATIONS,
    REVOKED,
    ListRevocationsRequest,
    Revocation,
    RevocationList,
)
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.watched_copy import RETRY_SECONDS, WatchedCopy

OVERLAP = timedelta(minutes=1)
"""Each read also covers this length of time before the previous read, because a transaction may commit late."""

FIRST_READ_SECONDS = 3.0
"""Longest time, in seconds, that the start waits for the first read. Beyond it, the gateway starts, and refuses all
tokens and API keys until auth answers."""

ACCOUNT_CHANGED = "the account of the API key has changed"
"""The reason that `reason` returns for an API key after its account's access tokens were revoked.

The key itself may still be valid, for example after a change of the account's role. So the gateway asks auth about the
key again.
"""

REVOKED_COUNT = Gauge(
    "svgx_engine_revoked", "Sessions, accounts and API keys in the list of revocations."
)


class AccountChanged(Unauthenticated):
    """The account of an API key has changed since auth's answer about the key, which may still be valid."""


class Revocations:
    """The revocations in one gateway's memory. Until auth has answered once, every token and API key is refused."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._sessions: dict[str, float] = {}
        """By session id or API key id: the Unix time, in seconds, at which the entry may be removed."""
        self._accounts: dict[str, tuple[int, float]] = {}
        """By user id: the lowest valid token version, and the Unix time at which the entry may be removed."""
        self._on_revoked: list[Callable[[], None]] = []
        self._as_of: datetime | None = None
        """Time of the previous read on the auth service's clock; None when the next read must be complete."""
        self._copy = WatchedCopy(
            "revocations",
            bus,
            self._read,
            subject=REVOKED.subject,
            on_broadcast=self._on_broadcast,
        )
        REVOKED_COUNT.set_function(lambda: len(self._sessions) + len(self._accounts))

    async def start(self) -> None:
        """Keep the revocations current until `stop`. Wait for the first read, at most `FIRST_READ_SECONDS`.

        The start waits because a gateway without the list accepts each WebSocket and closes it at once with 1013.
        """
        self._bus.on_reconnect(self._make_next_read_complete)
        await self._copy.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_READ_SECONDS):
                await self._copy.first_attempt()

    async def stop(self) -> None:
        """Stop reading the revocations."""
        await self._copy.stop()

    def on_revoked(self, callback: Callable[[], None]) -> None:
        """Call `callback()` after new revocations have arrived."""
        self._on_revoked.append(callback)

    def reason(self, caller: Caller) -> str | None:
        """Return the reason for which the caller's token or key is no longer accepted, or None."""
        version, _ = self._accounts.get(caller.user_id, (0, 0.0))
        if caller.session_id in self._sessions:
            return f"the {caller.credential} has been revoked"
        if caller.token_version < version:
            return ACCOUNT_CHANGED if caller.by_key else "the access token has been revoked"
        return None

    def revoked(self, caller: Caller) -> bool:
        """Return whether the caller's token or key is no longer accepted."""
        return self.reason(caller) is not None

    def check(self, caller: Caller) -> None:
        """Raise `Unauthenticated` for a revoked token or key, and `Unavailable` before the first answer of auth.

        For the reason `ACCOUNT_CHANGED`, the error is `AccountChanged`.
        """
        if not self._copy.complete:
            raise Unavailable(
                "it is not known yet which sessions have ended; try again",
                retry_after=RETRY_SECONDS,
            )
        reason = self.reason(caller)
        if reason == ACCOUNT_CHANGED:
            raise AccountChanged(reason)
        if reason is not None:
            advice = "" if caller.by_key else "; refresh it, or log in"
            raise Unauthenticated(f"{reason}{advice}")

    async def ready(self) -> None:
        """Raise `ConnectionError` until the auth service has answered once. The health report calls this."""
        await self._copy.ready()

    async def _on_broadcast(self, _: str, content: bytes) -> None:
        self._add(RevocationList.model_validate_json(content).items)

    async def _make_next_read_complete(self) -> None:
        self._as_of = None

    async def _read(self) -> None:
        before = self._as_of
        since = None if before is None else before - OVERLAP
        answer = await self._bus.ask(LIST_REVOCATIONS, ListRevocationsRequest(since=since))
        # A reconnect during the request has set `_as_of` to None. It stays None, so that the next read is complete.
        if self._as_of is before:
            self._as_of = answer.as_of
        self._add(answer.items)
        # Compare with both clocks, because an entry that is removed while one of them is ahead would not come back.
        if answer.as_of is not None:
            self._remove_expired(min(time.time(), answer.as_of.timestamp()))

    def _add(self, items: list[Revocation]) -> None:
        added = False
        for item in items:
            if item.session_id is not None:
                added |= item.session_id not in self._sessions
                self._sessions[item.session_id] = item.until
            elif item.before_version is not None:
                known, _ = self._accounts.get(item.user_id, (0, 0.0))
                if item.before_version > known:
                    added = True
                    self._accounts[item.user_id] = (item.before_version, item.until)
        if added:
            for callback in self._on_revoked:
                callback()

    def _remove_expired(self, now: float) -> None:
        self._sessions = {key: until for key, until in self._sessions.items() if until > now}
        self._accounts = {key: value for key, value in self._accounts.items() if value[1] > now}
