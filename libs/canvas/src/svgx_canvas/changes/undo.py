"""Undo an edit of elements. Values that another edit has changed since are kept."""

from dataclasses import dataclass

from svgx_canvas.changes.canvas_check import check_canvas
from svgx_canvas.changes.canvas_editor import CanvasEditor
from svgx_canvas.changes.requested import Place
from svgx_canvas.changes.undo_step import ElementStep, Values, decode_step, encode_step
from svgx_canvas.changes.yjs_client import YjsClient, load_with_client, own_client
from svgx_canvas.document.element_tree import load, read
from svgx_canvas.document.recorded_edit import record_edit
from svgx_canvas.limits import DEFAULT_LIMITS, Limits
from svgx_canvas.tree import TEXT, Element
from svgx_yjs.structure import EMPTY_UPDATE

FIELD = "canvas_id"
"""The field that a refusal names, because the request has no other field."""


@dataclass(frozen=True, slots=True)
class Undone:
    """The result of an undo."""

    update: bytes
    """The Yjs v1 update that changes the document."""
    changed: list[str]
    """The ids of the changed elements. The id of the root is ""."""
    skipped: list[str]
    """The ids of the elements that were not set back completely, because of later edits."""
    client: YjsClient
    """The Yjs client of the update, after the update."""
    step: bytes
    """The step that repeats the edit, for `undo`. It is empty if nothing has changed."""


def undo(
    current: bytes,
    step: bytes,
    limits: Limits = DEFAULT_LIMITS,
    client: YjsClient | None = None,
) -> Undone:
    """Undo the edit of a step, except values that another edit has changed since.

    `current` is the document's state (Yjs v1 update). The update is an edit of `client` if `current` has exactly its
    clock, or else of a new Yjs client. Raises `SvgRefused` if the undo brings the canvas beyond a limit.
    """
    steps = decode_step(step)
    doc = load_with_client(current, client)
    canvas = read(doc)
    editor = CanvasEditor(doc, canvas)
    undoing = _Undoing(editor)
    with record_edit(doc) as edit:
        editor.end_cycles()
        undoing.create_deleted(steps)
        undoing.move_back(steps)
        undoing.set_back(steps)
        undoing.remove_created(steps)
    if any(each.before is not None for each in steps):
        check_canvas(canvas, lambda: read(load(current)), limits, FIELD, is_new=False)
    done = editor.step()
    return Undone(
        edit.update or EMPTY_UPDATE,
        [each.id for each in done],
        sorted(undoing.skipped),
        own_client(doc),
        encode_step(done),
    )


class _Undoing:
    """The four parts of an undo, in their order."""

    def __init__(self, editor: CanvasEditor) -> None:
        self.skipped: set[str] = set()
        """The ids of the elements that were not set back completely."""
        self._editor = editor
        self._tree = editor.tree

    def create_deleted(self, steps: list[ElementStep]) -> None:
        """Create the deleted elements again, each after its parent."""
        waiting = {
            each.id: each.before for each in steps if each.before is not None and each.after is None
        }
        while waiting:
            chain = [next(iter(waiting))]
            while (parent := _place(waiting[chain[-1]])[0]) in waiting:
                chain.append(parent)
            for each in reversed(chain):
                self._create(each, waiting.pop(each))

    def move_back(self, steps: list[ElementStep]) -> None:
        """Move elements back.

        A move that would put an element inside of itself is tried again after the other moves.
        """
        moves = [
            each
            for each in reversed(steps)
            if each.before is not None and each.after is not None and each.after.place is not None
        ]
        while moves:
            remaining = [each for each in moves if not self._move(each)]
            if len(remaining) == len(moves):
                break
            moves = remaining
        self.skipped.update(each.id for each in moves)

    def set_back(self, steps: list[ElementStep]) -> None:
        """Set attributes and character data back."""
        for each in steps:
            if each.before is None or each.after is None:
                continue
            element = self._tree.find(each.id)
            if element is None or each.before.tag != each.after.tag:
                self.skipped.add(each.id)
                continue
            self._set_attributes(element, each.before, each.after)
            if each.before.text is not None:
                self._set_text(element, each.before.text, each.after.text)

    def remove_created(self, steps: list[ElementStep]) -> None:
        """Remove the created elements, with everything that is inside of them now."""
        for each in steps:
            if each.before is None:
                element = self._tree.find(each.id)
                if element is not None:
                    self._editor.remove(element)

    def _create(self, identifier: str, values: Values) -> None:
        parent_id, order = _place(values)
        parent = self._tree.find(parent_id)
        if self._editor.stores(identifier) or parent is None or parent.tag == TEXT:
            self.skipped.add(identifier)
            return
        attrs = {name: value for name, value in values.attrs.items() if value is not None}
        element = Element(identifier, values.tag, attrs=attrs, text=values.text or "")
        self._editor.create(element, parent, Place(order=order))

    def _move(self, step: ElementStep) -> bool:
        """Move one element back. Return whether it has moved."""
        assert step.before is not None
        assert step.after is not None
        element = self._tree.find(step.id)
        parent_id, order = _place(step.before)
        parent = self._tree.find(parent_id)
        if (
            element is None
            or (element.parent, element.order) != step.after.place
            or parent is None
            or parent.tag == TEXT
            or any(each is element for each in self._tree.with_ancestors(parent))
        ):
            return False
        self._editor.move(element, parent, Place(order=order))
        return True

    def _set_attributes(self, element: Element, before: Values, after: Values) -> None:
        attrs = {
            name: value
            for name, value in before.attrs.items()
            if element.attrs.get(name) == after.attrs.get(name)
        }
        if attrs:
            self._editor.set_attributes(element, attrs)
        if len(attrs) < len(before.attrs):
            self.skipped.add(element.id)

    def _set_text(self, element: Element, before: str, after: str | None) -> None:
        if element.text == after:
            self._editor.set_text(element, before)
        else:
            self.skipped.add(element.id)


def _place(values: Values) -> tuple[str, str]:
    assert values.place is not None
    return values.place
