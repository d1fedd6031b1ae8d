"""Awareness on the holder's side."""

import pytest

from svgx_collab import participants as module
from svgx_collab.participants import OUTDATED, Participants
from svgx_yjs.awareness import State, decode


def states(update: bytes | None) -> dict[int, str]:
    assert update is not None
    return {state.client: state.json for state in decode(update)}


def among(*present: State, now: float = 0) -> Participants:
    """These are there, and everybody knows."""
    people = Participants()
    for state in present:
        people.receive("ann", state, now)
    people.take_broadcast()
    return people


def test_the_newest_state_of_each_client_is_kept_and_broadcast_once() -> None:
    """Proves R-AWARE-1."""
    people = Participants()
    for state in (State(1, 1, '{"x":1}'), State(2, 5, '{"x":2}'), State(1, 2, '{"x":3}')):
        people.receive("ann", state, now=0)
    people.receive("ann", State(2, 4, '{"old":true}'), now=0)
    assert states(people.take_broadcast()) == {1: '{"x":3}', 2: '{"x":2}'}
    assert people.take_broadcast() is None
    assert states(people.everyone()) == {1: '{"x":3}', 2: '{"x":2}'}


def test_leaving_wins_at_the_same_clock() -> None:
    """Proves R-AWARE-3, y-protocols' rule for a client removed by its server."""
    people = among(State(1, 1, "{}"))
    people.receive("ann", State(1, 1, "null"), now=0)
    assert states(people.take_broadcast()) == {1: "null"}
    assert len(people) == 0
    assert states(people.everyone()) == {}


def test_states_nobody_renews_end() -> None:
    """Proves R-AWARE-8: a gateway that dies takes its clients' presence with it."""
    people = among(State(1, 1, "{}"), State(2, 1, "{}"))
    people.receive("ann", State(2, 2, "{}"), now=OUTDATED - 1)
    people.receive("ann", State(1, 1, "{}"), now=OUTDATED - 1)
    people.take_broadcast()
    people.expire(now=OUTDATED)
    assert states(people.take_broadcast()) == {1: "null"}, "saying the same again renews nothing"
    assert states(people.everyone()) == {2: "{}"}


def test_nobody_speaks_for_another_users_client() -> None:
    """Proves R-AWARE-10: nor ends it, nor takes its place before it has been gone for a while."""
    people = among(State(1, 1, "{}"))
    people.receive("eve", State(1, 2, '{"name":"ann"}'), now=0)
    people.receive("eve", State(1, 2, "null"), now=0)
    assert people.take_broadcast() is None
    people.receive("ann", State(1, 2, "null"), now=1)
    people.receive("eve", State(1, 3, "{}"), now=1)
    assert states(people.take_broadcast()) == {1: "null"}
    people.expire(now=1 + OUTDATED)
    people.receive("eve", State(1, 0, "{}"), now=1 + OUTDATED)
    assert states(people.everyone()) == {1: "{}"}


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-AWARE-11: in clients and in bytes; those who are there may move and leave."""
    monkeypatch.setattr(module, "MAX_STATES", 3)
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    people = among(State(1, 1, '"' + "x" * 58 + '"'), State(2, 1, "{}"))
    people.receive("ann", State(2, 2, '"' + "x" * 50 + '"'), now=0)
    assert people.take_broadcast() is None, "too much in all"
    people.receive("ann", State(2, 3, "[]"), now=0)
    people.receive("ann", State(3, 1, "{}"), now=0)
    people.receive("ann", State(4, 1, "{}"), now=0)
    assert states(people.everyone()).keys() == {1, 2, 3}
    people.receive("ann", State(1, 1, "null"), now=0)
    people.receive("ann", State(2, 4, '"' + "x" * 50 + '"'), now=0)
    assert states(people.everyone()).keys() == {2, 3}
    for now in (OUTDATED, 2 * OUTDATED):
        people.expire(now)
    people.receive("ann", State(5, 1, '"' + "x" * 98 + '"'), now=2 * OUTDATED)
    assert states(people.everyone()).keys() == {5}, "all room is free again"


def test_a_large_broadcast_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-AWARE-11: none is so large that the bus would have to keep it."""
    monkeypatch.setattr(module, "MAX_BROADCAST", 4)
    people = Participants()
    for client in range(5):
        people.receive("ann", State(client, 1, "{}" if client else '"ж"'), now=0)
    sizes = []
    while (update := people.take_broadcast()) is not None:
        sizes.append(len(decode(update)))
    assert sizes == [1, 2, 2], "in bytes"
