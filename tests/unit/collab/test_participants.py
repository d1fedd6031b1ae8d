"""The awareness states that a holder keeps."""

import pytest

from svgx_collab import participants as module
from svgx_collab.participants import OUTDATED_SECONDS, Participants
from svgx_yjs.awareness import MAX_CLOCK, State, decode


def states(update: bytes | None) -> dict[int, str]:
    assert update is not None
    return {state.client: state.json for state in decode(update)}


def present(participants: Participants) -> dict[int, str]:
    """Return the states of the present clients."""
    known = states(participants.known_states())
    return {client: json for client, json in known.items() if json != "null"}


def participants_with(*present: State, now: float = 0) -> Participants:
    """Return participants with these states, all of them broadcast already."""
    participants = Participants()
    for state in present:
        participants.receive("ann", state, now)
    participants.take_broadcast()
    return participants


def test_the_newest_state_of_each_client_is_kept_and_broadcast_once() -> None:
    """The newest state of each client is broadcast once, and kept; an older state changes nothing. Proves R-AWARE-1."""
    participants = Participants()
    for state in (State(1, 1, '{"x":1}'), State(2, 5, '{"x":2}'), State(1, 2, '{"x":3}')):
        participants.receive("ann", state, now=0)
    participants.receive("ann", State(2, 4, '{"old":true}'), now=0)
    assert states(participants.take_broadcast()) == {1: '{"x":3}', 2: '{"x":2}'}
    assert participants.take_broadcast() is None
    assert present(participants) == {1: '{"x":3}', 2: '{"x":2}'}


def test_removal_of_a_state_replaces_it_at_equal_clocks() -> None:
    """At equal clocks, the removal of a state replaces the state, as in y-protocols. Proves R-AWARE-3."""
    participants = participants_with(State(1, 1, "{}"))
    participants.receive("ann", State(1, 1, "null"), now=0)
    assert states(participants.take_broadcast()) == {1: "null"}
    assert len(participants) == 0
    assert present(participants) == {}


def test_state_that_is_not_renewed_ends() -> None:
    """A state ends when no gateway renews it for 30 s. Proves R-AWARE-8."""
    participants = participants_with(State(1, 1, "{}"), State(2, 1, "{}"))
    participants.receive("ann", State(2, 2, "{}"), now=OUTDATED_SECONDS - 1)
    participants.receive("ann", State(1, 1, "{}"), now=OUTDATED_SECONDS - 1)
    participants.take_broadcast()
    participants.expire(now=OUTDATED_SECONDS)
    assert states(participants.take_broadcast()) == {1: "null"}, "a repeated state renews nothing"
    assert present(participants) == {2: "{}"}


def test_client_of_another_user_cannot_be_changed() -> None:
    """A user cannot change or end the state of another user's client, nor use its id until it has been gone for 30 s.

    Proves R-AWARE-10.
    """
    participants = participants_with(State(1, 1, "{}"))
    participants.receive("eve", State(1, 2, '{"name":"ann"}'), now=0)
    participants.receive("eve", State(1, 2, "null"), now=0)
    assert participants.take_broadcast() is None
    participants.receive("ann", State(1, 2, "null"), now=1)
    participants.receive("eve", State(1, 3, "{}"), now=1)
    assert states(participants.take_broadcast()) == {1: "null"}
    participants.expire(now=1 + OUTDATED_SECONDS)
    participants.receive("eve", State(1, 2, "{}"), now=1 + OUTDATED_SECONDS)
    assert present(participants) == {}, "other pages would ignore this clock"
    participants.receive("eve", State(1, 3, "{}"), now=1 + OUTDATED_SECONDS)
    assert present(participants) == {1: "{}"}


def test_kept_states_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of clients and the bytes of their states are bounded; present clients may still change and leave.

    Proves R-AWARE-11.
    """
    monkeypatch.setattr(module, "MAX_STATES", 3)
    monkeypatch.setattr(module, "MAX_GONE", 0)
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    participants = participants_with(State(1, 1, '"' + "x" * 58 + '"'), State(2, 1, "{}"))
    participants.receive("ann", State(2, 2, '"' + "x" * 50 + '"'), now=0)
    assert participants.take_broadcast() is None, "too many bytes in total"
    participants.receive("ann", State(2, 3, "[]"), now=0)
    participants.receive("ann", State(3, 1, "{}"), now=0)
    participants.receive("ann", State(4, 1, "{}"), now=0)
    assert present(participants).keys() == {1, 2, 3}
    participants.receive("ann", State(1, 1, "null"), now=0)
    participants.receive("ann", State(2, 4, '"' + "x" * 50 + '"'), now=0)
    assert present(participants).keys() == {2, 3}
    for now in (OUTDATED_SECONDS, 2 * OUTDATED_SECONDS):
        participants.expire(now)
    participants.receive("ann", State(5, 1, '"' + "x" * 98 + '"'), now=2 * OUTDATED_SECONDS)
    assert present(participants).keys() == {5}, "all space is free again"


def test_large_broadcast_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broadcast takes no further state once it has `MAX_BROADCAST_BYTES`. Proves R-AWARE-11."""
    monkeypatch.setattr(module, "MAX_BROADCAST_BYTES", 4)
    participants = Participants()
    for client in range(5):
        participants.receive("ann", State(client, 1, "{}" if client else '"ж"'), now=0)
    states_per_broadcast = []
    while (update := participants.take_broadcast()) is not None:
        states_per_broadcast.append(len(decode(update)))
    assert states_per_broadcast == [1, 2, 2], "the limit counts bytes, not characters"


def test_clocks_of_clients_that_left_are_kept_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A joining page gets the clocks of clients that left.

    After `OUTDATED_SECONDS` only the last `MAX_GONE` clients to leave are remembered, and none with a clock near the
    limit.

    Proves R-AWARE-4 and R-AWARE-11.
    """
    monkeypatch.setattr(module, "MAX_GONE", 2)
    participants = participants_with(*(State(client, 7, "{}") for client in range(1, 5)))
    participants.receive("ann", State(5, MAX_CLOCK, "{}"), now=0)
    for client in range(1, 5):
        participants.receive("ann", State(client, 7, "null"), now=client)
    participants.receive("ann", State(5, MAX_CLOCK, "null"), now=5)
    assert states(participants.known_states()) == dict.fromkeys(range(1, 6), "null")
    participants.expire(now=10 + OUTDATED_SECONDS)
    assert states(participants.known_states()) == {3: "null", 4: "null"}
    participants.expire(now=100 * OUTDATED_SECONDS)
    assert states(participants.known_states()) == {3: "null", 4: "null"}
    participants.receive("eve", State(3, 7, "{}"), now=100 * OUTDATED_SECONDS)
    assert present(participants) == {}
    participants.receive("eve", State(3, 8, "{}"), now=100 * OUTDATED_SECONDS)
    assert present(participants) == {3: "{}"}
