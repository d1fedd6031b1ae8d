"""How much is saved, when not everything was taken."""

import random

from svgx_gateway.websocket.saved_counter import SavedCounter


def test_what_is_taken_is_counted_when_it_is_committed() -> None:
    """Proves R-SAVE-1: and nothing is said twice."""
    tally = SavedCounter()
    assert [tally.take(whole=True), tally.take(whole=False), tally.take(whole=False)] == [1, 2, 3]
    assert tally.commit(1) == 1
    assert tally.commit(1) is None
    assert tally.commit(3) == 3


def test_what_was_not_taken_holds_the_count_back_until_a_step_2_makes_up_for_it() -> None:
    """Proves R-SAVE-10."""
    tally = SavedCounter()
    tally.take(whole=True)
    tally.discard()
    tally.discard()
    after = tally.take(whole=False)
    assert tally.commit(after) == 1, "the second was not taken"
    whole = tally.take(whole=True)
    later = tally.take(whole=False)
    assert tally.commit(after) is None
    assert tally.commit(whole) == 5
    assert tally.commit(later) == 6


def test_each_gap_needs_its_own_step_2() -> None:
    """Proves R-SAVE-10: an editor who was a viewer twice."""
    tally = SavedCounter()
    tally.discard()
    first = tally.take(whole=True)
    tally.discard()
    second = tally.take(whole=True)
    assert tally.commit(first) == 2
    assert tally.commit(second) == 4


def test_nothing_lost_is_ever_called_saved() -> None:
    """Against a client that remembers what the server has of it. Proves R-SAVE-10."""
    for seed in range(300):
        choice = random.Random(seed)
        tally = SavedCounter()
        held, committed = set[int](), set[int]()
        waiting: list[tuple[int, set[int]]] = []
        for made in range(1, 61):
            match choice.choice(["take", "take", "discard", "whole"]):
                case "discard":
                    tally.discard()
                case kind:
                    whole = kind == "whole"
                    held = held | (set(range(1, made + 1)) if whole else {made})
                    waiting.append((tally.take(whole=whole), set(held)))
            while waiting and choice.random() < 0.5:
                number, committed = waiting.pop(0)
                saved = tally.commit(number)
                assert saved is None or set(range(1, saved + 1)) <= committed, f"seed {seed}"
        tally.discard()
        last = tally.take(whole=True)
        assert tally.commit(last) == last, f"seed {seed}: it catches up"
