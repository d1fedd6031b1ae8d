"""The owner of awareness states, with the messages that npm y-websocket 3 sends."""

import pytest

from svgx_gateway.websocket.trackers import awareness_owner as module
from svgx_gateway.websocket.trackers.awareness_owner import AwarenessClocks, AwarenessOwner
from svgx_yjs.awareness import MAX_CLOCK, MAX_STATE_BYTES, State, encode
from svgx_yjs.lib0 import MAX_SAFE_INTEGER, Malformed

OWN, OTHER, TAB = 7, 8, 9
"""Yjs client ids: of the tested connection, of another user, and of another tab of the same browser."""


def clocks_of(*states: State) -> AwarenessClocks:
    """Return the clocks of a canvas on which the holder reported these states."""
    clocks = AwarenessClocks()
    clocks.record(encode(list(states)))
    return clocks


def test_own_states_are_published_until_the_client_leaves() -> None:
    """A client's own states are returned in order, until it removes itself. Proves R-AWARE-3 and R-AWARE-9."""
    owner, clocks = AwarenessOwner(), clocks_of()
    for state in (State(OWN, 0, "{}"), State(OWN, 1, '{"x":1}')):
        assert owner.receive(encode([state]), clocks) == state
        assert owner.presence() == state
    assert owner.removal() == State(OWN, 1, "null")
    removed = State(OWN, 2, "null")
    assert owner.receive(encode([removed]), clocks) == removed
    assert owner.presence() is None
    assert owner.removal() is None


def test_states_of_other_clients_are_not_published() -> None:
    """States, updates and removals of other clients are not published. Proves R-AWARE-9."""
    owner, clocks = AwarenessOwner(), clocks_of(State(OTHER, 3, "{}"))
    owner.receive(encode([State(OWN, 0, "{}")]), clocks)
    for states in (
        [State(OTHER, 3, "{}")],
        [State(TAB, 0, "{}")],
        [State(OTHER, 9, "{}")],
        [State(OTHER, 3, "null"), State(TAB, 5, "null")],
    ):
        assert owner.receive(encode(states), clocks) is None
    assert owner.removal() == State(OWN, 0, "null")


def test_own_state_is_found_among_other_states() -> None:
    """A client's new state is published when its message also repeats other clients' states. Proves R-AWARE-9."""
    owner, clocks = AwarenessOwner(), clocks_of(State(OTHER, 3, "{}"))
    owner.receive(encode([State(OWN, 0, "{}")]), clocks)
    own = State(OWN, 1, "{}")
    assert owner.receive(encode([State(OTHER, 3, "{}"), own]), clocks) == own


def test_client_without_a_state_publishes_for_no_other_client() -> None:
    """A client without a state publishes for no other client, and publishes its own later state. Proves R-AWARE-9."""
    owner, clocks = AwarenessOwner(), clocks_of(State(OTHER, 3, "{}"))
    assert owner.receive(encode([State(OTHER, 3, "{}")]), clocks) is None
    clocks.record(encode([State(OTHER, 4, "{}")]))
    assert owner.receive(encode([State(OTHER, 4, "{}")]), clocks) is None
    assert owner.receive(encode([State(OTHER, 4, "null")]), clocks) is None
    assert owner.removal() is None
    own = State(OWN, 0, "{}")
    assert owner.receive(encode([own]), clocks) == own


@pytest.mark.parametrize("clock", [0, 4, 5], ids=["reloaded", "late", "reconnected"])
@pytest.mark.parametrize("known", ["{}", "null"], ids=["present", "gone"])
def test_returned_client_is_asked_once_and_publishes_its_next_state(clock: int, known: str) -> None:
    """A returned client is sent its own removal. Another tab's state does not identify the connection's client.

    Proves R-AWARE-4.
    """
    owner, clocks = AwarenessOwner(), clocks_of(State(OWN, 5, known), State(TAB, 2, "{}"))
    assert owner.receive(encode([State(OWN, clock, "{}")]), clocks) is None
    assert owner.take_question() == State(OWN, 5, "null")
    assert owner.take_question() is None
    assert owner.client == OWN
    assert not owner.has_returned
    assert owner.receive(encode([State(TAB, 3, "{}")]), clocks) is None
    assert owner.removal() is None
    own = State(OWN, 6, "{}")
    assert owner.receive(encode([own]), clocks) == own
    assert owner.removal() == State(OWN, 6, "null")
    assert owner.take_question() is None
    assert owner.has_returned


@pytest.mark.parametrize(
    ("is_queried", "clock", "is_found"),
    [(True, 6, True), (True, 5, False), (False, 6, False)],
    ids=["answer", "old state", "not queried"],
)
def test_answer_to_a_query_identifies_the_likely_client_among_other_states(
    is_queried: bool, clock: int, is_found: bool
) -> None:
    """Only the answer to a query, which has all states that the client knows, is searched. Proves R-AWARE-4."""
    owner, clocks = AwarenessOwner(), clocks_of(State(OWN, 5, "{}"), State(TAB, 2, "{}"))
    assert owner.receive(encode([State(OWN, 5, "{}")]), clocks) is None
    assert owner.take_question() == State(OWN, 5, "null")
    owner.is_queried = is_queried
    own = State(OWN, clock, "{}")
    answer = encode([State(TAB, 3, "{}"), own])
    assert owner.receive(answer, clocks) == (own if is_found else None)
    assert owner.has_returned is is_found


def test_repeated_state_of_another_tab_is_never_published_and_causes_one_question() -> None:
    """A tab without a state of its own repeats another tab's state, and publishes nothing. Proves R-AWARE-9."""
    owner, clocks = AwarenessOwner(), clocks_of(State(TAB, 5, "{}"))
    assert owner.receive(encode([State(TAB, 5, "{}")]), clocks) is None
    assert owner.take_question() == State(TAB, 5, "null")
    # The tab accepts and repeats the removal. The holder reports the other tab's answer, and the tab repeats it too.
    assert owner.receive(encode([State(TAB, 5, "null")]), clocks) is None
    clocks.record(encode([State(TAB, 6, "{}")]))
    assert owner.receive(encode([State(TAB, 6, "{}")]), clocks) is None
    assert owner.take_question() is None
    assert owner.removal() is None


def test_new_client_is_not_asked() -> None:
    """A client that the holder has not reported is present at once, and has not returned. Proves R-AWARE-1."""
    owner = AwarenessOwner()
    assert owner.receive(encode([State(OWN, 0, "{}")]), clocks_of()) == State(OWN, 0, "{}")
    assert owner.take_question() is None
    assert not owner.has_returned


@pytest.mark.parametrize("clock", [MAX_CLOCK + 1, MAX_SAFE_INTEGER])
def test_clock_over_the_limit_is_dropped(clock: int) -> None:
    """The state is dropped and the connection stays open, because another user may have sent the clock first.

    Proves R-AWARE-7.
    """
    owner, clocks = AwarenessOwner(), clocks_of(State(OWN, MAX_CLOCK, "null"))
    assert owner.receive(encode([State(OWN, clock, "{}")]), clocks) is None
    assert owner.receive(encode([State(OWN, 0, "{}")]), clocks) is None
    assert owner.take_question() is None, "its answer would be over the limit"


def test_size_of_the_present_states_follows_each_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A removed or forgotten client has no size. Proves R-AWARE-4."""
    monkeypatch.setattr(module, "MAX_CLOCKS", 2)
    clocks = clocks_of(State(OWN, 1, "{}"), State(OTHER, 1, '{"x":1}'))
    assert clocks.present_bytes == len('{}{"x":1}')
    clocks.record(encode([State(OTHER, 2, "[]")]))
    assert clocks.present_bytes == len("{}[]")
    clocks.record(encode([State(OWN, 1, "null")]))
    assert clocks.present_bytes == len("[]")
    clocks.record(encode([State(TAB, 1, "7"), State(OWN, 2, "8")]))
    assert clocks.present_bytes == len("78")


def test_clocks_report_a_returned_client() -> None:
    """A client that left and is present again has returned.

    A new client or newer state is no return. Proves R-AWARE-4.
    """
    clocks = AwarenessClocks()
    assert not clocks.record(encode([State(OWN, 1, "{}"), State(OTHER, 1, "null")]))
    assert not clocks.record(encode([State(OWN, 2, "{}")]))
    assert not clocks.record(encode([State(OWN, 2, "null")]))
    assert clocks.record(encode([State(OWN, 3, "{}")]))
    assert not clocks.record(encode([State(OWN, 4, "{}"), State(TAB, 0, "{}")]))
    assert clocks.record(encode([State(OTHER, 2, "{}")])) == [(OTHER, 2)]


@pytest.mark.parametrize(
    ("clock_of_leaving", "seconds", "has_returned"),
    [(1, 0.0, True), (2, 0.1, False), (2, 4.9, False), (2, 5.1, True)],
    ids=["its connection ended", "toggled", "toggled slowly", "gone for long"],
)
def test_client_that_removed_its_own_state_returns_only_after_gone_seconds(
    clock_of_leaving: int, seconds: float, has_returned: bool
) -> None:
    """A client that removes its own state increases the clock. A removal by the gateway does not. Proves R-AWARE-4."""
    now = 100.0
    clocks = AwarenessClocks(lambda: now)
    clocks.record(encode([State(OWN, 1, "{}")]))
    clocks.record(encode([State(OWN, clock_of_leaving, "null")]))
    now += seconds / 2
    clocks.record(encode([State(OWN, clock_of_leaving, "null")]))
    now += seconds / 2 + 0.001
    assert bool(clocks.record(encode([State(OWN, 3, "{}")]))) is has_returned


@pytest.mark.parametrize(
    "update",
    [
        encode([State(OWN, 1, '"' + "x" * MAX_STATE_BYTES + '"')]),
        encode([State(OWN, 1, "{")]),
        b"\x01\x05",
        b"\xff",
    ],
)
def test_invalid_state_is_malformed(update: bytes) -> None:
    """A state that is too large or is not JSON is malformed. Proves R-AWARE-7."""
    with pytest.raises(Malformed):
        AwarenessOwner().receive(update, clocks_of())


def test_entries_and_clocks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries beyond `MAX_ENTRIES` are ignored, and clocks beyond `MAX_CLOCKS` are forgotten. Proves R-AWARE-11."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    monkeypatch.setattr(module, "MAX_CLOCKS", 3)
    owner, clocks = AwarenessOwner(), clocks_of()
    owner.receive(encode([State(OWN, 0, "{}")]), clocks)
    others = [State(100 + number, 0, "{}") for number in range(5)]
    assert owner.receive(encode([*others, State(OWN, 1, "{}")]), clocks) is None
    clocks.record(encode(others[:3]))
    clocks.record(encode([others[0], others[4]]))
    assert [clocks.clock(other.client) for other in others] == [0, None, 0, None, 0]
