"""The broadcast tracker: the detection of gaps, and the state vector of the content that every client has."""

from svgx_common.contract.collab import Broadcast, SyncReply
from svgx_gateway.websocket.trackers.broadcast_tracker import BroadcastTracker
from svgx_yjs.structure import EMPTY_STATE_VECTOR, encode_state_vector, read_state_vector


def reply(sequence: int, vector: bytes, epoch: str = "e") -> SyncReply:
    return SyncReply(epoch, sequence, vector, b"", b"\x00")


def broadcast(sequence: int, epoch: str = "e") -> Broadcast:
    return Broadcast(epoch, sequence, b"")


def tracker_at(sequence: int) -> BroadcastTracker:
    """Return a tracker of clients that have every broadcast up to number `sequence`."""
    tracker = BroadcastTracker()
    tracker.record_sync(reply(sequence, b"joined"))
    return tracker


def test_gap_and_new_holder_start_a_catch_up() -> None:
    """A missing sequence number and a new epoch are gaps. Proves R-SYNC-15."""
    tracker = tracker_at(3)
    tracker.record_broadcast(broadcast(4))
    tracker.record_broadcast(broadcast(4))
    assert not tracker.behind.is_set()
    tracker.record_broadcast(broadcast(6))
    assert tracker.behind.is_set()
    tracker.record_catch_up(reply(6, b"caught"), tracker.suspected_gaps)
    assert not tracker.behind.is_set()
    tracker.record_broadcast(broadcast(1, "next"))
    assert tracker.behind.is_set()


def test_vector_counts_no_edit_that_an_older_reply_lacks() -> None:
    """A reply may have an edit that is broadcast later, and a client with an older reply lacks it until then.

    Proves R-SYNC-15.
    """
    tracker = BroadcastTracker()
    newer, older = encode_state_vector({1: 2, 2: 1}), encode_state_vector({1: 2})
    tracker.record_sync(reply(3, newer))
    tracker.record_sync(reply(3, newer))
    assert tracker.vector == newer
    tracker.record_sync(reply(3, older))
    assert read_state_vector(tracker.vector) == {1: 2}
    tracker.record_broadcast(broadcast(4))
    tracker.record_sync(reply(4, encode_state_vector({2: 1})))
    assert read_state_vector(tracker.vector) == {1: 2}, (
        "the later reply has all that the first one had"
    )
    tracker.suspect_gap()
    tracker.record_catch_up(reply(4, newer), tracker.suspected_gaps)
    tracker.record_sync(reply(4, older))
    assert read_state_vector(tracker.vector) == {1: 2}
    tracker.record_checkpoint(reply(4, newer))
    tracker.record_sync(reply(4, older))
    assert tracker.vector == newer, "each client got the broadcasts up to the checkpoint"


def test_lost_last_broadcast_is_found_at_the_second_checkpoint() -> None:
    """The second checkpoint with the number of a missing broadcast shows a gap. Proves R-SYNC-15."""
    tracker = tracker_at(3)
    assert not tracker.record_checkpoint(reply(4, b"4"))
    assert not tracker.behind.is_set(), "the broadcast may still arrive"
    tracker.record_checkpoint(reply(4, b"4"))
    assert tracker.behind.is_set()


def test_new_holder_without_broadcasts_is_found_at_a_checkpoint() -> None:
    """A new epoch is a gap, because the old holder may have failed before it broadcast an edit. Proves R-SYNC-15."""
    tracker = tracker_at(3)
    tracker.record_checkpoint(reply(0, b"0", "next"))
    assert tracker.behind.is_set()


def test_checkpoint_vector_is_adopted_with_its_last_broadcast() -> None:
    """The vector counts the broadcasts up to the position of its checkpoint. Proves R-SYNC-15."""
    tracker = tracker_at(3)
    assert tracker.record_checkpoint(reply(3, b"3"))
    assert tracker.vector == b"3"
    assert not tracker.record_checkpoint(reply(5, b"5"))
    tracker.record_broadcast(broadcast(4))
    assert tracker.vector == b"3"
    tracker.record_broadcast(broadcast(5))
    assert tracker.vector == b"5"
    assert not tracker.behind.is_set()


def test_checkpoint_vector_is_not_adopted_during_a_gap() -> None:
    """A client that begins to lag during a gap must get all updates since the vector before the gap.

    Proves R-SYNC-15.
    """
    tracker = tracker_at(3)
    tracker.record_checkpoint(reply(5, b"checkpoint"))
    tracker.record_broadcast(broadcast(6))
    suspected_gaps = tracker.suspected_gaps
    tracker.record_broadcast(broadcast(7))
    assert tracker.behind.is_set()
    assert tracker.vector == b"joined"
    tracker.record_catch_up(reply(7, b"caught"), suspected_gaps)
    assert tracker.vector == b"caught"
    tracker.record_broadcast(broadcast(8))
    assert tracker.vector == b"caught"
    assert not tracker.behind.is_set()


def test_gap_suspected_during_a_catch_up_needs_another_catch_up() -> None:
    """A catch-up ends only the gaps suspected before its request. Proves R-SYNC-15."""
    tracker = tracker_at(3)
    tracker.suspect_gap()
    suspected_gaps = tracker.suspected_gaps
    tracker.suspect_gap()
    tracker.record_catch_up(reply(3, b"caught"), suspected_gaps)
    assert tracker.behind.is_set()
    tracker.record_catch_up(reply(3, b"caught"), tracker.suspected_gaps)
    assert not tracker.behind.is_set()


def test_older_reply_during_a_catch_up_needs_another_catch_up() -> None:
    """The catch-up began with a vector that counts an edit which the older reply lacks. Proves R-SYNC-15."""
    tracker = BroadcastTracker()
    tracker.record_sync(reply(3, encode_state_vector({1: 2, 2: 1})))
    tracker.record_broadcast(broadcast(5))
    suspected_gaps = tracker.suspected_gaps
    assert read_state_vector(tracker.begin_catch_up()) == {1: 2, 2: 1}
    tracker.record_sync(reply(3, encode_state_vector({1: 2})))
    tracker.record_catch_up(reply(5, encode_state_vector({1: 2, 2: 1})), suspected_gaps)
    assert tracker.behind.is_set()


def test_catch_up_sends_content_that_a_reply_of_an_ended_holder_lacks() -> None:
    """A client that joins with the reply of an ended holder lacks content that all other clients have.

    Proves R-SYNC-15.
    """
    tracker = BroadcastTracker()
    tracker.record_sync(reply(3, encode_state_vector({1: 9, 2: 3})))
    tracker.record_sync(reply(7, encode_state_vector({1: 5, 4: 1}), "ended"))
    assert tracker.behind.is_set()
    suspected = tracker.suspected_gaps
    assert read_state_vector(tracker.begin_catch_up()) == {1: 5}
    # Another client joins before the reply of the catch-up arrives.
    tracker.record_sync(reply(7, encode_state_vector({1: 6, 2: 2}), "ended"))
    tracker.record_catch_up(reply(3, encode_state_vector({1: 9, 2: 3})), suspected)
    assert tracker.behind.is_set()
    assert read_state_vector(tracker.begin_catch_up()) == {1: 6, 2: 2}
    assert read_state_vector(tracker.begin_catch_up()) == {1: 9, 2: 3}


def test_broadcast_that_a_catch_up_included_is_no_gap() -> None:
    """A broadcast that a catch-up included may be lost or late. Proves R-SYNC-15."""
    tracker = tracker_at(3)
    tracker.suspect_gap()
    tracker.record_catch_up(reply(5, b"caught"), tracker.suspected_gaps)
    tracker.record_broadcast(broadcast(4))
    tracker.record_broadcast(broadcast(6))
    assert not tracker.behind.is_set()


def test_broadcast_before_the_first_sync_needs_a_full_catch_up() -> None:
    """Before the first sync a catch-up starts from the empty state vector. Proves R-SYNC-15."""
    tracker = BroadcastTracker()
    tracker.record_broadcast(broadcast(5))
    assert tracker.behind.is_set()
    assert tracker.vector == EMPTY_STATE_VECTOR
