"""How many of one connection's document messages are saved. No I/O."""

from dataclasses import dataclass


@dataclass(slots=True)
class _Gap:
    """Messages that were not taken, from number `first` on, until step 2 number `filled_by` makes up for them."""

    first: int
    filled_by: int | None = None


class SavedCounter:
    """Numbers the document messages (sync step 2 and updates) in their order, from 1, taken or not.

    What was not taken, since its sender was a viewer, holds the count back: it and everything after it is not called
    saved. A later step 2 fills the gap: it has all that its client has and the server lacks, so once it is committed,
    everything before it is.
    """

    def __init__(self) -> None:
        self._arrived = 0
        self._gaps: list[_Gap] = []
        self._told = 0

    def discard(self) -> None:
        """A message has come and is not taken."""
        self._arrived += 1
        if not self._gaps or self._gaps[-1].filled_by is not None:
            self._gaps.append(_Gap(self._arrived))

    def take(self, *, whole: bool) -> int:
        """A message has come and is taken: its number. `whole`: it is a step 2."""
        self._arrived += 1
        if whole and self._gaps and self._gaps[-1].filled_by is None:
            self._gaps[-1].filled_by = self._arrived
        return self._arrived

    def commit(self, number: int) -> int | None:
        """Everything taken up to `number` is committed: how many are saved, or None when that is not news."""
        self._gaps = [gap for gap in self._gaps if gap.filled_by is None or gap.filled_by > number]
        saved = min(number, self._gaps[0].first - 1) if self._gaps else number
        if saved <= self._told:
            return None
        self._told = saved
        return saved
