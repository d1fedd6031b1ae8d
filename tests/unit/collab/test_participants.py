"""Awareness on the holder's side."""

from svgx_collab.participants import OUTDATED, Participants
from svgx_common.awareness import State, decode, encode


def states(update: bytes | None) -> dict[int, str]:
    assert update is not None
    return {state.client: state.json for state in decode(update)}


def test_the_newest_state_of_each_client_is_kept_and_broadcast_once() -> None:
    """Proves R-AWARE-1."""
    people = Participants()
    people.receive(encode([State(1, 1, '{"x":1}'), State(2, 5, '{"x":2}')]), now=0)
    people.receive(encode([State(1, 2, '{"x":3}'), State(2, 4, '{"old":true}')]), now=0)
    assert states(people.take_broadcast()) == {1: '{"x":3}', 2: '{"x":2}'}
    assert people.take_broadcast() is None
    assert states(people.everyone()) == {1: '{"x":3}', 2: '{"x":2}'}


def test_leaving_wins_at_the_same_clock() -> None:
    """Proves R-AWARE-3, y-protocols' rule for a client removed by its server."""
    people = Participants()
    people.receive(encode([State(1, 1, "{}")]), now=0)
    people.take_broadcast()
    people.receive(encode([State(1, 1, "null")]), now=0)
    assert states(people.take_broadcast()) == {1: "null"}
    assert len(people) == 0
    assert states(people.everyone()) == {}


def test_states_nobody_renews_end() -> None:
    """Proves R-AWARE-8: a gateway that dies takes its clients' presence with it."""
    people = Participants()
    people.receive(encode([State(1, 1, "{}"), State(2, 1, "{}")]), now=0)
    people.receive(encode([State(2, 2, "{}")]), now=OUTDATED - 1)
    people.take_broadcast()
    people.expire(now=OUTDATED)
    assert states(people.take_broadcast()) == {1: "null"}
    assert states(people.everyone()) == {2: "{}"}
