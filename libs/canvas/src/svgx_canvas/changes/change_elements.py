"""Carry out the changes of a request on a document, as one edit."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from svgx_canvas.changes.canvas_check import check_canvas
from svgx_canvas.changes.canvas_editor import CanvasEditor
from svgx_canvas.changes.joined_steps import join_steps
from svgx_canvas.changes.policy_check import PolicyCheck, check_fields
from svgx_canvas.changes.refusals import conflict, unknown
from svgx_canvas.changes.requested import Change, Create, Delete, Move, Place, Update, read_changes
from svgx_canvas.changes.undo_step import encode_step
from svgx_canvas.changes.yjs_client import YjsClient, load_with_client, own_client
from svgx_canvas.document.element_tree import load, read
from svgx_canvas.document.order import DIGITS
from svgx_canvas.document.recorded_edit import record_edit
from svgx_canvas.limits import DEFAULT_LIMITS, Limits
from svgx_canvas.tree import Element
from svgx_yjs.structure import EMPTY_UPDATE

FIELD = "operations"
"""The field of a refusal that concerns the canvas as a whole."""

ID_CHARACTERS = 12
"""The number of characters of an id that the server chooses."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The result of changes."""

    update: bytes
    """The Yjs v1 update that changes the document."""
    created: list[str]
    """The ids of the created elements, in the order of their operations."""
    client: YjsClient
    """The Yjs client of the update, after the update."""
    step: bytes
    """The step that undoes the changes, for `undo`. It is empty if nothing has changed."""
    joined_step: bytes
    """The step that undoes the changes and the edit before them. It is empty if no step can undo both."""


def change_elements(
    current: bytes,
    operations: bytes,
    limits: Limits = DEFAULT_LIMITS,
    client: YjsClient | None = None,
    *,
    earlier_step: bytes = b"",
) -> Changed:
    """Carry out operations in their order, all of them or none.

    `current` is the document's state (Yjs v1 update). `operations` is a JSON list of the contract's operations. The
    update is an edit of `client` if `current` has exactly its clock, or else of a new Yjs client. `earlier_step` is the
    step of the edit that the author wants to undo together with this one, if any. Raises `SvgRefused` with the field of
    the operation that cannot be carried out, such as `operations[3].id`.
    """
    changes = read_changes(operations)
    doc = load_with_client(current, client)
    canvas = read(doc)
    editor = CanvasEditor(doc, canvas)
    editing = _Editing(editor, limits)
    with record_edit(doc) as edit:
        if not all(isinstance(each, Create | Update) for each in changes):
            editor.end_cycles()
        for number, change in enumerate(changes):
            editing.carry_out(change, f"operations[{number}]")
    if not all(isinstance(each, Delete) for each in changes):
        check_canvas(canvas, lambda: read(load(current)), limits, FIELD)
    step = encode_step(editor.step())
    joined = join_steps(earlier_step, step) if earlier_step and step else b""
    return Changed(edit.update or EMPTY_UPDATE, editing.created, own_client(doc), step, joined)


class _Editing:
    """The operations of one request. The document of a refused request must be discarded: it may have changed."""

    def __init__(self, editor: CanvasEditor, limits: Limits) -> None:
        self.created: list[str] = []
        """The ids of the created elements."""
        self._editor = editor
        self._tree = editor.tree
        self._policy = PolicyCheck(limits)

    def carry_out(self, change: Change, field: str) -> None:
        """Carry out one change. `field` is the name of the operation in the request. Raises `SvgRefused`."""
        match change:
            case Create():
                self._create(change, field)
            case Update():
                self._update(change, field)
            case Move():
                self._move(change, field)
            case Delete():
                self._editor.remove(self._find(change.id, f"{field}.id"))

    def _create(self, change: Create, field: str) -> None:
        identifier = change.id if change.id is not None else self._new_id()
        if self._editor.stores(identifier):
            raise conflict(f"{field}.id", f"the canvas already has an element {identifier!r}")
        element = Element(identifier, change.tag)
        check_fields(element, change.attrs, change.text, field)
        parent = self._parent(change.place, self._tree.root, field)
        element.attrs = dict(change.attrs)
        self._policy.check_place(element, self._tree.with_ancestors(parent), field)
        element.attrs = self._policy.clean_attributes(element, change.attrs, field)
        self._policy.check_number_of_attributes(element, field)
        element.text = self._policy.clean_text(change.text or "", parent, field)
        self._editor.create(element, parent, change.place)
        self.created.append(identifier)

    def _update(self, change: Update, field: str) -> None:
        element = self._find(change.id, f"{field}.id")
        check_fields(element, change.attrs, change.text, field)
        if change.attrs:
            self._update_attributes(element, change.attrs, field)
        if change.text is not None:
            parent = self._tree.parent_of(element)
            self._policy.check_place(element, self._tree.with_ancestors(parent), field)
            text = self._policy.clean_text(change.text, parent, field)
            self._editor.set_text(element, text)

    def _update_attributes(
        self, element: Element, attrs: Mapping[str, str | None], field: str
    ) -> None:
        values = {name: value for name, value in attrs.items() if value is not None}
        removed = {name for name, value in attrs.items() if value is None}
        cleaned = self._policy.clean_attributes(element, values, field)
        number_before = len(element.attrs)
        self._editor.set_attributes(element, {**dict.fromkeys(removed), **cleaned})
        if element is not self._tree.root:
            parent = self._tree.parent_of(element)
            self._policy.check_place(element, self._tree.with_ancestors(parent), field)
        if len(element.attrs) > number_before:
            self._policy.check_number_of_attributes(element, field)

    def _move(self, change: Move, field: str) -> None:
        element = self._find(change.id, f"{field}.id")
        place = change.place
        parent = self._parent(place, self._tree.parent_of(element), field)
        if element.id == place.sibling:
            raise conflict(f"{field}.{place.side}", "an element cannot be beside itself")
        ancestors = list(self._tree.with_ancestors(parent))
        if any(each is element for each in ancestors):
            name = "parent" if place.parent is not None else place.side
            raise conflict(f"{field}.{name}", "an element cannot be inside of itself")
        self._policy.check_place(element, ancestors, field)
        self._editor.move(element, parent, place)

    def _find(self, identifier: str, field: str) -> Element:
        element = self._tree.find(identifier)
        if element is None:
            other = self._tree.find_by_svg_id(identifier)
            raise unknown(field, identifier, other.id if other is not None else None)
        return element

    def _parent(self, place: Place, default: Element, field: str) -> Element:
        """Return the parent that a place names. Without a parent, this is the parent of the sibling, or `default`."""
        parent = None if place.parent is None else self._find(place.parent, f"{field}.parent")
        if place.sibling is None:
            return default if parent is None else parent
        name = f"{field}.{place.side}"
        sibling_parent = self._tree.parent_of(self._find(place.sibling, name))
        if parent is not None and parent is not sibling_parent:
            raise conflict(name, f"{place.sibling!r} is not a child of {parent.id!r}")
        return sibling_parent

    def _new_id(self) -> str:
        while True:
            identifier = "".join(secrets.choice(DIGITS) for _ in range(ID_CHARACTERS))
            if not self._editor.stores(identifier):
                return identifier
