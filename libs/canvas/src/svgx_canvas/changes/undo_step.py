"""The step that undoes an edit: the values of each changed element before the edit and after it."""

import json
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

from svgx_canvas.changes.editable_tree import EditableTree
from svgx_canvas.tree import Element


@dataclass(slots=True)
class Values:
    """All fields of an element, or only those that an edit has changed."""

    tag: str
    place: tuple[str, str] | None = None
    """The id of the parent, and the fractional index. None if the edit did not move the element.

    A move can give an element its earlier place, if it gives the siblings new fractional indexes.
    """
    attrs: dict[str, str | None] = field(default_factory=dict)
    """The attributes. None stands for an attribute that the element does not have."""
    text: str | None = None
    """The character data. None if the edit did not change it."""


@dataclass(frozen=True, slots=True)
class ElementStep:
    """The change of one element. `before` is None if the edit created it, and `after` is None if the edit deleted it.

    If both have values, these are the fields that differ.
    """

    id: str
    before: Values | None
    after: Values | None
    renumbered: bool = False
    """Whether the edit has only given the element a new fractional index, to make room for a sibling."""


UndoStep = list[ElementStep]
"""The changed elements, in the order of their first changes in the edit."""


class StepRecorder:
    """The elements as they were before their first change in an edit."""

    def __init__(self) -> None:
        self._before: dict[str, Values | None] = {}
        self._renumbered: set[str] = set()
        self._moved: set[str] = set()

    def note(self, element: Element) -> None:
        """Note an element that will change."""
        if element.id not in self._before:
            self._before[element.id] = _all_values(element)

    def note_move(self, element: Element) -> None:
        """Note an element that will move, or that has just been removed."""
        self.note(element)
        self._moved.add(element.id)

    def note_new(self, identifier: str) -> None:
        """Note the id of an element that will be created."""
        self._before.setdefault(identifier, None)

    def note_order(self, element: Element, earlier: str) -> None:
        """Note an element that has a new fractional index in place of `earlier`."""
        if element.id not in self._before:
            values = _all_values(element)
            values.place = (element.parent, earlier)
            self._before[element.id] = values
        self._renumbered.add(element.id)

    def step(self, tree: EditableTree) -> UndoStep:
        """Return the step that undoes the changes. `tree` has the elements after them.

        An element that has moved among renumbered siblings can have its earlier fractional index again. It has moved
        all the same, so the step has its place.
        """
        parents = self._parents_of_renumbered(tree)
        steps: UndoStep = []
        for identifier, before in self._before.items():
            element = tree.find(identifier)
            has_moved = identifier in self._moved
            keeps_place = has_moved and element is not None and element.parent in parents
            step = _difference(identifier, before, element, keeps_place=keeps_place)
            if step is None:
                continue
            has_place = step.before is not None and step.before.place is not None
            is_renumbered = has_place and identifier in self._renumbered and not has_moved
            steps.append(replace(step, renumbered=True) if is_renumbered else step)
        return steps

    def _parents_of_renumbered(self, tree: EditableTree) -> set[str]:
        """Return the ids of the parents of those elements that only have a new fractional index."""
        parents = set()
        for identifier in self._renumbered - self._moved:
            element, before = tree.find(identifier), self._before[identifier]
            if element is not None and before is not None:
                place = (element.parent, element.order)
                if place != before.place:
                    parents.add(element.parent)
        return parents


def encode_step(step: UndoStep) -> bytes:
    """Return a step as compressed JSON. An empty step has no bytes."""
    if not step:
        return b""
    items = [[each.id, _fields(each.before), _fields(each.after), each.renumbered] for each in step]
    return zlib.compress(json.dumps(items, separators=(",", ":")).encode())


def decode_step(content: bytes) -> UndoStep:
    """Return the step that `encode_step` has encoded."""
    return [
        ElementStep(identifier, _values(before), _values(after), renumbered)
        for identifier, before, after, renumbered in json.loads(zlib.decompress(content))
    ]


def _difference(
    identifier: str, before: Values | None, element: Element | None, *, keeps_place: bool
) -> ElementStep | None:
    """Return the change of one element, or None if its values are the same before the edit and after it.

    With `keeps_place`, the change has the element's place, even if it is the same.
    """
    if element is None:
        return None if before is None else ElementStep(identifier, before, None)
    after = _all_values(element)
    if before is None:
        return ElementStep(identifier, None, Values(after.tag))
    names = [
        name
        for name in {**before.attrs, **after.attrs}
        if before.attrs.get(name) != after.attrs.get(name)
    ]
    old, new = Values(before.tag), Values(after.tag)
    if keeps_place or before.place != after.place:
        old.place, new.place = before.place, after.place
    if before.text != after.text:
        old.text, new.text = before.text, after.text
    old.attrs = {name: before.attrs.get(name) for name in names}
    new.attrs = {name: after.attrs.get(name) for name in names}
    return ElementStep(identifier, old, new) if keeps_place or old != new else None


def _all_values(element: Element) -> Values:
    return Values(element.tag, (element.parent, element.order), dict(element.attrs), element.text)


def _fields(values: Values | None) -> list[object] | None:
    return None if values is None else [values.tag, values.place, values.attrs, values.text]


def _values(fields: list[Any] | None) -> Values | None:
    if fields is None:
        return None
    tag, place, attrs, text = fields
    return Values(tag, None if place is None else (place[0], place[1]), attrs, text)
