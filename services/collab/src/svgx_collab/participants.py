"""The participants of a canvas: y-protocols awareness states, merged. No I/O; the caller passes the time."""

from dataclasses import dataclass

from svgx_yjs.awareness import MAX_CLOCK, State, encode

OUTDATED_SECONDS = 30.0
"""Lifetime of a state without renewal, in seconds (y-protocols, awareness.js: outdatedTimeout)."""

MAX_STATES = 20_000
"""Largest number of states kept for one canvas. Beyond it, states of further clients are dropped."""

MAX_BYTES = 8 * 1024 * 1024
"""Largest number of bytes of JSON kept for one canvas. Beyond it, states that would add bytes are dropped.

Each new client receives all kept states.
"""

MAX_GONE = 1_000
"""Largest number of clients that are remembered after they have been gone for `OUTDATED_SECONDS`.

Beyond it, the clients that left first are forgotten.

A page may return with the same client id and a lower clock, for example after a reload. Other pages ignore the client
until its clock is higher than the clock that they know. Therefore the canvas remembers this clock and sends it to the
page.
"""

MAX_GONE_CLOCK = MAX_CLOCK // 2
"""The highest clock that is remembered of a client that is gone.

A client that returns needs a higher clock than the remembered one. Near `MAX_CLOCK`, it could not choose one.
"""

MAX_BROADCAST_BYTES = 256 * 1024
"""Size of a broadcast's JSON, in bytes, at which the broadcast takes no further state.

The bus would keep a broadcast over 512 KiB in memory for 30 s (see `svgx_common.messaging.blobs`).
"""


@dataclass(slots=True)
class _ReceivedState:
    """The newest state of a client, the id of the client's user, and the time at which the state arrived."""

    author: str | None
    """None after the client has been gone for `OUTDATED_SECONDS`. Any user may then send a state for this client."""
    state: State
    at: float
    may_edit: bool

    @property
    def size(self) -> int:
        """The bytes that count towards `MAX_BYTES`."""
        return self.state.size if self.state.present else 0


class Participants:
    """The awareness states of one canvas. Times are seconds of the monotonic clock.

    A client belongs to the user that sent its first state. Other users cannot change its state until the client has
    been gone for `OUTDATED_SECONDS`.
    """

    def __init__(self) -> None:
        self._received: dict[int, _ReceivedState] = {}
        self._changed: dict[int, State] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return the number of clients that are present."""
        return sum(received.state.present for received in self._received.values())

    def receive(self, author: str, state: State, now: float, *, may_edit: bool = True) -> None:
        """Keep a client's state if it supersedes the client's kept state.

        Drop a state of a client that belongs to another user, and a state that exceeds a limit. `may_edit` tells
        whether the user may edit the canvas.
        """
        previous = self._received.get(state.client)
        if previous is None:
            if len(self._received) >= MAX_STATES:
                return
        elif previous.author not in (author, None) or not state.supersedes(previous.state):
            return
        grown = self._bytes + state.size - (previous.size if previous else 0)
        if state.present and grown > MAX_BYTES:
            return
        self._keep(author, state, now, may_edit=may_edit)

    def owner(self, client: int) -> str | None:
        """Return the user id of the editor that a present client belongs to, or None.

        Return None for a viewer's client too, because a viewer makes no structs. Otherwise, a viewer that sends an
        awareness state for an editor's client would block this editor's edits.
        """
        received = self._received.get(client)
        if received is None or not received.may_edit or not received.state.present:
            return None
        return received.author

    def expire(self, now: float) -> None:
        """Mark the clients that sent no state for `OUTDATED_SECONDS` as gone. Their gateway may have died.

        Clients that have been gone for `OUTDATED_SECONDS` belong to no user any more.
        """
        for client, received in list(self._received.items()):
            if now - received.at < OUTDATED_SECONDS:
                continue
            if received.state.present:
                state = received.state.after_leaving()
                self._keep(received.author, state, now, may_edit=received.may_edit)
            elif received.state.clock > MAX_GONE_CLOCK:
                self._forget(client)
            else:
                received.author = None
        gone = [client for client, received in self._received.items() if received.author is None]
        gone.sort(key=lambda client: self._received[client].at)
        for client in gone[: max(0, len(gone) - MAX_GONE)]:
            self._forget(client)

    @property
    def has_changes(self) -> bool:
        """True while there are states that were not broadcast yet."""
        return bool(self._changed)

    def take_broadcast(self) -> bytes | None:
        """Return an awareness update with states that were not broadcast yet. Call it until it returns None."""
        states, size = [], 0
        while self._changed and size < MAX_BROADCAST_BYTES:
            states.append(self._changed.pop(next(iter(self._changed))))
            size += states[-1].size
        return encode(states) if states else None

    def known_states(self) -> bytes:
        """Return an awareness update with the states of all present clients, and of clients that have left."""
        return encode([received.state for received in self._received.values()])

    def _keep(self, author: str | None, state: State, now: float, *, may_edit: bool) -> None:
        previous = self._received.get(state.client)
        received = self._received[state.client] = _ReceivedState(author, state, now, may_edit)
        self._bytes += received.size - (previous.size if previous else 0)
        self._changed[state.client] = state

    def _forget(self, client: int) -> None:
        self._bytes -= self._received.pop(client).size
