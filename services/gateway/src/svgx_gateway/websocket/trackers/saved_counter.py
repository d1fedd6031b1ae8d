"""The saved counter: the number of one connection's document messages that are saved. No I/O."""

from dataclasses import dataclass

MAX_QUESTIONS = 64
"""Largest number of the server's sync steps 1 that wait for an answer. Beyond it, the oldest are forgotten."""


@dataclass(slots=True)
class _Gap:
    """Messages that do not count as saved: from the message `first` until the sync step 2 `filled_by` is committed.

    `filled_by` is None until a sync step 2 is accepted.
    """

    first: int
    filled_by: int | None = None


class SavedCounter:
    """The counter of one connection.

    It numbers the document messages (sync step 2 and updates) from 1 in the order of their arrival. A message of a
    viewer is discarded. This discarded message begins a gap: neither it nor any later message counts as saved. The next
    accepted sync step 2 fills the gap, because it contains all that the client has and the server lacks. Once the sync
    step 2 is committed, every message before it is saved.

    A sync step 2 lacks the edits that the asking holder had in its document. This holder may end before it commits
    them. So a sync step 2 that another holder commits begins a gap. On behalf of the new holder, the gateway asks the
    client again, and the answer fills the gap. The gateway usually asks all editors when it notices the new holder;
    `is_unasked` shows that this client got no such question.
    """

    def __init__(self) -> None:
        self._arrived = 0
        self._gaps: list[_Gap] = []
        self._reported = 0
        self.is_unasked = False
        """True from the beginning of a gap that no answer will fill, until the client is asked again."""
        # Lists and not deques, because most connections have no entry and an empty deque takes 0.8 kB.
        self._asked: list[str] = []
        """The epochs of the holders for which the client was asked and has not answered yet."""
        self._answers: list[tuple[int, str]] = []
        """The uncommitted answers of the client: the number of the sync step 2, and the epoch of the asking holder."""

    @property
    def arrived(self) -> int:
        """Return the number of document messages that have arrived."""
        return self._arrived

    @property
    def reported(self) -> int:
        """Return the last number of saved messages that `commit` has returned, or 0."""
        return self._reported

    def ask(self, epoch: str) -> None:
        """Note that the client is asked, by a sync step 1, for all that the holder of this epoch lacks."""
        self.is_unasked = False
        self._asked.append(epoch)
        del self._asked[:-MAX_QUESTIONS]

    def discard(self, *, is_step_2: bool) -> None:
        """Count a message that is discarded."""
        self._arrived += 1
        if is_step_2 and self._asked:
            del self._asked[0]
        if not self._gaps or self._gaps[-1].filled_by is not None:
            self._gaps.append(_Gap(self._arrived))

    def accept(self, *, is_step_2: bool) -> int:
        """Count a message that is accepted, and return its number."""
        self._arrived += 1
        if is_step_2 and self._gaps and self._gaps[-1].filled_by is None:
            self._gaps[-1].filled_by = self._arrived
        if is_step_2 and self._asked:
            self._answers.append((self._arrived, self._asked.pop(0)))
        return self._arrived

    def commit(self, number: int, epoch: str) -> int | None:
        """Record that all accepted messages up to `number` are committed. Return how many messages are saved.

        `epoch` is the epoch of the holder that committed the messages since the last call. Return None when no more
        messages are saved than at the last call.
        """
        while self._answers and self._answers[0][0] <= number:
            answer, asked = self._answers.pop(0)
            if asked != epoch:
                self._keep_open(answer)
        saved = number
        if self._gaps:
            self._gaps = [
                gap for gap in self._gaps if gap.filled_by is None or gap.filled_by > number
            ]
            if self._gaps:
                saved = min(number, self._gaps[0].first - 1)
        if saved <= self._reported:
            return None
        self._reported = saved
        return saved

    def _keep_open(self, answer: int) -> None:
        """Let the next answer fill the gap, because the sync step 2 with the number `answer` does not fill it.

        Begin a gap at `answer` if no gap waits for this sync step 2.
        """
        following = self._answers[0][0] if self._answers else None
        self.is_unasked = following is None and not self._asked
        for gap in self._gaps:
            if gap.filled_by == answer:
                gap.filled_by = following
                return
        self._gaps.append(_Gap(answer, following))
        self._gaps.sort(key=lambda gap: gap.first)
