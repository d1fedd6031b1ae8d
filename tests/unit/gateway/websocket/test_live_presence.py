"""The presence of one canvas's clients on one gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from svgx_common.contract.collab import AuthoredState
from svgx_common.contract.policy import CanvasRole, Role
from svgx_common.messaging.bus import Bus
from svgx_common.messaging.caller import Caller
from svgx_gateway.websocket import live_presence as module
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.live_presence import LivePresence
from svgx_yjs import awareness, protocol
from svgx_yjs.awareness import State
from svgx_yjs.lib0 import Decoder
from tests.clock import stopped_clock

ANN, BOB = 7, 8
"""Yjs client ids."""


class RecordingBus:
    """A bus that records the published states."""

    def __init__(self) -> None:
        self.published: list[State] = []

    async def broadcast(self, _: Any, authored: AuthoredState, **__: str) -> None:
        """Record a state."""
        self.published.append(State(authored.client, authored.clock, authored.json))


QUERIED: list[State] = []
"""The record of a query in `RecordingSocket`. It is compared by identity."""


class RecordingSocket:
    """A socket that records the awareness states of each message, or `QUERIED`."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[list[State]] = asyncio.Queue()

    async def send_bytes(self, message: bytes) -> None:
        """Record a message."""
        is_query = message == protocol.encode_query_awareness()
        states = QUERIED if is_query else awareness.decode(Decoder(message[1:]).buffer())
        self.messages.put_nowait(states)

    async def next(self) -> list[State]:
        """Return the states of the next message."""
        async with asyncio.timeout(5):
            return await self.messages.get()


class QueriedConnection(Connection):
    """A connection of a client that answers a query and not its removal, as `HocuspocusConnection` does."""

    answers_removals = False


class GatewayCanvas:
    """The presence of one canvas, with its connections and a bus that records the published states."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.bus = RecordingBus()
        self.presence = LivePresence(cast(Bus, cast(Any, self.bus)), "canvas", self.connections)

    @asynccontextmanager
    async def join(
        self, kind: type[Connection] = Connection
    ) -> AsyncIterator[tuple[Connection, RecordingSocket]]:
        """Add a connection."""
        socket = RecordingSocket()
        caller = Caller("u", "ann", Role.EDITOR, "s")
        connection = kind(
            cast(WebSocket, cast(Any, socket)), caller, CanvasRole.EDITOR, wants_saved=False
        )
        self.connections.add(connection)
        writing = asyncio.create_task(connection.write())
        try:
            yield connection, socket
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self.connections.discard(connection)


@pytest.fixture
async def canvas() -> AsyncIterator[GatewayCanvas]:
    """Yield a canvas without connections."""
    canvas = GatewayCanvas()
    yield canvas
    await canvas.presence.stop()


KNOWN_STATES = awareness.encode([State(ANN, 5, '"old"'), State(BOB, 3, '"bob"')])
"""An awareness update with the states that the holder knows."""


async def test_returned_client_receives_other_states_and_is_asked_for_a_newer_one(
    canvas: GatewayCanvas,
) -> None:
    """The client receives its own entry only as null, so that Yjs sends a newer state. Only that state is published.

    Proves R-AWARE-4.
    """
    canvas.presence.record(KNOWN_STATES)
    async with canvas.join() as (connection, socket):
        canvas.presence.welcome(connection, KNOWN_STATES)
        await canvas.presence.receive(connection, awareness.encode([State(ANN, 0, '"new"')]))
        assert await socket.next() == [State(ANN, 5, "null")]
        assert await socket.next() == [State(BOB, 3, '"bob"')]
        assert canvas.bus.published == []
        await canvas.presence.receive(connection, awareness.encode([State(ANN, 6, '"new"')]))
        assert canvas.bus.published == [State(ANN, 6, '"new"')]


async def test_returned_client_that_ignores_its_removal_is_queried(canvas: GatewayCanvas) -> None:
    """The query follows the removal, and comes before the states of the others. The answer may have several states.

    Proves R-AWARE-4.
    """
    canvas.presence.record(KNOWN_STATES)
    async with canvas.join(QueriedConnection) as (connection, socket):
        canvas.presence.welcome(connection, KNOWN_STATES)
        await canvas.presence.receive(connection, awareness.encode([State(ANN, 5, '"new"')]))
        assert await socket.next() == [State(ANN, 5, "null")]
        assert await socket.next() is QUERIED
        assert await socket.next() == [State(BOB, 3, '"bob"')]
        answer = [State(BOB, 3, '"bob"'), State(ANN, 6, '"new"')]
        await canvas.presence.receive(connection, awareness.encode(answer))
        assert canvas.bus.published == [State(ANN, 6, '"new"')]


async def test_renewal_ignores_clients_that_a_new_holder_does_not_know(
    canvas: GatewayCanvas,
) -> None:
    """States that ended together with the holder do not count as states of the canvas. Proves R-AWARE-4."""
    returned = State(ANN, 2, "{}")
    ended = State(50, 1, '"' + "x" * module.ANSWER_BYTES + '"')
    canvas.presence.record(awareness.encode([ended, State(ANN, 1, "null")]))
    canvas.presence.record(awareness.encode([State(ANN, 1, "null")]), is_complete=True)
    async with canvas.join(QueriedConnection) as (queried, socket):
        await canvas.presence.receive(queried, awareness.encode([State(BOB, 3, '"bob"')]))
        canvas.presence.record(awareness.encode([returned]))
        assert await socket.next() == [State(BOB, 3, "null")]
        assert await socket.next() is QUERIED


@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
async def test_renewal_queries_clients_while_the_states_are_small(
    canvas: GatewayCanvas, is_large: bool
) -> None:
    """A client that answers only queries gets none while its answer would be large. Proves R-AWARE-4.

    The client does not get its removal either: without a query, a removal only delays the client's own next renewal.
    """
    returned = State(ANN, 2, "{}")
    size = module.ANSWER_BYTES - returned.size - len('""') + is_large
    large = State(50, 1, '"' + "x" * size + '"')
    canvas.presence.record(awareness.encode([large, State(ANN, 1, "null")]))
    async with (
        canvas.join(QueriedConnection) as (queried, socket),
        canvas.join() as (other, other_socket),
    ):
        await canvas.presence.receive(queried, awareness.encode([State(BOB, 3, '"bob"')]))
        await canvas.presence.receive(other, awareness.encode([State(60, 3, '"carl"')]))
        canvas.presence.record(awareness.encode([returned]))
        assert await other_socket.next() == [State(60, 3, "null")]
        if is_large:
            assert socket.messages.empty()
        else:
            assert await socket.next() == [State(BOB, 3, "null")]
            assert await socket.next() is QUERIED


async def test_client_without_a_state_receives_all_states_soon(canvas: GatewayCanvas) -> None:
    """A client that shows no state of its own gets the other states too. Proves R-AWARE-2."""
    async with canvas.join() as (connection, socket):
        canvas.presence.welcome(connection, KNOWN_STATES)
        assert {state.client for state in await socket.next()} == {ANN, BOB}


async def test_several_returns_cause_one_request_for_the_states_of_the_other_clients(
    canvas: GatewayCanvas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client returns when it sets its state again after null. The gateway then asks its clients for newer states.

    The first return causes this renewal at once. All returns within the next interval cause one renewal, at the end of
    the interval. Newcomers cause no renewal. Proves R-AWARE-4.
    """
    monkeypatch.setattr(module, "RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr(module, "RETURN_BURST", 10)
    loop = asyncio.get_running_loop()
    async with canvas.join() as (connection, socket):
        await canvas.presence.receive(connection, awareness.encode([State(BOB, 3, '"bob"')]))
        canvas.presence.record(awareness.encode([State(50, 0, "{}"), State(ANN, 1, "null")]))
        await asyncio.sleep(0)
        assert socket.messages.empty()
        started = loop.time()
        canvas.presence.record(awareness.encode([State(ANN, 2, "{}")]))
        assert await socket.next() == [State(BOB, 3, "null")]
        await canvas.presence.receive(connection, awareness.encode([State(BOB, 4, '"bob"')]))
        for clock in (2, 3, 4):
            canvas.presence.record(awareness.encode([State(ANN, clock, "null")]))
            canvas.presence.record(awareness.encode([State(ANN, clock + 1, "{}")]))
        assert await socket.next() == [State(BOB, 4, "null")]
        assert loop.time() - started > 0.15
        assert socket.messages.empty()


async def test_return_that_ends_at_once_causes_no_renewal(canvas: GatewayCanvas) -> None:
    """A client that sets its state to null again before the renewal begins has not returned. Proves R-AWARE-4.

    So no client, not even a viewer, can make all others send their states again and again.
    """
    async with canvas.join() as (connection, socket):
        await canvas.presence.receive(connection, awareness.encode([State(BOB, 3, '"bob"')]))
        for clock in range(1, 40, 2):
            canvas.presence.record(awareness.encode([State(ANN, clock, "{}")]))
            canvas.presence.record(awareness.encode([State(ANN, clock + 1, "null")]))
            await asyncio.sleep(0)
        assert socket.messages.empty()


async def test_repeated_returns_of_one_client_cause_one_renewal_per_interval(
    canvas: GatewayCanvas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its first return, further returns of a client wait for an interval. Those of other clients do not wait.

    The gateway does not count a return again when the holder reports it too. Proves R-AWARE-4.
    """
    monkeypatch.setattr(module, "RENEWAL_SECONDS", 0.0)
    monkeypatch.setattr(module, "RENEWAL_SECONDS_PER_CONNECTION", 0.0)
    monkeypatch.setattr(module, "RENEWAL_SECONDS_PER_RETURN", 1.0)
    monkeypatch.setattr(module, "RETURN_BURST", 1)
    loop = asyncio.get_running_loop()

    def return_once(client: int, clock: int) -> None:
        canvas.presence.record(awareness.encode([State(client, clock, "null")]))
        canvas.presence.record(awareness.encode([State(client, clock + 1, "{}")]))

    async with canvas.join() as (connection, socket):
        await canvas.presence.receive(connection, awareness.encode([State(BOB, 3, '"bob"')]))
        # The second renewal for ANN is not due before the clock continues.
        with stopped_clock(monkeypatch) as started:
            return_once(ANN, 1)
            assert await socket.next() == [State(BOB, 3, "null")]
            for clock in range(2, 20):
                return_once(ANN, clock)
                await asyncio.sleep(0)
            assert socket.messages.empty()
            return_once(50, 1)
            assert await socket.next() == [State(BOB, 3, "null")]
        assert await socket.next() == [State(BOB, 3, "null")]
        assert loop.time() - started >= 0.95
        async with canvas.join() as (returned, _):
            canvas.presence.record(awareness.encode([State(60, 5, "null")]))
            await canvas.presence.receive(returned, awareness.encode([State(60, 5, "{}")]))
            await canvas.presence.receive(returned, awareness.encode([State(60, 6, "{}")]))
            assert await socket.next() == [State(BOB, 3, "null")]
            canvas.presence.record(awareness.encode([State(60, 6, "{}")]))
            await asyncio.sleep(0)
            assert socket.messages.empty()
