"""Who is on a canvas: y-protocols awareness states, merged. No I/O; the clock is passed in."""

from dataclasses import dataclass

from svgx_yjs.awareness import State, encode

OUTDATED = 30.0
"""Seconds after which a state that nobody renewed is dropped (y-protocols, awareness.js: outdatedTimeout)."""

MAX_STATES = 20_000
"""States kept on one canvas."""

MAX_BYTES = 8 * 1024 * 1024
"""Bytes of JSON kept on one canvas: every newcomer is sent all of it."""

MAX_BROADCAST = 256 * 1024
"""Bytes of JSON past which a broadcast takes no further state: larger messages would be kept by the bus for a while."""


@dataclass(slots=True)
class _Known:
    author: str
    state: State
    at: float


class Participants:
    """The awareness states of one canvas. Times are monotonic seconds.

    A client belongs to the user who showed it first, until it has been gone for a while: nobody else speaks for it.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._changed: dict[int, State] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return sum(known.state.present for known in self._known.values())

    def receive(self, author: str, state: State, now: float) -> None:
        """Take in what a user's client says, unless it is old, another's, or more than is kept."""
        known = self._known.get(state.client)
        if known is None:
            if len(self._known) >= MAX_STATES:
                return
        elif known.author != author or not state.supersedes(known.state):
            return
        grown = self._bytes + state.size - (known.state.size if known else 0)
        if state.present and grown > MAX_BYTES:
            return
        self._keep(author, state, now)

    def expire(self, now: float) -> None:
        """Drop the states nobody renewed: their gateway has gone without saying so."""
        for client, known in list(self._known.items()):
            if now - known.at < OUTDATED:
                continue
            if known.state.present:
                self._keep(known.author, known.state.left(), now)
            else:
                self._bytes -= known.state.size
                del self._known[client]

    def take_broadcast(self) -> bytes | None:
        """States that changed since they were broadcast, or None; ask again until there are none."""
        states, size = [], 0
        while self._changed and size < MAX_BROADCAST:
            states.append(self._changed.pop(next(iter(self._changed))))
            size += states[-1].size
        return encode(states) if states else None

    def everyone(self) -> bytes:
        """An awareness update with every present state."""
        return encode([known.state for known in self._known.values() if known.state.present])

    def _keep(self, author: str, state: State, now: float) -> None:
        before = self._known.get(state.client)
        self._bytes += state.size - (before.state.size if before else 0)
        self._known[state.client] = _Known(author, state, now)
        self._changed[state.client] = state
