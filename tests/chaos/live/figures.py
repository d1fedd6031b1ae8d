"""The figures of live drills."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

TITLES = (
    *("seed", "editors", "events", "edits", "saved", "vanished", "lost"),
    *("offline s", "unsaved s", "recovery s", "memory MiB"),
)
"""The titles of the columns of `table`."""


@dataclass(slots=True)
class Figures:
    """The figures of one drill.

    `editors` are present at the end, `vanished` are not. `edits` and `saved` are of both. `lost` were reported as saved
    and are missing. `longest_offline` are the most seconds for which an editor had no synced connection.
    `longest_unsaved` are the most seconds from an edit until the report that it is saved; this edit was made
    `unsaved_since` seconds after the start. `recovery` are the seconds from the last edit until all were saved.
    `closes` counts the ends of connections by code. `memory` is that of the services before and after, in MiB.
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
            f"{self.lost} of these lost; {self.editors} editors, {self.vanished} vanished; longest time "
            f"without a connection {self.longest_offline:.1f} s, until saved {self.longest_unsaved:.1f} s, "
            f"of an edit at {self.unsaved_since:.1f} s; "
            f"all saved {self.recovery:.1f} s after the last edit; closes {dict(sorted(self.closes.items()))}"
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
