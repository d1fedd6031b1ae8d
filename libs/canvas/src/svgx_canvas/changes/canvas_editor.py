"""The editor of a canvas. It makes each change in the tree and in the document, and records it for an undo."""

from collections.abc import Mapping

from pycrdt import Doc, Map

from svgx_canvas.changes.document_writer import DocumentWriter
from svgx_canvas.changes.editable_tree import EditableTree
from svgx_canvas.changes.requested import Place
from svgx_canvas.changes.undo_step import StepRecorder, UndoStep
from svgx_canvas.tree import Canvas, Element


class CanvasEditor:
    """The elements of a canvas and the document that stores them. The methods check nothing.

    A value that an element already has is not written, because it would replace the concurrent edit of another author.
    """

    def __init__(self, doc: Doc[Map[object]], canvas: Canvas) -> None:
        self.tree = EditableTree(canvas)
        self._moved_to_root = canvas.moved_to_root
        self._writer = DocumentWriter(doc)
        self._recorder = StepRecorder()

    def stores(self, identifier: str) -> bool:
        """Return whether the document has an element with this id, in the tree or outside it."""
        return identifier in self._writer.stored

    def end_cycles(self) -> None:
        """Store the parents that the tree shows, so that no move or deletion of one element moves or hides another."""
        for identifier in self._moved_to_root:
            self._writer.move_to_root(identifier)

    def create(self, element: Element, parent: Element, place: Place) -> None:
        """Add an element to the children of `parent`."""
        self._recorder.note_new(element.id)
        siblings = self._insert(element, parent, place)
        self._writer.create(element)
        self._write_orders(siblings)

    def set_attributes(self, element: Element, attrs: Mapping[str, str | None]) -> None:
        """Set attributes of an element or of the root. None removes an attribute."""
        attrs = {name: value for name, value in attrs.items() if element.attrs.get(name) != value}
        if not attrs:
            return
        self._recorder.note(element)
        kept = {name: value for name, value in element.attrs.items() if name not in attrs}
        # Keep the dictionary, because the root's element shares it with the canvas.
        element.attrs.clear()
        element.attrs.update(kept)
        element.attrs.update((name, value) for name, value in attrs.items() if value is not None)
        self._writer.set_attributes(element, attrs)

    def set_text(self, element: Element, text: str) -> None:
        """Set the character data of an element."""
        if element.text == text:
            return
        self._recorder.note(element)
        element.text = text
        self._writer.set_text(element)

    def replace(self, element: Element, tag: str, attrs: dict[str, str], text: str) -> None:
        """Replace an element by another one with its id, at its place, and with the elements inside of it."""
        self._recorder.note(element)
        element.tag, element.attrs, element.text = tag, attrs, text
        self._writer.create(element)

    def move(self, element: Element, parent: Element, place: Place) -> None:
        """Move an element and its descendants to a place among the children of `parent`."""
        if self._is_at(element, parent, place):
            return
        self._recorder.note_move(element)
        self.tree.detach(element)
        siblings = self._insert(element, parent, place)
        self._writer.set_place(element)
        self._write_orders(siblings)

    def record_move(self, element: Element) -> None:
        """Record that an element changes its place among siblings that get new fractional indexes.

        `move` does not record an element that already is at the place.
        """
        self._recorder.note_move(element)

    def set_order(self, element: Element, order: str) -> None:
        """Give an element a new fractional index that keeps its place among the siblings."""
        earlier = element.order
        parent = self.tree.parent_of(element)
        self.tree.detach(element)
        element.order = order
        self.tree.insert(element, parent)
        self._write_orders([(element, earlier)])

    def remove(self, element: Element) -> None:
        """Remove an element and its descendants."""
        for each in self.tree.remove(element):
            self._recorder.note_move(each)
            self._writer.remove(each.id)

    def step(self) -> UndoStep:
        """Return the step that undoes all changes so far."""
        return self._recorder.step(self.tree)

    def _is_at(self, element: Element, parent: Element, place: Place) -> bool:
        """Return whether an element already is at a place."""
        if element.parent != parent.id:
            return False
        if place.order is not None:
            return element.order == place.order
        index, last = self.tree.place_of(element), len(parent.children) - 1
        if place.sibling is None:
            return index == last
        neighbor = index - 1 if place.after is not None else index + 1
        return 0 <= neighbor <= last and parent.children[neighbor].id == place.sibling

    def _insert(self, element: Element, parent: Element, place: Place) -> list[tuple[Element, str]]:
        """Insert an element into the tree.

        Return the siblings that get a new fractional index too, each with its earlier index.
        """
        if place.order is not None:
            element.order = place.order
            self.tree.insert(element, parent)
            return []
        index = len(parent.children)
        if place.sibling is not None:
            sibling = self.tree.find(place.sibling)
            assert sibling is not None  # the caller has found it
            index = self.tree.place_of(sibling) + (place.after is not None)
        return self.tree.insert_at(element, parent, index)

    def _write_orders(self, siblings: list[tuple[Element, str]]) -> None:
        for sibling, earlier in siblings:
            self._recorder.note_order(sibling, earlier)
            self._writer.set_order(sibling)
