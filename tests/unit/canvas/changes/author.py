"""An author that edits a canvas and undoes its own edits."""

import json

from pycrdt import merge_updates

from svgx_canvas import change_elements, undo
from svgx_canvas.document.element_tree import load, read
from svgx_canvas.tree import Canvas
from svgx_yjs.structure import EMPTY_UPDATE
from tests.unit.canvas.changes.random_changes import Operation


class Author:
    """An author of a canvas, with the steps that undo its edits."""

    def __init__(self, state: bytes = EMPTY_UPDATE) -> None:
        self.state = state
        self.steps: list[bytes] = []
        self.changed: list[str] = []
        self.skipped: list[str] = []
        """The ids of the elements that the last undo has changed and skipped."""

    def change(self, *operations: Operation) -> bytes:
        """Carry out operations as one edit. Return its step, which is empty if nothing has changed."""
        changed = change_elements(self.state, json.dumps(operations).encode())
        self.state = merge_updates(self.state, changed.update)
        if changed.step:
            self.steps.append(changed.step)
        return changed.step

    def others_change(self, *operations: Operation) -> None:
        """Carry out operations as one edit of another author."""
        changed = change_elements(self.state, json.dumps(operations).encode())
        self.state = merge_updates(self.state, changed.update)

    def undo(self, step: bytes | None = None) -> bytes:
        """Undo the edit of a step, or else the last edit. Return the step that repeats it."""
        undone = undo(self.state, self.steps.pop() if step is None else step)
        self.state = merge_updates(self.state, undone.update)
        self.changed, self.skipped = undone.changed, undone.skipped
        return undone.step

    @property
    def canvas(self) -> Canvas:
        """The present elements."""
        return read(load(self.state))
