"""Whom a connection speaks for, with the messages that npm y-websocket 3 sends."""

import pytest

from svgx_gateway.websocket import awareness_owner as module
from svgx_gateway.websocket.awareness_owner import AwarenessClocks, AwarenessOwner
from svgx_yjs.awareness import MAX_STATE, State, encode
from svgx_yjs.lib0 import MAX_SAFE_INTEGER, Malformed

ME, OTHER, TAB = 7, 8, 9


def told(*states: State) -> AwarenessClocks:
    """What clients of the canvas were told before."""
    told = AwarenessClocks()
    told.note(encode(list(states)))
    return told


def test_a_client_shows_itself_moves_and_leaves() -> None:
    """Proves R-AWARE-3 and R-AWARE-9."""
    voice, before = AwarenessOwner(), told()
    for state in (State(ME, 0, "{}"), State(ME, 1, '{"x":1}')):
        assert voice.hear(encode([state]), before) == state
        assert voice.presence() == state
    assert voice.farewell() == State(ME, 1, "null")
    gone = State(ME, 2, "null")
    assert voice.hear(encode([gone]), before) == gone
    assert voice.presence() is None
    assert voice.farewell() is None


def test_what_is_said_of_others_is_not_passed_on() -> None:
    """Echoes, other tabs' news, and others who were only lost sight of. Proves R-AWARE-9."""
    voice, before = AwarenessOwner(), told(State(OTHER, 3, "{}"))
    voice.hear(encode([State(ME, 0, "{}")]), before)
    for states in (
        [State(OTHER, 3, "{}")],
        [State(TAB, 0, "{}")],
        [State(OTHER, 9, "{}")],
        [State(OTHER, 3, "null"), State(TAB, 5, "null")],
    ):
        assert voice.hear(encode(states), before) is None
    assert voice.farewell() == State(ME, 0, "null")


def test_its_own_news_among_others_is_heard() -> None:
    """A client that was said to be gone answers so, in the message that repeats the rest. Proves R-AWARE-9."""
    voice, before = AwarenessOwner(), told(State(OTHER, 3, "{}"))
    voice.hear(encode([State(ME, 0, "{}")]), before)
    mine = State(ME, 1, "{}")
    assert voice.hear(encode([State(OTHER, 3, "{}"), mine]), before) == mine


def test_who_only_listens_never_speaks_for_those_it_hears() -> None:
    """And is heard when it shows itself after all. Proves R-AWARE-9."""
    voice, before = AwarenessOwner(), told(State(OTHER, 3, "{}"))
    assert voice.hear(encode([State(OTHER, 3, "{}")]), before) is None
    before.note(encode([State(OTHER, 4, "{}")]))
    assert voice.hear(encode([State(OTHER, 4, "{}")]), before) is None
    assert voice.hear(encode([State(OTHER, 4, "null")]), before) is None
    assert voice.farewell() is None
    mine = State(ME, 0, "{}")
    assert voice.hear(encode([mine]), before) == mine


def test_who_comes_back_is_heard_with_its_next_movement() -> None:
    """It repeats its old clock first; another tab's news in between does not take its place. Proves R-AWARE-4."""
    voice, before = AwarenessOwner(), told(State(ME, 5, "{}"), State(TAB, 2, "{}"))
    assert voice.hear(encode([State(ME, 5, "{}")]), before) is None
    assert voice.hear(encode([State(TAB, 3, "{}")]), before) is None
    assert voice.farewell() is None
    mine = State(ME, 6, "{}")
    assert voice.hear(encode([mine]), before) == mine
    assert voice.farewell() == State(ME, 6, "null")


@pytest.mark.parametrize(
    "update",
    [
        encode([State(ME, 1, '"' + "x" * MAX_STATE + '"')]),
        encode([State(ME, MAX_SAFE_INTEGER, "{}")]),
        encode([State(ME, 1, "{")]),
        b"\x01\x05",
        b"\xff",
    ],
)
def test_what_a_client_must_not_say(update: bytes) -> None:
    """Proves R-AWARE-7: too large, an absurd clock, no JSON, cut off."""
    with pytest.raises(Malformed):
        AwarenessOwner().hear(update, told())


def test_long_messages_and_long_memories_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves R-AWARE-11."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    monkeypatch.setattr(module, "MAX_TOLD", 3)
    voice, before = AwarenessOwner(), told()
    voice.hear(encode([State(ME, 0, "{}")]), before)
    others = [State(100 + number, 0, "{}") for number in range(5)]
    assert voice.hear(encode([*others, State(ME, 1, "{}")]), before) is None
    before.note(encode(others[:3]))
    before.note(encode([others[0], others[4]]))
    assert [before.clock(other.client) for other in others] == [0, None, 0, None, 0]
