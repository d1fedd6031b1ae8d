"""The rate of presence on one gateway.

Only the newest states are sent. Joins and leaves are sent at once. Edits are sent before presence.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from svgx_common.messaging.bus import Bus
from svgx_gateway.websocket import live_presence as module
from svgx_gateway.websocket.connection import Connection
from svgx_gateway.websocket.live_presence import LivePresence
from svgx_gateway.websocket.trackers.awareness_owner import AwarenessOwner
from svgx_yjs import awareness
from svgx_yjs.awareness import State
from svgx_yjs.lib0 import Decoder
from tests.clock import stopped_clock


class Client:
    """A connection that records the states of its messages."""

    def __init__(self) -> None:
        self.has_backlog = False
        self.awareness = AwarenessOwner()
        self.received: list[list[State]] = []
        self.arrived = asyncio.Event()

    def send(self, message: bytes) -> None:
        """Record a message."""
        self.received.append(awareness.decode(Decoder(message[1:]).buffer()))
        self.arrived.set()

    async def next(self) -> list[State]:
        """Wait for a message, and return the newest one."""
        async with asyncio.timeout(5):
            await self.arrived.wait()
        self.arrived.clear()
        return self.received[-1]


class GatewayCanvas:
    """The presence of a canvas with two clients, one of which may have a backlog."""

    def __init__(self) -> None:
        self.reader, self.slow = Client(), Client()
        connections = cast("set[Connection]", {self.reader, self.slow})
        self.presence = LivePresence(
            cast(Bus, cast(Any, None)), "canvas", connections, broadcast=self._broadcast
        )

    @staticmethod
    def _broadcast(message: bytes, connections: Collection[Connection]) -> None:
        for connection in connections:
            connection.send(message)

    def forward(self, *states: State) -> None:
        """Forward an awareness update of the holder."""
        self.presence.forward(awareness.encode(list(states)))

    @contextmanager
    def at_the_last_broadcast(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Stop the clock at a time at which the canvas has just broadcast presence."""
        with stopped_clock(monkeypatch) as now:
            self.presence._flushed_at = now
            yield


@pytest.fixture
async def canvas(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GatewayCanvas]:
    """Yield a canvas with a presence interval of 0.1 s. The Yjs clients 1 and 2 are present."""
    monkeypatch.setattr(module, "INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(module, "SECONDS_PER_CONNECTION", 0.0)
    canvas = GatewayCanvas()
    canvas.forward(State(1, 0, "{}"), State(2, 0, "{}"))
    yield canvas
    await canvas.presence.stop()


async def test_movements_are_merged_into_the_newest_states(
    canvas: GatewayCanvas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst of movements becomes one message with the newest state of each client. Proves R-AWARE-12."""
    with canvas.at_the_last_broadcast(monkeypatch):
        for clock in range(1, 50):
            canvas.forward(State(1, clock, f'"{clock}"'))
        canvas.forward(State(2, 1, '"b"'))
    canvas.reader.arrived.clear()
    assert await canvas.reader.next() == [State(1, 49, '"49"'), State(2, 1, '"b"')]
    assert len(canvas.reader.received) == 2


async def test_joins_and_leaves_are_sent_at_once(
    canvas: GatewayCanvas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message of a join or a leave also has the movements that wait. Proves R-AWARE-12."""
    with canvas.at_the_last_broadcast(monkeypatch):
        canvas.forward(State(1, 1, '"a"'))
        canvas.forward(State(3, 0, '"new"'))
    assert canvas.reader.received[1:] == [[State(1, 1, '"a"'), State(3, 0, '"new"')]]
    canvas.forward(State(3, 0, "null"))
    assert canvas.reader.received[-1] == [State(3, 0, "null")]


async def test_lost_removal_is_sent_after_the_next_complete_update(canvas: GatewayCanvas) -> None:
    """No later broadcast of the holder repeats it. Other clients of the update are not sent again.

    Proves R-AWARE-1 and R-AWARE-3.
    """
    complete = awareness.encode([State(1, 0, "null"), State(2, 0, "{}"), State(3, 0, "null")])
    for _ in range(2):
        canvas.presence.record(complete, is_complete=True)
    assert canvas.reader.received[1:] == [[State(1, 0, "null")]]


async def test_isolated_movement_is_sent_at_once(
    canvas: GatewayCanvas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A movement after a pause does not wait for the interval. Proves R-AWARE-12."""
    with canvas.at_the_last_broadcast(monkeypatch):
        canvas.forward(State(1, 1, '"a"'))
    canvas.reader.arrived.clear()
    await canvas.reader.next()
    loop = asyncio.get_running_loop()
    pause = loop.create_future()
    loop.call_later(0.12, pause.set_result, None)
    await pause
    canvas.forward(State(1, 2, '"b"'))
    assert canvas.reader.received[-1] == [State(1, 2, '"b"')]


async def test_presence_waits_for_a_client_with_a_backlog(canvas: GatewayCanvas) -> None:
    """The newest states are sent after the backlog, even without a further movement. Proves R-AWARE-12."""
    canvas.slow.has_backlog = True
    canvas.slow.arrived.clear()
    for client in (3, 4):
        canvas.forward(State(client, 0, '"old"'))
    canvas.forward(State(4, 1, "null"))
    assert len(canvas.slow.received) == 1
    canvas.slow.has_backlog = False
    assert await canvas.slow.next() == [State(3, 0, '"old"'), State(4, 1, "null")]
    assert len(canvas.reader.received) == 4
