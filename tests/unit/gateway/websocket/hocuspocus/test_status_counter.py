"""The sync statuses for a Hocuspocus client, compared with its provider's number of unsynced changes."""

import pytest

from svgx_common.contract.errors import Overloaded
from svgx_gateway.websocket.hocuspocus import status_counter as module
from svgx_gateway.websocket.hocuspocus.status_counter import MAX_UNANSWERED, StatusCounter

EDIT, EMPTY = b"\1edit", b"\0\0"


class Provider:
    """A provider that counts unsynced changes like HocuspocusProvider.ts. Its server accepts or discards messages."""

    def __init__(self) -> None:
        self.unsynced = 0
        self.refused = 0
        self.is_viewer = False
        self.counter = StatusCounter(self._take_statuses)

    def _take_statuses(
        self, applied: bool, count: int
    ) -> None:  # `StatusCounter` passes both by position
        if applied:
            self.unsynced = max(0, self.unsynced - count)
        else:
            self.refused += count

    def start_sync(self, step_2: bytes) -> None:
        """Send sync step 1, and answer the sync step 1 of the server."""
        self.unsynced = 1
        self.counter.begin_sync()
        self.answer(step_2)

    def answer(self, step_2: bytes) -> None:
        """Answer a sync step 1 of the server."""
        self._send(step_2, is_step_2=True)

    def edit(self) -> None:
        """Send an update."""
        self.unsynced += 1
        self._send(EDIT, is_step_2=False)

    def edit_and_answer(self, times: int) -> None:
        """Send an update, and answer a sync step 1 of the server, both `times` times."""
        for _ in range(times):
            self.edit()
            self.answer(EDIT)

    def _send(self, update: bytes, *, is_step_2: bool) -> None:
        self.counter.begin_message(update, is_step_2=is_step_2)
        if self.is_viewer:
            self.counter.discard(is_step_2=is_step_2)
        else:
            self.counter.accept(is_step_2=is_step_2)

    def save(self) -> None:
        """Commit all messages so far."""
        saved = self.counter.commit(self.counter.arrived, "epoch")
        if saved is not None:
            self.counter.send_saved(saved)


@pytest.mark.parametrize("step_2", [EDIT, EMPTY])
def test_saved_messages_leave_nothing_unsynced(step_2: bytes) -> None:
    """Proves R-HOCUS-3: every counted message gets one status, when it is saved."""
    provider = Provider()
    provider.start_sync(step_2)
    provider.edit()
    assert provider.unsynced == 2
    provider.save()
    assert provider.unsynced == 0
    provider.edit()
    provider.edit()
    assert provider.unsynced == 2
    provider.save()
    assert (provider.unsynced, provider.refused) == (0, 0)


def test_answer_to_a_later_question_gets_no_status() -> None:
    """Proves R-HOCUS-3: the client does not count a sync step 2 for which the server asks after the first sync."""
    provider = Provider()
    provider.start_sync(EMPTY)
    provider.save()
    provider.answer(EDIT)
    provider.save()
    provider.edit()
    assert provider.unsynced == 1
    provider.save()
    assert provider.unsynced == 0


def test_messages_before_a_new_sync_get_no_status() -> None:
    """Proves R-HOCUS-3: a new sync sets the provider's count to one, so earlier messages get no status."""
    provider = Provider()
    provider.start_sync(EMPTY)
    provider.edit()
    provider.start_sync(EDIT)
    provider.edit()
    assert provider.unsynced == 2
    provider.save()
    assert provider.unsynced == 0


def test_viewer_without_changes_is_synced() -> None:
    """Proves R-HOCUS-6: a viewer's sync without insertions counts as applied, and a viewer's edits as refused."""
    provider = Provider()
    provider.is_viewer = True
    provider.start_sync(EMPTY)
    assert (provider.unsynced, provider.refused) == (0, 0)
    provider.edit()
    assert (provider.unsynced, provider.refused) == (1, 1)
    provider.is_viewer = False
    provider.answer(EDIT)
    provider.save()
    assert provider.unsynced == 0


def test_offline_changes_of_a_viewer_stay_unsynced() -> None:
    """Proves R-HOCUS-6: the provider shows that the server lacks these changes."""
    provider = Provider()
    provider.is_viewer = True
    provider.start_sync(EDIT)
    assert (provider.unsynced, provider.refused) == (1, 1)


def test_refused_edits_take_little_memory_until_they_are_saved() -> None:
    """Proves R-HOCUS-11: a viewer's edits are counted and not listed, and each gets the status `not applied` at once.

    Beyond the limit, the next edit is refused. After a new sync, no earlier edit waits for a status.
    """
    provider = Provider()
    provider.is_viewer = True
    provider.start_sync(EMPTY)
    for _ in range(MAX_UNANSWERED):
        provider.edit()
    assert len(provider.counter._runs) == 1
    provider.is_viewer = False
    with pytest.raises(Overloaded, match=f"{MAX_UNANSWERED} edits"):
        provider.edit()
    provider.start_sync(EDIT)
    provider.save()
    assert (provider.unsynced, provider.refused) == (0, MAX_UNANSWERED)


def test_saved_edits_before_a_gap_get_their_statuses_alone() -> None:
    """Proves R-HOCUS-3: a run of messages of which only some are saved gets the statuses of these."""
    provider = Provider()
    provider.start_sync(EMPTY)
    for _ in range(3):
        provider.edit()
    provider.counter.send_saved(2)
    assert provider.unsynced == 2
    provider.edit()
    provider.save()
    assert provider.unsynced == 0


@pytest.mark.parametrize("limit", ["MAX_UNANSWERED", "MAX_RUNS"])
@pytest.mark.parametrize("is_viewer", [True, False], ids=["viewer", "editor"])
def test_message_beyond_the_limit_of_unanswered_messages_is_refused(
    monkeypatch: pytest.MonkeyPatch, limit: str, is_viewer: bool
) -> None:
    """Proves R-HOCUS-11: the number of messages and the number of runs are bounded, and a new sync sets both to zero.

    After a sync step 2 without a status, the next edit begins a new run.
    """
    monkeypatch.setattr(module, limit, 10)
    provider = Provider()
    provider.is_viewer = is_viewer
    for _ in range(2):
        provider.start_sync(EMPTY)
        with pytest.raises(Overloaded):
            provider.edit_and_answer(11)
        counter = provider.counter
        assert 10 in (counter._unanswered, len(counter._runs))
