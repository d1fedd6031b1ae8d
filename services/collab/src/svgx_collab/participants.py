"""Who is on a canvas: y-protocols awareness states, merged. No I/O; the clock is passed in."""

from dataclasses import dataclass

from svgx_common.awareness import State, decode, encode

OUTDATED = 30.0
"""Seconds after which a state that nobody renewed is dropped (y-protocols, awareness.js: outdatedTimeout)."""

MAX_STATES = 20_000
"""States kept on one canvas."""


@dataclass(slots=True)
class _Known:
    state: State
    at: float


class Participants:
    """The awareness states of one canvas. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._changed: dict[int, State] = {}

    def __len__(self) -> int:
        return sum(known.state.present for known in self._known.values())

    def receive(self, update: bytes, now: float) -> None:
        """Take in an awareness update. Raises `svgx_common.lib0.Malformed`."""
        for state in decode(update):
            known = self._known.get(state.client)
            if known is None and len(self._known) >= MAX_STATES:
                continue
            if known is None or state.supersedes(known.state):
                self._known[state.client] = _Known(state, now)
                self._changed[state.client] = state

    def expire(self, now: float) -> None:
        """Drop the states nobody renewed: their gateway has gone without saying so."""
        for client, known in list(self._known.items()):
            if now - known.at < OUTDATED:
                continue
            if known.state.present:
                gone = State(client, known.state.clock, "null")
                self._known[client] = _Known(gone, now)
                self._changed[client] = gone
            else:
                del self._known[client]

    def take_broadcast(self) -> bytes | None:
        """The states that changed since the last one, or None."""
        if not self._changed:
            return None
        update = encode(list(self._changed.values()))
        self._changed = {}
        return update

    def everyone(self) -> bytes:
        """An awareness update with every present state."""
        return encode([known.state for known in self._known.values() if known.state.present])
