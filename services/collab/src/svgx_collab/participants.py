"""The participants of a canvas: y-protocols awareness states, merged. No I/O; the caller passes the time."""

from dataclasses import dataclass

from svgx_yjs.awareness import State, encode

OUTDATED = 30.0
"""Seconds after which a state that was not renewed is dropped (y-protocols, awareness.js: outdatedTimeout)."""

MAX_STATES = 20_000
"""States kept for one canvas. Beyond it, states of further clients are dropped."""

MAX_BYTES = 8 * 1024 * 1024
"""Bytes of JSON kept for one canvas, all of which each new client receives. Beyond it, states that would add bytes are
dropped."""

MAX_BROADCAST = 256 * 1024
"""Bytes of JSON beyond which a broadcast takes no further state, because the bus keeps larger messages in memory."""


@dataclass(slots=True)
class _Received:
    """The newest state of a client, its user's id, and the time of its arrival."""

    author: str
    state: State
    at: float


class Participants:
    """The awareness states of one canvas. Times are monotonic seconds.

    A client belongs to the user that sent its first state. Other users cannot change its state until the client has
    been gone for `OUTDATED` seconds.
    """

    def __init__(self) -> None:
        self._received: dict[int, _Received] = {}
        self._changed: dict[int, State] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return the number of clients that are present."""
        return sum(received.state.present for received in self._received.values())

    def receive(self, author: str, state: State, now: float) -> None:
        """Keep a client's state. Drop it when it is old, is of another user's client, or exceeds a limit."""
        previous = self._received.get(state.client)
        if previous is None:
            if len(self._received) >= MAX_STATES:
                return
        elif previous.author != author or not state.supersedes(previous.state):
            return
        grown = self._bytes + state.size - (previous.state.size if previous else 0)
        if state.present and grown > MAX_BYTES:
            return
        self._keep(author, state, now)

    def expire(self, now: float) -> None:
        """Mark clients as gone that sent no state for `OUTDATED` seconds, for example because their gateway died.

        Forget clients that have been gone for `OUTDATED` seconds.
        """
        for client, received in list(self._received.items()):
            if now - received.at < OUTDATED:
                continue
            if received.state.present:
                self._keep(received.author, received.state.after_leaving(), now)
            else:
                self._bytes -= received.state.size
                del self._received[client]

    def take_broadcast(self) -> bytes | None:
        """Return an awareness update with states that were not broadcast yet. Call it until it returns None."""
        states, size = [], 0
        while self._changed and size < MAX_BROADCAST:
            states.append(self._changed.pop(next(iter(self._changed))))
            size += states[-1].size
        return encode(states) if states else None

    def present_states(self) -> bytes:
        """Return an awareness update with the states of all present clients."""
        states = [received.state for received in self._received.values()]
        return encode([state for state in states if state.present])

    def _keep(self, author: str, state: State, now: float) -> None:
        previous = self._received.get(state.client)
        self._bytes += state.size - (previous.state.size if previous else 0)
        self._received[state.client] = _Received(author, state, now)
        self._changed[state.client] = state
