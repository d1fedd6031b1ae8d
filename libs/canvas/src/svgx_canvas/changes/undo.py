"""Undo an edit of elements. Values that another edit has changed since are kept."""

from dataclasses import dataclass, replace

from svgx_canvas.changes.canvas_check import check_canvas
from svgx_canvas.changes.canvas_editor import CanvasEditor
from svgx_canvas.changes.requested import Place
from svgx_canvas.changes.undo_step import ElementStep, Values, decode_step, encode_step
from svgx_canvas.changes.yjs_client import YjsClient, load_with_client, own_client
from svgx_canvas.document.element_tree import load, read
from svgx_canvas.document.recorded_edit import record_edit
from svgx_canvas.limits import DEFAULT_LIMITS, Limits
from svgx_canvas.tree import TEXT, Element, sibling_key
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
        # An element that becomes a text has no children at the end, and another one may get children.
        undoing.replace_back(steps, texts=False)
        undoing.renumber_back(steps)
        undoing.create_deleted(steps)
        undoing.move_back(steps)
        undoing.set_back(steps)
        undoing.remove_created(steps)
        undoing.replace_back(steps, texts=True)
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
    """The parts of an undo."""

    def __init__(self, editor: CanvasEditor) -> None:
        self.skipped: set[str] = set()
        """The ids of the elements that were not set back completely."""
        self._editor = editor
        self._tree = editor.tree
        self._earlier: dict[str, dict[str, str]] = {}
        """The earlier indexes of siblings that keep the new ones, by the ids of the parent and of the sibling."""

    def replace_back(self, steps: list[ElementStep], *, texts: bool) -> None:
        """Replace the elements that the edit has deleted and created again with another tag.

        With `texts`, these are the elements that were texts before, or else all others. The elements inside stay.
        """
        for each in steps:
            if each.before is None or each.after is None or each.before.tag == each.after.tag:
                continue
            if (each.before.tag == TEXT) is texts:
                self._replace(each.id, each.before, each.after)

    def create_deleted(self, steps: list[ElementStep]) -> None:
        """Create the deleted elements again, each after its parent."""
        waiting = {
            each.id: each.before for each in steps if each.before is not None and each.after is None
        }
        for identifier in list(waiting):
            chain = [identifier] if identifier in waiting else []
            while chain and (parent := _place(waiting[chain[-1]])[0]) in waiting:
                chain.append(parent)
            for each in reversed(chain):
                self._create(each, waiting.pop(each))

    def renumber_back(self, steps: list[ElementStep]) -> None:
        """Give the siblings of a changed place their earlier indexes.

        New indexes kept the order of the siblings, and so must the earlier ones. Otherwise an element that another edit
        has put between them since would get another place. So all siblings keep the new indexes in this case.
        """
        deleted = {each.id for each in steps if each.after is None}
        leaving = {each.id for each in steps if self._will_leave(each, deleted)}
        earlier: dict[str, dict[str, str]] = {}
        for each in steps:
            if each.renumbered:
                assert each.before is not None
                assert each.after is not None
                element = self._tree.find(each.id)
                parent_id, order = _place(each.before)
                if element is None or _has_moved(element, each.after):
                    self.skipped.add(each.id)
                else:
                    earlier.setdefault(parent_id, {})[each.id] = order
        for parent_id, orders in earlier.items():
            parent = self._tree.find(parent_id)
            assert parent is not None  # it has these children
            siblings = [each for each in parent.children if each.id not in leaving]
            keys = [_earlier_key(each, orders) for each in siblings]
            if keys != sorted(keys):
                self.skipped.update(orders)
                self._earlier[parent_id] = orders
                continue
            for sibling in siblings:
                if sibling.id in orders:
                    self._editor.set_order(sibling, orders[sibling.id])

    def move_back(self, steps: list[ElementStep]) -> None:
        """Move elements back.

        A move that would put an element inside of itself is tried again after the other moves.
        """
        moves = [
            each
            for each in reversed(steps)
            if each.before is not None
            and each.after is not None
            and each.after.place is not None
            and not each.renumbered
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
            if each.before is None or each.after is None or each.before.tag != each.after.tag:
                continue
            element = self._tree.find(each.id)
            if element is None:
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

    def _replace(self, identifier: str, before: Values, after: Values) -> None:
        element = self._tree.find(identifier)
        if (
            element is None
            or element.tag != after.tag
            or element.text != (after.text or "")
            or (before.tag == TEXT and element.children)
        ):
            self.skipped.add(identifier)
            return
        attrs = {**element.attrs, **self._attributes_back(element, before, after)}
        values = {name: value for name, value in attrs.items() if value is not None}
        self._editor.replace(
            element, before.tag, {} if before.tag == TEXT else values, before.text or ""
        )

    def _create(self, identifier: str, values: Values) -> None:
        parent_id, order = _place(values)
        parent = self._tree.find(parent_id)
        if self._editor.stores(identifier) or parent is None or parent.tag == TEXT:
            self.skipped.add(identifier)
            return
        attrs = {name: value for name, value in values.attrs.items() if value is not None}
        element = Element(identifier, values.tag, attrs=attrs, text=values.text or "")
        self._editor.create(element, parent, self._place_among(parent, identifier, order))

    def _move(self, step: ElementStep) -> bool:
        """Move one element back. Return whether it has moved."""
        assert step.before is not None
        assert step.after is not None
        element = self._tree.find(step.id)
        parent_id, order = _place(step.before)
        parent = self._tree.find(parent_id)
        if (
            element is None
            or _has_moved(element, step.after)
            or parent is None
            or parent.tag == TEXT
            or any(each is element for each in self._tree.with_ancestors(parent))
        ):
            return False
        # The element may have its earlier index already. Its move is redone all the same.
        self._editor.record_move(element)
        self._editor.move(element, parent, self._place_among(parent, step.id, order))
        return True

    def _will_leave(self, step: ElementStep, deleted: set[str]) -> bool:
        """Return whether the undo takes an element from its place. `deleted` are elements that it creates again."""
        if step.before is None:
            return True
        if step.after is None or step.after.place is None or step.renumbered:
            return False
        element = self._tree.find(step.id)
        parent_id, _ = _place(step.before)
        has_parent = self._tree.find(parent_id) is not None or parent_id in deleted
        return has_parent and element is not None and not _has_moved(element, step.after)

    def _place_among(self, parent: Element, identifier: str, order: str) -> Place:
        """Return the place of an element's earlier index among the children of its parent.

        Further elements find their places beside this element too.
        """
        orders = self._earlier.get(parent.id)
        if orders is None:
            return Place(order=order)
        key = sibling_key(Element(identifier, "", order=order))
        siblings = [each for each in parent.children if each.id in orders]
        below = [each for each in siblings if _earlier_key(each, orders) < key]
        orders[identifier] = order
        return Place(after=below[-1].id) if below else Place(before=siblings[0].id)

    def _set_attributes(self, element: Element, before: Values, after: Values) -> None:
        attrs = self._attributes_back(element, before, after)
        if attrs:
            self._editor.set_attributes(element, attrs)

    def _attributes_back(
        self, element: Element, before: Values, after: Values
    ) -> dict[str, str | None]:
        """Return the earlier values of the attributes that no other edit has changed since."""
        attrs = {
            name: value
            for name, value in before.attrs.items()
            if element.attrs.get(name) == after.attrs.get(name)
        }
        if len(attrs) < len(before.attrs):
            self.skipped.add(element.id)
        return attrs

    def _set_text(self, element: Element, before: str, after: str | None) -> None:
        if element.text == after:
            self._editor.set_text(element, before)
        else:
            self.skipped.add(element.id)


def _earlier_key(sibling: Element, orders: dict[str, str]) -> tuple[str, bytes]:
    """Return the key by which a sibling was sorted before it got a new index."""
    return sibling_key(replace(sibling, order=orders.get(sibling.id, sibling.order)))


def _has_moved(element: Element, after: Values) -> bool:
    """Return whether another edit has moved an element since."""
    return (element.parent, element.order) != after.place


def _place(values: Values) -> tuple[str, str]:
    assert values.place is not None
    return values.place
