"""The parts of a Yjs update: the structs and deletions that a document can integrate, and those that wait."""

from dataclasses import field
from typing import NamedTuple

from svgx_yjs.delete_set import Ranges
from svgx_yjs.nesting import Nesting, PlacedRange
from svgx_yjs.record import record
from svgx_yjs.structure import Id


class Run(NamedTuple):
    """Consecutive structs of one client."""

    client: int
    clock: int
    """The clock of the first struct."""
    end: int
    """The clock after the last struct."""
    structs: int
    content: bytes
    """The encoded structs."""


class Step(NamedTuple):
    """Consecutive structs of one client in an update, and the positions of their bytes."""

    structs: int
    client: int
    clock: int
    """The clock of the first struct."""
    start: int
    end: int


class Span(NamedTuple):
    """The clocks of consecutive structs of one client."""

    client: int
    clock: int
    """The clock of the first struct."""
    end: int
    """The clock after the last struct."""


@record
class Part:
    """An update that a document can integrate, or that waits for others.

    `runs` and `deletions` have the content of an update that can be integrated. Without this
    content, the part cannot be joined.
    """

    update: bytes
    runs: tuple[Run, ...] = ()
    deletions: Ranges = field(default_factory=dict)
    releases: bool = False
    """True if other updates waited for this part.

    Later parts may depend on the updates that waited, so no later part is joined to this part.
    """

    @property
    def can_be_joined(self) -> bool:
        """Return whether the content of the part is known."""
        return bool(self.runs or self.deletions)


@record
class Split:
    """An update in two parts."""

    ready: bytes | None
    """The update that the document can integrate, or None if there is nothing to integrate."""
    pending: bytes | None
    """The update that depends on something that the document does not have, or None."""
    clocks: dict[int, int]
    """The next clock of each client that `ready` advances."""
    nesting: Nesting | PlacedRange
    """The places of the structs in `ready`."""
    pieces: tuple[tuple[bytes, Id], ...] = ()
    """`pending` cut into small updates, each with the struct that it waits for. When that struct arrives, only the
    piece is read again, not the whole of `pending`."""
    spans: tuple[Span, ...] = ()
    """The clocks of each piece with structs. These pieces come first in `pieces`. The others have only deletions."""
    unplaceable: bool = False
    """True if a part of the update can never be integrated."""
    runs: tuple[Run, ...] = ()
    """The structs in `ready`."""
    deletions: Ranges = field(default_factory=dict)
    """The deletions in `ready`."""
    steps: tuple[Step, ...] = ()
    """The structs in `ready` in an order in which a document can integrate them. Empty for a short edit."""
    waiting_clients: tuple[int, ...] = ()
    """The clients with structs in `pending`."""

    @property
    def structs(self) -> int:
        """Return the number of structs in `ready`."""
        runs = self.runs
        return runs[0].structs if len(runs) == 1 else sum([run.structs for run in runs])
