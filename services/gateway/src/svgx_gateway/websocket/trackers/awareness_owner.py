"""The owner of awareness states: the Yjs client for which one connection may publish presence. No I/O.

npm y-websocket sends to the server every state that it learns of: states that the server sent it, states of other tabs
of its browser, and the removal of clients that it lost contact with. Such a repeated state must not reach other
clients, and must not make a connection publish for another client. Therefore each connection publishes only for its own
client.
"""

import math
import time
from collections.abc import Callable

from svgx_yjs import awareness
from svgx_yjs.awareness import MAX_CLOCK, Entry, State
from svgx_yjs.lib0 import Encoder

MAX_CLOCKS = 50_000
"""Maximum number of clocks that are remembered for one canvas. Beyond this limit the oldest clock is forgotten."""

MAX_ENTRIES = 2_000
"""Maximum number of entries of one message that are searched for the connection's client. Later ones are ignored."""

GONE_SECONDS = 5.0
"""Minimum absence, in seconds, after which the next state of a client that removed its own state is a return.

After a shorter absence, the client may only have toggled its state.
"""


class AwarenessClocks:
    """The newest awareness clock of each client that the holder reported on one canvas."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clocks: dict[int, int] = {}
        self._gone: dict[int, float] = {}
        """For each client that has left, the time after which its next state counts as its return."""
        self._sizes: dict[int, int] = {}
        """The size of the state of each client that is present, in bytes."""

    def record(self, update: bytes, *, is_complete: bool = False) -> list[tuple[int, int]]:
        """Record an awareness update from the holder. Return the clients that have come back, each with its clock.

        When a connection ends, the gateway removes the state of its client without changing the clock. The next state
        of such a client brings the client back. A client that removed its own state, with a newer clock, comes back
        only with a state that arrives after `GONE_SECONDS`.

        With `is_complete`, the update has all clients that the holder knows, and no other client is present. A new
        holder does not know the clients that ended together with the holder before.
        """
        clocks, gone, now = self._clocks, self._gone, self._clock()
        returned: list[tuple[int, int]] = []
        if is_complete:
            self._sizes = {}
        for entry in awareness.entries(update):
            known_clock = clocks.get(entry.client)
            # Insert the client at the end, so that the first client is the oldest.
            clocks[entry.client] = max(entry.clock, clocks.pop(entry.client, 0))
            if entry.present:
                self._sizes[entry.client] = len(entry.json)
                if (since := gone.pop(entry.client, None)) is not None and now > since:
                    returned.append((entry.client, entry.clock))
            else:
                self._sizes.pop(entry.client, None)
                removed_itself = known_clock is not None and entry.clock > known_clock
                gone.setdefault(entry.client, now + GONE_SECONDS if removed_itself else -math.inf)
        while len(clocks) > MAX_CLOCKS:
            oldest = next(iter(clocks))
            del clocks[oldest]
            gone.pop(oldest, None)
            self._sizes.pop(oldest, None)
        return returned

    def missed_removals(self, update: bytes) -> list[Entry]:
        """Return the entries of a complete awareness update that remove clients which are present here."""
        return [
            entry
            for entry in awareness.entries(update)
            if not entry.present and entry.client in self._sizes
        ]

    @property
    def present_bytes(self) -> int:
        """Return the size of the states of all clients that are present, in bytes."""
        return sum(self._sizes.values())

    def clock(self, client: int) -> int | None:
        """Return the newest known clock of a client, or None."""
        return self._clocks.get(client)


class AwarenessOwner:
    """The Yjs client of one connection, and its newest state.

    The client is unknown at first. It is found in a message with a single state that the holder has not reported yet.
    This state is one of a new client, or a newer state of a known client.

    The first message may have a state that the holder has reported, or an older one. In this case, either the client of
    this state has returned, or the connection's client has no state of its own and repeats the state of another tab.
    The client of this state is remembered as the likely client. To ask for a newer state, the gateway sends one removal
    of the likely client on this connection. By the rules of y-protocols (awareness.js, applyAwarenessUpdate), the
    likely client itself then increases its clock and sends its state again, and any other client accepts the removal.
    From then on, a newer state of any other known client counts as a repetition. A newer state of the likely client, or
    a state of a new client, identifies the connection's client. After a query, the message with the newer state of the
    likely client may have several states, because the answer to a query has all states that a client knows.
    """

    def __init__(self) -> None:
        self.state: State | None = None
        """The newest state of the connection's own client; None until the client is known."""
        self.is_queried = False
        """True when the question was sent together with a query of all states."""
        self._likely_client: int | None = None
        self._is_first_message = True
        self._question: State | None = None
        """The removal that asks the likely client for a newer state; None before it is needed, and once it is taken."""

    @property
    def client(self) -> int | None:
        """Return the connection's client, or its likely client, or None."""
        return self.state.client if self.state else self._likely_client

    @property
    def has_returned(self) -> bool:
        """Return whether the likely client has turned out to be the connection's client."""
        return self.state is not None and self.state.client == self._likely_client

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
        # A clock over the limit is no reason to close the connection: the client may have it from another client.
        if entry is None or entry.clock > MAX_CLOCK:
            return None
        state = entry.read()
        if not (state.present if self.state is None else state.supersedes(self.state)):
            return None
        self.state = state
        return state

    def take_question(self) -> State | None:
        """Return the removal that asks the likely client for a newer state. Later calls return None."""
        question, self._question = self._question, None
        return question

    def removal(self) -> State | None:
        """Return the state that removes the connection's client, or None when the client is not present."""
        state = self.presence()
        return state.after_leaving() if state else None

    def presence(self) -> State | None:
        """Return the state of the connection's client, or None when the client is not present."""
        return self.state if self.state and self.state.present else None

    def _find_own(self, update: bytes, client: int) -> Entry | None:
        """Return the entry of the connection's client, or None."""
        # Searching for the encoded client id is cheap, and most messages then need no decoding.
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
            return self._find_answer(update, clocks) if self.is_queried else None
        (entry,) = awareness.entries(update)
        known_clock = clocks.clock(entry.client)
        if known_clock is None or (
            entry.clock > known_clock and self._likely_client in (None, entry.client)
        ):
            return entry
        if self._is_first_message and entry.present:
            entry.read()
            self._likely_client = entry.client
            if known_clock < MAX_CLOCK:
                self._question = State(entry.client, known_clock, "null")
        return None

    def _find_answer(self, update: bytes, clocks: AwarenessClocks) -> Entry | None:
        """Return the newer state of the likely client among several states, or None."""
        assert self._likely_client is not None, "only a likely client is queried"
        entry = self._find_own(update, self._likely_client)
        known_clock = clocks.clock(self._likely_client)
        is_newer = entry is not None and (known_clock is None or entry.clock > known_clock)
        return entry if is_newer else None
