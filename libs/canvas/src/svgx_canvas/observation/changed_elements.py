"""The elements that a document's transactions change."""

from dataclasses import dataclass, field
from typing import Any

from pycrdt import Doc, Map

from svgx_canvas.document.element_tree import CANVAS, ELEMENTS

MAX_CHANGED = 200
"""The most changed elements that are noted one by one. With one more, everything counts as changed."""


@dataclass(slots=True)
class ChangedElements:
    """The ids of elements that were set, changed or removed."""

    ids: set[str] = field(default_factory=set)
    root: bool = False
    """True if the attributes of the root element have changed."""
    everything: bool = False
    """True if more may have changed than `ids` and `root` have."""

    def __bool__(self) -> bool:
        """Return whether anything has changed."""
        return self.everything or self.root or bool(self.ids)

    def add_everything(self) -> None:
        """Count everything as changed."""
        self.everything = True
        self.ids.clear()


class ElementObserver:
    """Notes the elements that the transactions of a document change, while it is attached to the document."""

    def __init__(self, doc: Doc[Any]) -> None:
        self._doc = doc
        self._subscriptions: list[Any] = []
        self._changed = ChangedElements()

    @property
    def is_attached(self) -> bool:
        """True while changes are noted one by one."""
        return bool(self._subscriptions)

    @property
    def has_changes(self) -> bool:
        """True if anything has changed since the last `take`."""
        return bool(self._changed)

    @property
    def has_everything(self) -> bool:
        """True if everything counts as changed since the last `take`."""
        return self._changed.everything

    def attach(self) -> None:
        """Note the changes of each transaction from now on. Called between two transactions.

        If pycrdt cannot observe the document, everything counts as changed. The caller tries again after each
        transaction, so everything counts as changed by each transaction.
        """
        try:
            # The events of pycrdt's public class compute all their fields, also those that are not needed here.
            for name, note in ((ELEMENTS, self._note_elements), (CANVAS, self._note_root)):
                root = self._doc.get(name, type=Map).integrated
                self._subscriptions.append(root.observe_deep(note))
        except Exception:  # noqa: BLE001  # a root of another type must not harm the document
            self.detach()

    def detach(self) -> None:
        """Stop noting changes. Everything counts as changed, until the next `take`."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for each in subscriptions:
            each.drop()
        self.add_everything()

    def add_everything(self) -> None:
        """Count everything as changed."""
        self._changed.add_everything()

    def take(self) -> ChangedElements:
        """Return the changes since the last call."""
        changed, self._changed = self._changed, ChangedElements()
        return changed

    def _note_elements(self, events: list[Any]) -> None:
        changed = self._changed
        try:
            for event in events:
                if changed.everything:
                    return
                path = event.path
                if not path:
                    changed.ids.update(event.keys)
                elif isinstance(path[0], str):
                    changed.ids.add(path[0])
                if len(changed.ids) > MAX_CHANGED:
                    changed.add_everything()
        except BaseException:  # noqa: BLE001  # no exception may reach pycrdt, also not a panic of its own
            changed.add_everything()

    def _note_root(self, _: list[Any]) -> None:
        self._changed.root = True
