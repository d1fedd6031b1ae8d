"""The saved counter: the number of one connection's document messages that are saved. No I/O."""

from dataclasses import dataclass


@dataclass(slots=True)
class _Gap:
    """Messages that do not count as saved: from the discarded message `first` until the sync step 2 `filled_by`."""

    first: int
    filled_by: int | None = None


class SavedCounter:
    """The counter of one connection.

    It numbers the document messages (sync step 2 and updates) from 1 in the order of their arrival. A message of a
    viewer is discarded: neither it nor any later message counts as saved. The next accepted sync step 2 fills this gap,
    because it contains all that the client has and the server lacks: once it is committed, every message before it is
    saved.
    """

    def __init__(self) -> None:
        self._arrived = 0
        self._gaps: list[_Gap] = []
        self._reported = 0

    @property
    def arrived(self) -> int:
        """Return the number of messages so far."""
        return self._arrived

    def discard(self) -> None:
        """Count a message that is discarded."""
        self._arrived += 1
        if not self._gaps or self._gaps[-1].filled_by is not None:
            self._gaps.append(_Gap(self._arrived))

    def accept(self, *, is_step_2: bool) -> int:
        """Count a message that is accepted, and return its number."""
        self._arrived += 1
        if is_step_2 and self._gaps and self._gaps[-1].filled_by is None:
            self._gaps[-1].filled_by = self._arrived
        return self._arrived

    def commit(self, number: int) -> int | None:
        """Return how many messages are saved once all accepted messages up to `number` are committed.

        Return None when no more messages are saved than at the last call.
        """
        self._gaps = [gap for gap in self._gaps if gap.filled_by is None or gap.filled_by > number]
        saved = min(number, self._gaps[0].first - 1) if self._gaps else number
        if saved <= self._reported:
            return None
        self._reported = saved
        return saved
