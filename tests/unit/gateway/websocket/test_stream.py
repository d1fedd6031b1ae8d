"""Following the holder's broadcasts: what every client is known to have, and when something is missing."""

from svgx_common.messaging.wire import Broadcast, SyncReply
from svgx_gateway.websocket.stream import Stream
from svgx_yjs.structure import EMPTY_STATE_VECTOR


def reply(sequence: int, vector: bytes, epoch: str = "e") -> SyncReply:
    return SyncReply(epoch, sequence, vector, b"", b"\x00")


def broadcast(sequence: int, epoch: str = "e") -> Broadcast:
    return Broadcast(epoch, sequence, b"")


def following(sequence: int) -> Stream:
    """A stream whose clients have everything up to there."""
    stream = Stream()
    stream.joined(reply(sequence, b"joined"))
    return stream


def test_a_gap_and_a_new_holder_are_noticed() -> None:
    """Proves R-SYNC-15."""
    stream = following(3)
    stream.passed_on(broadcast(4))
    stream.passed_on(broadcast(4))
    assert not stream.behind.is_set()
    stream.passed_on(broadcast(6))
    assert stream.behind.is_set()
    stream.caught_up(reply(6, b"caught"), stream.doubts)
    assert not stream.behind.is_set()
    stream.passed_on(broadcast(1, "next"))
    assert stream.behind.is_set()


def test_a_lost_last_broadcast_is_noticed_at_the_next_look() -> None:
    """Proves R-SYNC-15: nothing comes after it that would show the gap."""
    stream = following(3)
    assert not stream.looked(reply(4, b"4"))
    assert not stream.behind.is_set(), "it may be on its way"
    stream.looked(reply(4, b"4"))
    assert stream.behind.is_set()


def test_a_holder_that_changed_while_nobody_draws_is_noticed() -> None:
    """Proves R-SYNC-15: the one before may have died between its commit and its broadcast."""
    stream = following(3)
    stream.looked(reply(0, b"0", "next"))
    assert stream.behind.is_set()


def test_a_checkpoint_counts_once_all_in_it_has_been_passed_on() -> None:
    """Proves R-SYNC-15: its vector may hold what the broadcast after it carries."""
    stream = following(3)
    assert stream.looked(reply(3, b"with what comes in 4"))
    stream.passed_on(broadcast(3))
    assert stream.vector == b"joined"
    stream.passed_on(broadcast(4))
    assert stream.vector == b"with what comes in 4"


def test_a_checkpoint_of_a_quiet_canvas_counts_at_the_next_look() -> None:
    """Proves R-SYNC-15."""
    stream = following(3)
    stream.looked(reply(3, b"quiet"))
    assert stream.vector == b"joined"
    stream.looked(reply(3, b"quiet"))
    assert stream.vector == b"quiet"
    assert not stream.behind.is_set()


def test_no_checkpoint_counts_before_the_gap_is_filled() -> None:
    """Proves R-SYNC-15: a client that falls behind meanwhile would start after what it misses."""
    stream = following(3)
    stream.looked(reply(3, b"checkpoint"))
    stream.passed_on(broadcast(6))
    doubts = stream.doubts
    stream.passed_on(broadcast(7))
    assert stream.behind.is_set()
    assert stream.vector == b"joined"
    stream.caught_up(reply(7, b"caught"), doubts)
    assert stream.vector == b"caught"
    stream.passed_on(broadcast(8))
    assert stream.vector == b"caught"
    assert not stream.behind.is_set()


def test_a_doubt_during_a_catch_up_is_not_forgotten() -> None:
    """Proves R-SYNC-15."""
    stream = following(3)
    stream.doubt()
    doubts = stream.doubts
    stream.doubt()
    stream.caught_up(reply(3, b"caught"), doubts)
    assert stream.behind.is_set()
    stream.caught_up(reply(3, b"caught"), stream.doubts)
    assert not stream.behind.is_set()


def test_what_a_catch_up_brought_is_no_gap() -> None:
    """Proves R-SYNC-15: broadcasts it included may be lost, or come late."""
    stream = following(3)
    stream.doubt()
    stream.caught_up(reply(5, b"caught"), stream.doubts)
    stream.passed_on(broadcast(4))
    stream.passed_on(broadcast(6))
    assert not stream.behind.is_set()


def test_before_anybody_joined_everything_is_asked_for() -> None:
    """Proves R-SYNC-15."""
    stream = Stream()
    stream.passed_on(broadcast(5))
    assert stream.behind.is_set()
    assert stream.vector == EMPTY_STATE_VECTOR
