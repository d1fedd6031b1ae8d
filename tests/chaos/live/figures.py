"""The figures that live drills measure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

TITLES = (
    *("seed", "editors", "events", "edits", "saved", "vanished", "lost"),
    *("offline s", "unsaved s", "recovery s", "memory MiB"),
)
"""The column titles of `table`."""


@dataclass(slots=True)
class Figures:
    """The figures of one drill.

    `editors` is the number of editors at the end, and `vanished` the number of editors that vanished before.
    `edits` and `saved` also count the edits of the vanished editors. `lost` counts edits that were reported as saved
    and are missing.

    Times are in seconds. `longest_offline` is the longest time for which an editor had no synced connection.
    `longest_unsaved` is the longest time from a light editor's edit until the edit was reported as saved.
    `unsaved_since` is the time from the start of the drill to that edit. `recovery` is the time from the last edit
    until all edits were saved.

    `closes` counts the ends of the light editors' connections by close code. A refused handshake counts by its HTTP
    status. `memory` is the memory of all services before and after the drill, in MiB.
    """

    seed: int
    editors: int
    events: int
    edits: int
    saved: int
    vanished: int
    lost: int
    longest_offline: float
    longest_unsaved: float
    unsaved_since: float
    recovery: float
    closes: Counter[int]
    memory: tuple[float, float] = (0.0, 0.0)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.events} events, {self.edits} edits, {self.saved} saved, "
            f"{self.lost} of these lost; {self.editors} editors, {self.vanished} vanished; "
            f"longest time without a synced connection {self.longest_offline:.1f} s; "
            f"longest time until an edit was saved {self.longest_unsaved:.1f} s "
            f"(made {self.unsaved_since:.1f} s after the start); "
            f"all saved {self.recovery:.1f} s after the last edit; "
            f"closes {dict(sorted(self.closes.items()))}"
        )

    def cells(self) -> Sequence[str]:
        """Return the figures as cells of a table."""
        return (
            *(str(each) for each in (self.seed, self.editors, self.events, self.edits, self.saved)),
            *(str(each) for each in (self.vanished, self.lost)),
            *(
                f"{each:.1f}"
                for each in (self.longest_offline, self.longest_unsaved, self.recovery)
            ),
            f"{self.memory[0]:.0f} → {self.memory[1]:.0f}",
        )


def table(figures: Sequence[Figures]) -> str:
    """Return a table with one line for each drill."""
    rows = [TITLES, ["-"] * len(TITLES), *(each.cells() for each in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
