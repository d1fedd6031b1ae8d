"""The connection of a JSON client, without a network: the events for the client, and their order."""

import asyncio
import json
from typing import Any

import pytest

from svgx_common.contract.close_codes import Close
from svgx_common.contract.live.json_messages import Pong
from svgx_common.contract.policy import CanvasRole
from svgx_gateway.websocket.connection import SLOW_BYTES
from svgx_gateway.websocket.json_clients import connection as connection_module
from svgx_gateway.websocket.transport.frames import encode_frame, encode_text_frame
from svgx_yjs import awareness, protocol
from svgx_yjs.awareness import State
from tests.unit.gateway.websocket.json_clients.json_connection import (
    CLIENT,
    handshake_answer,
    json_connection,
)

OWN, OTHER = CLIENT, 8
HELLO = handshake_answer()


def presence_of(*clients: int) -> bytes:
    """Return an awareness update with these clients as present."""
    return awareness.encode([State(each, 1, "{}") for each in clients])


class Client:
    """A JSON connection with a client that reads everything, or nothing while `reads` is false."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.reads = True
        self.connection = json_connection(self._write)
        self.connection.follow(None, b"")

    def accept(self, *present: int) -> None:
        """Answer the handshake, with these clients as present. Forget the answer."""
        self.connection.begin()
        self.connection.accept(HELLO, presence_of(*present))
        self.frames.clear()

    def show(self, *states: State) -> None:
        """Broadcast awareness states to the client."""
        message = protocol.encode_awareness(awareness.encode(list(states)))
        assert self.connection.broadcast(message, encode_frame(message), b"")

    def events(self) -> list[dict[str, Any]]:
        """Return the events so far. All of them are short, so each frame has two bytes before its text."""
        assert all(frame[0] == 0x81 for frame in self.frames)
        return [json.loads(frame[2:]) for frame in self.frames]

    def _write(self, frame: bytes) -> bool:
        if self.reads:
            self.frames.append(frame)
        return self.reads


async def test_events_before_the_answer_to_the_handshake_follow_it() -> None:
    """The client gets each event after the answer, in their order. The answer has older presence. Proves R-JSON-3."""
    client = Client()
    client.show(State(OTHER, 1, "{}"))
    client.connection.begin()
    client.show(State(9, 1, "{}"))
    client.connection.send_event(Pong(id="1"))
    assert client.frames == []
    client.connection.accept(HELLO, presence_of())
    kinds = [json.loads(frame[frame.index(b"{") :])["type"] for frame in client.frames]
    assert kinds == ["handshake_ack", "user_joined", "pong"]


@pytest.mark.parametrize("state", ['{"name":"\\ud83d"}', "[" * 250 + "]" * 250, '{"a":1e999}'])
async def test_answer_to_the_handshake_has_the_states_of_members_unchanged(state: str) -> None:
    """Browsers read these states, although Python's readers of JSON differ about them. Proves R-JSON-3."""
    client = Client()
    client.connection.begin()
    presence = awareness.encode([State(OTHER, 1, state), State(9, 2, "null")])
    client.connection.accept(HELLO, presence)
    (frame,) = client.frames
    member = b'"members":[{"client":%d,"state":%s}]}' % (OTHER, state.encode())
    assert frame.endswith(member)


async def test_client_that_leaves_before_the_answer_to_the_handshake_is_no_member_of_it() -> None:
    """The answer has the presence of an earlier time. A client that has come back is a member. Proves R-JSON-3."""
    client = Client()
    client.connection.begin()
    client.show(State(OTHER, 2, "null"), State(9, 2, "null"))
    client.show(State(9, 3, "{}"))
    client.connection.accept(HELLO, presence_of(OTHER, 9))
    answer, *others = (json.loads(frame[frame.index(b"{") :]) for frame in client.frames)
    assert [each["client"] for each in answer["members"]] == [9]
    assert [(each["type"], each["client"]) for each in others] == [("user_joined", 9)]


async def test_presence_becomes_arrivals_changes_and_departures() -> None:
    """A client from the answer to the handshake has arrived already. Proves R-JSON-5."""
    client = Client()
    client.accept(OTHER)
    client.show(State(OTHER, 2, '{"x":null}'), State(9, 1, '"any"'))
    client.show(State(OTHER, 2, "null"), State(10, 1, "null"))
    client.show(State(OTHER, 3, "{}"))
    assert client.events() == [
        {"type": "user_activity", "client": OTHER, "state": {"x": None}},
        {"type": "user_joined", "client": 9, "state": "any"},
        {"type": "user_left", "client": OTHER},
        {"type": "user_joined", "client": OTHER, "state": {}},
    ]


async def test_client_without_a_renewal_has_left_although_its_removal_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The removal was lost with its holder. Proves R-AWARE-8 and R-JSON-5."""
    client = Client()
    client.accept(OTHER, 9)
    client.connection.send_heartbeat()
    assert client.events() == []
    monkeypatch.setattr(connection_module, "LOST_SECONDS", -1.0)
    client.connection.send_heartbeat()
    monkeypatch.undo()
    left = [{"type": "user_left", "client": each} for each in (OTHER, 9)]
    assert client.events() == left
    client.show(State(OTHER, 2, "{}"))
    assert client.events()[2:] == [{"type": "user_joined", "client": OTHER, "state": {}}]


async def test_removal_of_the_own_state_asks_for_a_renewal() -> None:
    """The client gets no event about itself. Proves R-JSON-5."""
    client = Client()
    client.accept()
    renewals: list[None] = []
    client.connection.on_removal = lambda: renewals.append(None)
    client.show(State(OWN, 1, "{}"))
    assert not renewals
    client.show(State(OWN, 1, "null"))
    assert renewals == [None]
    assert client.frames == []


async def test_new_role_and_the_end_of_the_token_are_announced_and_edits_are_not_sent() -> None:
    """An unchanged role is not announced. Proves R-JSON-3."""
    client = Client()
    client.accept()
    client.connection.settle_role(CanvasRole.EDITOR, 0)
    client.connection.settle_role(CanvasRole.VIEWER, 0)
    client.connection.send(protocol.encode_token_lifetime(60))
    client.connection.send(protocol.encode_update(b"\0\0"))
    client.connection.ask_for_edits(b"\0", "epoch")
    assert client.events() == [
        {"type": "role", "role": "viewer"},
        {"type": "token_expires", "seconds": 60},
    ]


async def test_client_that_is_too_far_behind_is_closed_with_1013() -> None:
    """The client loads the canvas when it comes back. Proves R-JSON-7."""
    client = Client()
    client.accept()
    client.reads = False
    text = b'"' + b"x" * (SLOW_BYTES // 2) + b'"'
    for _ in range(3):
        client.connection.send_text(text, encode_text_frame(text))
    async with asyncio.timeout(5):
        assert (await client.connection.closing).code is Close.OVERLOADED
