"""The saved counter, with accepted and discarded messages."""

import random

import pytest

from svgx_gateway.websocket.trackers.saved_counter import SavedCounter

HOLDER, NEXT_HOLDER = "first", "second"
"""The epochs of a holder, and of the holder that takes over."""


def test_accepted_messages_are_saved_once_committed() -> None:
    """A commit returns the number of saved messages, or None when it has not grown. Proves R-SAVE-1."""
    counter = SavedCounter()
    assert [
        counter.accept(is_step_2=True),
        counter.accept(is_step_2=False),
        counter.accept(is_step_2=False),
    ] == [1, 2, 3]
    assert counter.commit(1, HOLDER) == 1
    assert counter.commit(1, HOLDER) is None
    assert counter.commit(3, HOLDER) == 3


def test_discarded_message_holds_the_count_until_a_step_2_is_committed() -> None:
    """No message after a discarded one is saved before a sync step 2 is committed. Proves R-SAVE-10."""
    counter = SavedCounter()
    counter.accept(is_step_2=True)
    counter.discard(is_step_2=False)
    counter.discard(is_step_2=False)
    after = counter.accept(is_step_2=False)
    assert counter.commit(after, HOLDER) == 1, "the second message was discarded"
    step_2 = counter.accept(is_step_2=True)
    later = counter.accept(is_step_2=False)
    assert counter.commit(after, HOLDER) is None
    assert counter.commit(step_2, HOLDER) == 5
    assert counter.commit(later, HOLDER) == 6


def test_each_gap_needs_its_own_step_2() -> None:
    """A sync step 2 saves the messages that were discarded before it, and none after it. Proves R-SAVE-10."""
    counter = SavedCounter()
    counter.discard(is_step_2=False)
    first = counter.accept(is_step_2=True)
    counter.discard(is_step_2=False)
    second = counter.accept(is_step_2=True)
    assert counter.commit(first, HOLDER) == 2
    assert counter.commit(second, HOLDER) == 4


def test_lost_message_is_never_counted_as_saved() -> None:
    """Every message that is counted as saved is committed, for random sequences. Proves R-SAVE-10."""
    for seed in range(300):
        rng = random.Random(seed)
        counter = SavedCounter()
        received, committed = set[int](), set[int]()
        uncommitted: list[tuple[int, set[int]]] = []
        for number_sent in range(1, 61):
            match rng.choice(["accept", "accept", "discard", "step 2"]):
                case "discard":
                    counter.discard(is_step_2=False)
                case kind:
                    is_step_2 = kind == "step 2"
                    received = received | (
                        set(range(1, number_sent + 1)) if is_step_2 else {number_sent}
                    )
                    uncommitted.append((counter.accept(is_step_2=is_step_2), set(received)))
            while uncommitted and rng.random() < 0.5:
                number, committed = uncommitted.pop(0)
                saved = counter.commit(number, HOLDER)
                assert saved is None or set(range(1, saved + 1)) <= committed, f"seed {seed}"
        counter.discard(is_step_2=False)
        last = counter.accept(is_step_2=True)
        assert counter.commit(last, HOLDER) == last, (
            f"seed {seed}: the last step 2 saves every message"
        )


def test_step_2_for_an_ended_holder_saves_nothing_before_the_next_holder_has_its_own() -> None:
    """The ended holder may have had edits of this client that no holder has committed. Proves R-SAVE-11."""
    counter = SavedCounter()
    counter.ask(HOLDER)
    answer = counter.accept(is_step_2=True)
    edit = counter.accept(is_step_2=False)
    assert counter.commit(answer, NEXT_HOLDER) is None
    assert counter.commit(edit, NEXT_HOLDER) is None
    counter.ask(NEXT_HOLDER)
    second_answer = counter.accept(is_step_2=True)
    later = counter.accept(is_step_2=False)
    assert counter.commit(second_answer, NEXT_HOLDER) == second_answer
    assert counter.commit(later, NEXT_HOLDER) == later


def test_both_answers_that_one_holder_commits_are_told_apart() -> None:
    """The answers keep the order of the questions, also when both arrive before a commit. Proves R-SAVE-11."""
    counter = SavedCounter()
    counter.ask(HOLDER)
    counter.ask(NEXT_HOLDER)
    first, second = counter.accept(is_step_2=True), counter.accept(is_step_2=True)
    assert counter.commit(first, NEXT_HOLDER) is None
    assert counter.commit(second, NEXT_HOLDER) == second


def test_step_2_for_an_ended_holder_fills_no_gap() -> None:
    """Proves R-SAVE-10 and R-SAVE-11: the gap of a discarded message stays until the new holder has an answer."""
    counter = SavedCounter()
    counter.discard(is_step_2=False)
    counter.ask(HOLDER)
    answer = counter.accept(is_step_2=True)
    assert counter.commit(answer, NEXT_HOLDER) is None
    counter.ask(NEXT_HOLDER)
    counter.discard(is_step_2=True)  # the client is a viewer at this moment
    counter.ask(NEXT_HOLDER)
    last = counter.accept(is_step_2=True)
    assert counter.commit(last, NEXT_HOLDER) == last


def test_discarded_step_2_is_the_answer_to_its_question() -> None:
    """The next sync step 2 answers the next question, here that of the ended holder. Proves R-SAVE-11."""
    counter = SavedCounter()
    counter.ask(NEXT_HOLDER)
    counter.ask(HOLDER)  # the reply of the ended holder came late
    counter.discard(is_step_2=True)  # the client is a viewer at this moment
    answer = counter.accept(is_step_2=True)
    assert counter.commit(answer, NEXT_HOLDER) is None
    assert counter.is_unasked
    counter.ask(NEXT_HOLDER)
    last = counter.accept(is_step_2=True)
    assert counter.commit(last, NEXT_HOLDER) == last


@pytest.mark.parametrize(
    ("questions", "unasked"),
    [
        ([NEXT_HOLDER], False),
        ([HOLDER], True),
        ([HOLDER, NEXT_HOLDER], False),
        ([NEXT_HOLDER, HOLDER], True),  # the reply of the ended holder came late
    ],
)
def test_gap_that_no_answer_will_fill_is_shown_until_the_client_is_asked(
    questions: list[str], unasked: bool
) -> None:
    """Without another question, the client would never learn that its edits are saved. Proves R-SAVE-11."""
    counter = SavedCounter()
    for holder in questions:
        counter.ask(holder)
    for _ in questions:
        counter.commit(counter.accept(is_step_2=True), NEXT_HOLDER)
    assert counter.is_unasked is unasked
    counter.ask(NEXT_HOLDER)
    assert not counter.is_unasked
    last = counter.accept(is_step_2=True)
    assert counter.commit(last, NEXT_HOLDER) == last
    assert not counter.is_unasked


def test_later_change_of_the_holder_keeps_the_count() -> None:
    """When the holder that asked has committed the answer, no second answer is needed. Proves R-SAVE-11."""
    counter = SavedCounter()
    counter.ask(HOLDER)
    answer = counter.accept(is_step_2=True)
    edit = counter.accept(is_step_2=False)
    assert counter.commit(answer, HOLDER) == answer
    assert counter.commit(edit, NEXT_HOLDER) == edit


def test_unasked_step_2_counts() -> None:
    """A client may send a sync step 2 without being asked. Proves R-SAVE-1."""
    counter = SavedCounter()
    assert counter.commit(counter.accept(is_step_2=True), HOLDER) == 1
