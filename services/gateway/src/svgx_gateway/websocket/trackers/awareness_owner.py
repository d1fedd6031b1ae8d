"""The owner of awareness states: the Yjs client for which one connection may publish presence. No I/O.

npm y-websocket sends to the server every state that it learns of: states that the server sent it, states of other tabs
of its browser, and the removal of clients that it lost contact with. Such a repetition must neither reach other clients
nor make a connection publish for another client. So each connection publishes for one client only, its own.
"""

from svgx_yjs import awareness
from svgx_yjs.awareness import Entry, State
from svgx_yjs.lib0 import Encoder

MAX_CLOCKS = 50_000
"""Clocks that are remembered for one canvas. Beyond this limit the oldest clock is forgotten."""

MAX_ENTRIES = 2_000
"""Entries of one message that are searched for the connection's own client. Later entries are ignored."""


class AwarenessClocks:
    """The newest awareness clock of each client that the holder reported on one canvas."""

    def __init__(self) -> None:
        self._clocks: dict[int, int] = {}

    def record(self, update: bytes) -> None:
        """Record the clocks of an awareness update from the holder."""
        clocks = self._clocks
        for entry in awareness.entries(update):
            # Insert the client at the end, so that the first client is the oldest.
            clocks[entry.client] = max(entry.clock, clocks.pop(entry.client, 0))
        while len(clocks) > MAX_CLOCKS:
            del clocks[next(iter(clocks))]

    def clock(self, client: int) -> int | None:
        """Return the newest known clock of a client, or None."""
        return self._clocks.get(client)


class AwarenessOwner:
    """The Yjs client of one connection, and its newest state.

    The client is unknown at first. It is found in a message with a single state that the holder has not reported yet:
    a state of a new client, or a newer state of a known client.

    The first message may have a state that the holder has reported. Then either the client of this state has
    reconnected, or the connection's client has no state of its own and repeats the state of another tab. The client of
    this state is remembered as the likely client. From then on, a newer state of any other known client counts as a
    repetition; a newer state of the likely client, or a state of a new client, identifies the connection's client.
    """

    def __init__(self) -> None:
        self.state: State | None = None
        """The newest state of the connection's own client; None until the client is known."""
        self._likely_client: int | None = None
        self._is_first_message = True

    def receive(self, update: bytes, clocks: AwarenessClocks) -> State | None:
        """Return the new state of the connection's own client in an awareness update, or None. Raises `Malformed`.

        Only entries that may be the client's own are decoded.
        """
        entry = (
            self._find_client(update, clocks)
            if self.state is None
            else self._find_own(update, self.state.client)
        )
        self._is_first_message = False
        if entry is None:
            return None
        state = entry.read()
        if not (state.present if self.state is None else state.supersedes(self.state)):
            return None
        self.state = state
        return state

    def removal(self) -> State | None:
        """Return the state that removes the connection's client, or None when the client is not present."""
        state = self.presence()
        return state.after_leaving() if state else None

    def presence(self) -> State | None:
        """Return the state of the connection's client, or None when the client is not present."""
        return self.state if self.state and self.state.present else None

    def _find_own(self, update: bytes, client: int) -> Entry | None:
        """Return the entry of the connection's client, or None."""
        # The search for the encoded client id is cheap, and spares the decoding of most messages.
        if Encoder().uint(client).finish() not in update:
            return None
        for number, entry in enumerate(awareness.entries(update)):
            if entry.client == client:
                return entry
            if number >= MAX_ENTRIES:
                break
        return None

    def _find_client(self, update: bytes, clocks: AwarenessClocks) -> Entry | None:
        """Return the entry that identifies the connection's client, or None."""
        if awareness.count(update) != 1:
            return None
        (entry,) = awareness.entries(update)
        known = clocks.clock(entry.client)
        if known is None or (entry.clock > known and self._likely_client in (None, entry.client)):
            return entry
        if self._is_first_message and entry.read().present:
            self._likely_client = entry.client
        return None
