"""Admission: the number of WebSockets that may be open on one gateway, in total and for each account.

`svgx_gateway.websocket.transport.protocol` limits the frames and bytes of one connection.
"""

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import prometheus_client

from svgx_common.contract.errors import Overloaded
from svgx_gateway.ratelimit.key import RateLimitKey
from svgx_gateway.ratelimit.limiter import LINK_FACTOR

REFUSED = prometheus_client.Counter(
    "svgx_engine_websocket_refused",
    "WebSockets refused or closed by a limit: of all `connections`, of an account's connections (`identity`), of"
    " handshakes (`handshake_rate`), of frames and large messages (`rate`), or of the time until the first message"
    " (`handshake`).",
    ["limit"],
)
for _limit in ("connections", "identity", "handshake_rate", "rate", "handshake"):
    REFUSED.labels(_limit)
SLOWED = prometheus_client.Counter(
    "svgx_engine_websocket_slowed_seconds",
    "Seconds for which WebSockets were not read, because their clients sent more than a limit.",
)


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """The limits of one gateway for the number of its WebSockets, their first message, and the size of a message."""

    connections: int
    """Largest number of open connections."""
    per_identity: int
    """Largest number of open connections of one account."""
    first_message_seconds: float
    """Time limit for the first message of a connected client, in seconds."""
    max_message_bytes: int
    """Largest size of a message, in bytes."""


class Admission:
    """Counts the open connections, in total and for each account, and refuses connections beyond the limits."""

    def __init__(self, limits: SocketLimits) -> None:
        self.limits = limits
        self._open = 0
        self._open_by_account: Counter[str] = Counter()

    def admit_to_gateway(self) -> "CountContext | None":
        """Return a context that counts one more connection, or None when the gateway has reached its limit.

        Enter the context before the next await, because other connections may be admitted during the await.
        """
        if self._open >= self.limits.connections:
            REFUSED.labels("connections").inc()
            return None
        return CountContext(self._add)

    def admit(self, key: RateLimitKey) -> "CountContext":
        """Return a context that counts one more connection of an account, or of a visitor and the share link.

        Raises `Overloaded` at a limit. Enter the context before the next await.
        """
        limit = self.limits.per_identity
        if key.shared is None:
            counted = self.admit_account(key.key)
            limits = f"{limit} connections of one account"
        else:
            counted = self.admit_visitor(key.key, key.shared)
            limits = (
                f"{limit} connections of one address, and {limit * LINK_FACTOR} of one share link"
            )
        if counted is None:
            raise Overloaded(f"at most {limits}")
        return counted

    def admit_account(self, key: str, *, factor: int = 1) -> "CountContext | None":
        """Return a context that counts one more connection of the account, or None when the account is at its limit.

        `key` is the account's rate-limit key, or the key of an address or share link. `factor` multiplies the limit.
        Enter the context before the next await.
        """
        if self._open_by_account[key] >= self.limits.per_identity * factor:
            REFUSED.labels("identity").inc()
            return None
        return CountContext(functools.partial(self._add_to_account, key))

    def admit_visitor(self, address: str, link: str) -> "CountContext | None":
        """Return a context that counts one more connection of an address and of a share link.

        Return None when the address has as many connections as an account may have, or when all visitors of the link
        together have `LINK_FACTOR` times as many. Enter the context before the next await.
        """
        by_address = self.admit_account(address)
        by_link = by_address and self.admit_account(link, factor=LINK_FACTOR)
        return by_address and by_link and by_address + by_link

    def _add(self, number: int) -> None:
        self._open += number

    def _add_to_account(self, key: str, number: int) -> None:
        self._open_by_account[key] += number
        if not self._open_by_account[key]:
            del self._open_by_account[key]


class CountContext:
    """A context manager that adds 1 to some counts until its end.

    It lasts as long as a connection. A generator-based context manager would take 0.5 kB, and an `ExitStack` 1 kB.
    """

    __slots__ = ("_counts",)

    def __init__(self, *counts: Callable[[int], None]) -> None:
        self._counts = counts

    def __enter__(self) -> tuple[Callable[[int], None], ...]:
        """Add 1 to each count, and return the functions that change the counts."""
        for add in self._counts:
            add(1)
        return self._counts

    def __exit__(self, *_: object) -> None:
        """Subtract 1 from each count."""
        self.end()

    def end(self) -> None:
        """Subtract 1 from each count. Further calls have no effect."""
        counts, self._counts = self._counts, ()
        for add in counts:
            add(-1)

    def __add__(self, other: "CountContext") -> "CountContext":
        """Return a context for the counts of both contexts."""
        return CountContext(*self._counts, *other._counts)

    def include(self, other: "CountContext") -> None:
        """Enter `other`, which then ends together with this context."""
        self._counts += other.__enter__()

    def hand_over(self) -> "CountContext":
        """Move the counts of this context into a new context that is entered already. Return the new context."""
        counts, self._counts = self._counts, ()
        return CountContext(*counts)
