"""Write changes of elements into a Yjs document."""

from collections.abc import Mapping

from pycrdt import Doc, Map, Text

from svgx_canvas.changes.replacement import change_characters, writable
from svgx_canvas.document.element_tree import CANVAS, ELEMENTS
from svgx_canvas.tree import ROOT, TEXT, Element

_Content = Map[object]


class DocumentWriter:
    """The root maps of a document. An element that is a plain object stays one, and so do its attributes."""

    def __init__(self, doc: Doc[_Content]) -> None:
        self._root = doc.get(CANVAS, type=Map)
        self._elements = doc.get(ELEMENTS, type=Map)
        self.stored = set(self._elements.keys())
        """The ids of all stored elements, including those outside the tree."""

    def create(self, element: Element) -> None:
        """Add an element."""
        fields: dict[str, object] = {
            "tag": element.tag,
            "parent": element.parent,
            "order": element.order,
        }
        if element.tag == TEXT:
            fields["text"] = element.text
        else:
            fields["attrs"] = Map(element.attrs)
        self._elements[element.id] = Map(fields)
        self.stored.add(element.id)

    def set_place(self, element: Element) -> None:
        """Write the parent and the fractional index of an element."""
        self._set_fields(element.id, {"parent": element.parent, "order": element.order})

    def set_order(self, element: Element) -> None:
        """Write the fractional index of an element."""
        self._set_fields(element.id, {"order": element.order})

    def move_to_root(self, identifier: str) -> None:
        """Write the root as the parent of an element."""
        self._set_fields(identifier, {"parent": ROOT})

    def set_attributes(self, element: Element, attrs: Mapping[str, str | None]) -> None:
        """Write the given attributes of an element or of the root. None removes an attribute."""
        if element.id == ROOT:
            _update(self._root, attrs)
            return
        content = self._elements[element.id]
        stored = _field(content, "attrs")
        if isinstance(stored, Map):
            _update(stored, attrs)
            return
        plain = stored if isinstance(stored, dict) else {}
        merged = {name: value for name, value in {**plain, **attrs}.items() if value is not None}
        is_plain = isinstance(stored, dict) or not isinstance(content, Map)
        self._set_fields(element.id, {"attrs": writable(merged) if is_plain else Map(merged)})

    def set_text(self, element: Element) -> None:
        """Write the character data of an element. A Y.Text keeps the characters that are equal at both ends."""
        stored = _field(self._elements[element.id], "text")
        if not isinstance(stored, Text):
            self._set_fields(element.id, {"text": element.text})
        elif all(isinstance(chunk, str) and not formats for chunk, formats in stored.diff()):
            change_characters(stored, element.text)
        else:
            stored.clear()
            stored.insert(0, element.text)

    def remove(self, identifier: str) -> None:
        """Remove an element."""
        del self._elements[identifier]
        self.stored.discard(identifier)

    def _set_fields(self, identifier: str, fields: Mapping[str, object]) -> None:
        content = self._elements[identifier]
        if isinstance(content, Map):
            for name, value in fields.items():
                content[name] = value
        elif isinstance(content, dict):
            self._elements[identifier] = writable({**content, **fields})


def _field(content: object, name: str) -> object:
    """Return a field of an element, or None."""
    if not isinstance(content, Map | dict) or name not in set(content.keys()):
        return None
    return content[name]


def _update(stored: _Content, attrs: Mapping[str, str | None]) -> None:
    names = set(stored.keys())
    for name, value in attrs.items():
        if value is not None:
            stored[name] = value
        elif name in names:
            del stored[name]
