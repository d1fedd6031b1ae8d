"""Whom a connection speaks for. No I/O; only what may be its own is decoded.

npm y-websocket repeats to the server whatever it learns of others: what the server told it, what other tabs of its
browser told it, and that they are gone when it only lost sight of them. A repetition must neither reach anybody nor
make a connection speak for somebody else. So a connection speaks for one client, the one that it shows itself.
"""

from svgx_yjs import awareness
from svgx_yjs.awareness import Entry, State
from svgx_yjs.lib0 import Encoder

MAX_TOLD = 50_000
"""Clients of one canvas whose clocks are remembered."""

MAX_ENTRIES = 2_000
"""States of one message among which a connection's own is looked for."""


class AwarenessClocks:
    """The clocks of all clients of a canvas, as far as anybody here was told of them."""

    def __init__(self) -> None:
        self._clocks: dict[int, int] = {}

    def note(self, update: bytes) -> None:
        """This awareness update is given to a client."""
        clocks = self._clocks
        for entry in awareness.entries(update):
            # The newest last, so that the first is the one to forget.
            clocks[entry.client] = max(entry.clock, clocks.pop(entry.client, 0))
        while len(clocks) > MAX_TOLD:
            del clocks[next(iter(clocks))]

    def clock(self, client: int) -> int | None:
        """The newest clock of a client that anybody was told, or None."""
        return self._clocks.get(client)


class AwarenessOwner:
    """One connection's own state among all that it sends.

    Its client is the one of the first message that shows a single state nobody was told before. A client that comes
    back repeats an old state first, as does one that only listens and echoes: that is remembered as a guess, so that
    no echo of another tab takes its place, and it counts once something newer follows.
    """

    def __init__(self) -> None:
        self._silent = True
        self._guess: int | None = None
        self.state: State | None = None

    def hear(self, update: bytes, told: AwarenessClocks) -> State | None:
        """The news of this connection's own client in an awareness update. Raises `Malformed`."""
        entry = self._first_of_its_own(update, told) if self.state is None else self._own(update)
        self._silent = False
        if entry is None:
            return None
        state = entry.read()
        if not (state.present if self.state is None else state.supersedes(self.state)):
            return None
        self.state = state
        return state

    def farewell(self) -> State | None:
        """What ends this connection's presence, or None when it has none."""
        state = self.presence()
        return state.left() if state else None

    def presence(self) -> State | None:
        """This connection's state, or None when its client is not there."""
        return self.state if self.state and self.state.present else None

    def _own(self, update: bytes) -> Entry | None:
        assert self.state is not None
        client = self.state.client
        if Encoder().uint(client).finish() not in update:
            return None
        for number, entry in enumerate(awareness.entries(update)):
            if entry.client == client:
                return entry
            if number >= MAX_ENTRIES:
                break
        return None

    def _first_of_its_own(self, update: bytes, told: AwarenessClocks) -> Entry | None:
        if awareness.count(update) != 1:
            return None
        (entry,) = awareness.entries(update)
        known = told.clock(entry.client)
        if known is None or (entry.clock > known and self._guess in (None, entry.client)):
            return entry
        if self._silent and entry.read().present:
            self._guess = entry.client
        return None
