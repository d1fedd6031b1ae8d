"""The saved counter, with accepted and discarded messages."""

import random

from svgx_gateway.websocket.trackers.saved_counter import SavedCounter


def test_accepted_messages_are_saved_once_committed() -> None:
    """A commit returns its number, and None when the number has not grown. Proves R-SAVE-1."""
    counter = SavedCounter()
    assert [
        counter.accept(is_step_2=True),
        counter.accept(is_step_2=False),
        counter.accept(is_step_2=False),
    ] == [1, 2, 3]
    assert counter.commit(1) == 1
    assert counter.commit(1) is None
    assert counter.commit(3) == 3


def test_discarded_message_holds_the_count_until_a_step_2_is_committed() -> None:
    """No message after a discarded one is saved before a sync step 2 is committed. Proves R-SAVE-10."""
    counter = SavedCounter()
    counter.accept(is_step_2=True)
    counter.discard()
    counter.discard()
    after = counter.accept(is_step_2=False)
    assert counter.commit(after) == 1, "the second message was discarded"
    step_2 = counter.accept(is_step_2=True)
    later = counter.accept(is_step_2=False)
    assert counter.commit(after) is None
    assert counter.commit(step_2) == 5
    assert counter.commit(later) == 6


def test_each_gap_needs_its_own_step_2() -> None:
    """A sync step 2 saves the messages that were discarded before it, and none after it. Proves R-SAVE-10."""
    counter = SavedCounter()
    counter.discard()
    first = counter.accept(is_step_2=True)
    counter.discard()
    second = counter.accept(is_step_2=True)
    assert counter.commit(first) == 2
    assert counter.commit(second) == 4


def test_lost_message_is_never_counted_as_saved() -> None:
    """Every message that is counted as saved is committed, for random sequences. Proves R-SAVE-10."""
    for seed in range(300):
        choice = random.Random(seed)
        counter = SavedCounter()
        received, committed = set[int](), set[int]()
        uncommitted: list[tuple[int, set[int]]] = []
        for number_sent in range(1, 61):
            match choice.choice(["accept", "accept", "discard", "step 2"]):
                case "discard":
                    counter.discard()
                case kind:
                    is_step_2 = kind == "step 2"
                    received = received | (
                        set(range(1, number_sent + 1)) if is_step_2 else {number_sent}
                    )
                    uncommitted.append((counter.accept(is_step_2=is_step_2), set(received)))
            while uncommitted and choice.random() < 0.5:
                number, committed = uncommitted.pop(0)
                saved = counter.commit(number)
                assert saved is None or set(range(1, saved + 1)) <= committed, f"seed {seed}"
        counter.discard()
        last = counter.accept(is_step_2=True)
        assert counter.commit(last) == last, f"seed {seed}: the last step 2 saves every message"
