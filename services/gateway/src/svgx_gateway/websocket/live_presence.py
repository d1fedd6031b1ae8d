"""The presence of one canvas on this gateway: the awareness states that its connections publish and receive."""

import asyncio
from collections.abc import Callable, Collection

from svgx_common.background import BackgroundTasks
from svgx_common.contract.collab import CANVAS_AWARENESS, AuthoredState
from svgx_common.messaging.bus import Bus
from svgx_common.timing.token_bucket import TokenBucket
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.trackers.awareness_owner import AwarenessClocks
from svgx_gateway.websocket.trackers.presence_merger import PresenceMerger
from svgx_gateway.websocket.trackers.presence_merger import encode as encode_entries
from svgx_yjs import awareness, protocol
from svgx_yjs.awareness import Entry, State

WELCOME_SECONDS = 0.05
"""Seconds to wait for a new connection's own state before it receives the states of all clients.

A client that returns would otherwise receive, and adopt, an old state of its own.
y-websocket sends the client's own state at once, so this time is long enough.
"""

INTERVAL_SECONDS = 0.03
"""Seconds between two broadcasts of presence. An isolated change is broadcast at once."""

SECONDS_PER_CONNECTION = 0.0005
"""Seconds that each connection adds to `INTERVAL_SECONDS`, because a broadcast is a frame for each connection."""

LONGEST_INTERVAL_SECONDS = 0.1
"""The longest time between two broadcasts of presence, in seconds."""

RENEWAL_SECONDS = 1.0
"""Minimum time between two renewals, in seconds. A renewal asks all clients for newer states (see `LivePresence`)."""

RENEWAL_SECONDS_PER_CONNECTION = 0.01
"""Minimum time between two renewals, in seconds, divided by the number of connections. With 1,000 connections, the
minimum is 10 s.

A renewal of many clients' states causes a lot of traffic.
"""

RENEWAL_SECONDS_PER_RETURN = 10.0
"""Mean time, in seconds, between two renewals that the returns of one client cause.

So a client that returns often does not keep the other clients busy.
"""

ANSWER_BYTES = 64 * 1024
"""Maximum size of all states, in bytes, with which a renewal queries the clients that do not answer a removal.

The answer to a query has the states of all clients. So in a renewal, the gateway gets an answer of up to this size from
each of these clients. Beyond this size, these clients renew their states by themselves, within 18 s.
"""

RETURN_BURST = 3
"""Number of returns of one client that cause a renewal without delay, even if they follow each other quickly.

A faulty network often fails several times in a row.
"""


QUERY = protocol.encode_query_awareness()


class LivePresence:
    """The awareness states that the connections of one canvas publish and receive.

    A client that has lost its connection removes the other clients' states, keeps their clocks, and accepts only newer
    states (y-protocols, awareness.js). So when a client has returned, this gateway asks each of its clients for a newer
    state, because only the client itself can publish one. To ask, the gateway sends the client an awareness update that
    says that this client has left. The client then publishes a newer state, or does so in answer to a query that
    follows (`answers_removals`).
    """

    def __init__(
        self,
        bus: Bus,
        canvas_id: str,
        connections: set[Connection],
        *,
        broadcast: Callable[[bytes, Collection[Connection]], None] = lambda *_: None,
        send_on_link: Callable[[AuthoredState], bool] = lambda _: False,
    ) -> None:
        self._bus = bus
        self._broadcast = broadcast
        self._send_on_link = send_on_link
        self._merger = PresenceMerger()
        self._flushed_at = -LONGEST_INTERVAL_SECONDS
        self._flush_timer: asyncio.TimerHandle | None = None
        self._held: dict[Connection, dict[int, Entry]] = {}
        """The newest states for connections with a backlog. They are sent after the backlog of edits and replies."""
        self._canvas_id = canvas_id
        self._connections = connections
        self._clocks = AwarenessClocks()
        self._welcomes: dict[Connection, bytes] = {}
        """For each connection with a client that has not sent its own state yet: the states to send to the client."""
        self._has_returned = asyncio.Event()
        self._returns: dict[int, tuple[TokenBucket, float, int]] = {}
        """For each client that has returned, its allowance, the time of its newest renewal, and its clock."""
        self._background = BackgroundTasks()
        self._background.repeat("renew presence", self._renew)

    async def stop(self) -> None:
        """Stop the background tasks."""
        await self._background.stop()
        if self._flush_timer is not None:
            self._flush_timer.cancel()

    def forward(self, update: bytes) -> None:
        """Send an awareness update of the holder to the clients: joins and leaves at once, other changes merged."""
        self.record(update)
        self._send(update)

    def _send(self, update: bytes) -> None:
        loop = asyncio.get_running_loop()
        due = self._flushed_at + self._interval()
        if self._merger.add(update) or loop.time() >= due:
            self._flush()
        elif self._flush_timer is None:
            self._flush_timer = loop.call_at(due, self._flush)

    def record(self, update: bytes, *, is_complete: bool = False) -> None:
        """Record an awareness update of the holder. With `is_complete`, it has all clients that the holder knows.

        A complete update may show that the broadcast of a removal was lost. The removal is then sent to the clients,
        because no later broadcast repeats it.
        """
        if is_complete and (removals := self._clocks.missed_removals(update)):
            self._send(encode_entries(removals))
        for client, clock in self._clocks.record(update, is_complete=is_complete):
            self._note_return(client, clock)

    def welcome(self, connection: Connection, update: bytes) -> None:
        """Send the states of all clients to a client that joins, as soon as it has sent its own state.

        If the client sends no state, send them after `WELCOME_SECONDS`.
        """
        if connection.awareness.client is not None:
            self._send_others(connection, update)
            return
        self._welcomes[connection] = update
        asyncio.get_running_loop().call_later(WELCOME_SECONDS, self._end_welcome, connection)

    async def receive(self, connection: Connection, update: bytes) -> None:
        """Publish the client's own state if the awareness update has a newer one. Raises `Malformed`."""
        owner = connection.awareness
        was_known = owner.state is not None
        state = owner.receive(update, self._clocks)
        # Ask before relaying other states: the answer to a query has all states that the client knows.
        if (question := owner.take_question()) is not None:
            owner.is_queried = _ask(connection, question)
        self._end_welcome(connection)
        if state is None:
            return
        await self.publish(connection, state)
        if not was_known and owner.has_returned:
            self._note_return(state.client, state.clock)

    async def publish(self, connection: Connection, state: State) -> None:
        """Publish a client's state to the holder. A lost state is repeated by its client within 15 s."""
        author = connection.caller.user_id
        may_edit = int(connection.may_edit)
        authored = AuthoredState(author, state.client, state.clock, state.json, may_edit)
        if not self._send_on_link(authored):
            await self._bus.broadcast(CANVAS_AWARENESS, authored, canvas_id=self._canvas_id)

    def _interval(self) -> float:
        added = SECONDS_PER_CONNECTION * len(self._connections)
        return min(LONGEST_INTERVAL_SECONDS, INTERVAL_SECONDS + added)

    def _flush(self) -> None:
        """Broadcast the states that wait. A connection with a backlog gets its states at a later time."""
        loop = asyncio.get_running_loop()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._flushed_at = loop.time()
        states = self._merger.take()
        ready: list[Connection] = []
        for connection in self._connections:
            if connection.has_backlog:
                self._held.setdefault(connection, {}).update(states)
            elif (held := self._held.pop(connection, None)) is not None:
                connection.send(protocol.encode_awareness(encode_entries((held | states).values())))
            else:
                ready.append(connection)
        if states:
            self._broadcast(protocol.encode_awareness(encode_entries(states.values())), ready)
        if self._held:
            self._held = {
                each: held for each, held in self._held.items() if each in self._connections
            }
            self._flush_timer = loop.call_later(LONGEST_INTERVAL_SECONDS, self._flush)

    def _end_welcome(self, connection: Connection) -> None:
        if (update := self._welcomes.pop(connection, None)) is not None:
            self._send_others(connection, update)

    def _send_others(self, connection: Connection, update: bytes) -> None:
        client = connection.awareness.client
        others = update if client is None else awareness.without(update, client)
        connection.send(protocol.encode_awareness(others))

    def _note_return(self, client: int, clock: int) -> None:
        """Renew the clients' states at once. If the returned client has used up its allowance, renew them later."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if client not in self._returns:
            allowance = TokenBucket(1 / RENEWAL_SECONDS_PER_RETURN, RETURN_BURST, now)
            self._returns[client] = allowance, now, -1
        allowance, due, noted = self._returns[client]
        if clock <= noted:
            return  # the holder reports a return that this gateway has noted already
        if due <= now:
            due = now + allowance.seconds_until(1, now)
            allowance.take(1)
            if due > now:
                loop.call_at(due, self._has_returned.set)
            else:
                self._has_returned.set()
        self._returns[client] = allowance, due, clock

    async def _renew(self) -> None:
        """Wait until a client has returned, then ask all clients for newer states."""
        await self._has_returned.wait()
        self._has_returned.clear()
        recent = asyncio.get_running_loop().time() - RETURN_BURST * RENEWAL_SECONDS_PER_RETURN
        self._returns = {each: entry for each, entry in self._returns.items() if entry[1] > recent}
        may_query = self._clocks.present_bytes <= ANSWER_BYTES
        for connection in self._connections:
            state = connection.awareness.removal()
            if state is not None and (connection.answers_removals or may_query):
                _ask(connection, state)
        await asyncio.sleep(
            max(RENEWAL_SECONDS, RENEWAL_SECONDS_PER_CONNECTION * len(self._connections))
        )


def _ask(connection: Connection, removal: State) -> bool:
    """Ask a client for a newer state: send it the removal of its own state.

    Return whether the client is also sent a query.
    """
    connection.send(protocol.encode_awareness(awareness.encode([removal])))
    if connection.answers_removals:
        return False
    connection.send(QUERY)
    return True
