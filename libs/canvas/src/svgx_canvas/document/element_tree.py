"""The element tree in a canvas's Yjs document: load, read and replace it.

The document has two root maps. `canvas` has the attributes of the root svg element. `elements` maps an id to a map of
- `tag`: the element's name, or "#text" for character data;
- `parent`: the id of the parent element; "" or absent for a child of the root;
- `order`: the fractional index among the siblings (see `svgx_canvas.document.order`);
- `attrs`: a map of attribute name to string, with qualified names such as `xlink:href` and `xml:space`;
- `text`: the character data of "#text", a string or a Y.Text.

Each map in `elements` may be a Y.Map or a plain object. In place of each string there may be a Y.Text.

A client can write anything, so reading never fails on content. An element is left out if its `tag` is not a string, or
if its `parent` is neither a string nor null. A finite number as an attribute or as `text` becomes the string that
JavaScript makes of it. Every other value of a wrong type counts as absent.
"""

import math
import secrets
from collections.abc import Callable, Mapping
from typing import TypeGuard

from pycrdt import Doc, Map, Text, merge_updates

from svgx_canvas.document.encoding import encode_elements
from svgx_canvas.document.javascript_number import number_text
from svgx_canvas.document.order import DIGITS, sort_key
from svgx_canvas.document.recorded_edit import record_edit
from svgx_canvas.limits import SvgRefused
from svgx_canvas.tree import ROOT, TEXT, Canvas, Element, build_tree
from svgx_yjs.structure import read_state_vector

CANVAS = "canvas"
ELEMENTS = "elements"

_Content = Map[object]

_FIELDS = ("tag", "parent", "order", "attrs", "text")

ReportLeftOut = Callable[[str, str], None]
"""A function that is called for each value that is left out, with a name for the value and the reason."""

WRONG_TYPE = "type"
"""The reason that is reported for a value of a wrong type."""


def load(*updates: bytes, client_id: int | None = None) -> Doc[_Content]:
    """Return a document with these updates (Yjs v1). Raises `SvgRefused` "malformed" if one is not an update.

    Without `client_id`, the id of the document's own Yjs client is random.
    """
    doc: Doc[_Content] = Doc(client_id=secrets.randbits(32) if client_id is None else client_id)
    try:
        for update in updates:
            doc.apply_update(update)
    except ValueError:
        raise SvgRefused("malformed", "state", detail="not a Yjs update (version 1)") from None
    return doc


def read(doc: Doc[_Content], report: ReportLeftOut = lambda *_: None) -> Canvas:
    """Return the document's element tree as the clients wrote it. It may have content that the SVG policy forbids.

    `report` is called with a name and a reason for each value that is left out because of its type.
    """
    with doc.transaction():
        attrs = _strings(doc.get(CANVAS, type=Map), "svg", report)
        elements = doc.get(ELEMENTS, type=Map)
        flat = [
            element
            for identifier in elements.keys()  # noqa: SIM118 - `in elements` would copy the map
            if (element := _element(identifier, elements[identifier], report)) is not None
        ]
    return build_tree(attrs, flat)


def read_element(elements: _Content, identifier: str) -> Element | None:
    """Return one element of the root map `elements`, or None if the map has no such element."""
    if identifier not in elements:
        return None
    return _element(identifier, elements[identifier], lambda *_: None)


def read_root(doc: Doc[_Content]) -> dict[str, str]:
    """Return the attributes of the root element."""
    return _strings(doc.get(CANVAS, type=Map), "svg", lambda *_: None)


def replace(current: bytes | None, canvas: Canvas) -> tuple[bytes, int]:
    """Return the update (Yjs v1) that replaces the content of a document by `canvas`, and the number of new elements.

    `current` is the document's state; None stands for an empty document. Texts count as elements. The elements get new
    ids, so that a concurrent edit of the old content never changes the new content.
    """
    reset, client_ids = _encode_reset(current, canvas.attrs)
    elements = _with_new_ids(canvas)
    client_id = secrets.randbits(32)
    while client_id in client_ids:
        client_id = secrets.randbits(32)
    addition = encode_elements(iter(elements), client_id, ELEMENTS)
    if reset is None:
        return addition, len(elements)
    return (merge_updates(reset, addition) if elements else reset), len(elements)


def _encode_reset(current: bytes | None, attrs: dict[str, str]) -> tuple[bytes | None, set[int]]:
    """Return an update that removes all elements and sets the attributes of the root, and the client ids in use.

    The update is None if it would change nothing. The client ids are those of the document and of the update.
    """
    doc = load(*([current] if current else []))
    client_ids = {*read_state_vector(doc.get_state()), doc.client_id}
    # `get` creates a missing root map.
    root = doc.get(CANVAS, type=Map)
    elements = doc.get(ELEMENTS, type=Map)
    with record_edit(doc) as edit:
        for identifier in list(elements.keys()):
            del elements[identifier]
        for name in list(root.keys()):
            if name not in attrs:
                del root[name]
        for name, value in attrs.items():
            if name not in root or root[name] != value:
                root[name] = value
    return edit.update, client_ids


def _with_new_ids(canvas: Canvas) -> list[Element]:
    """Give all elements new ids, and return the elements in document order.

    An id is a prefix of six random characters, the same for all elements, and a count in base 62.
    """
    prefix = "".join(secrets.choice(DIGITS) for _ in range(6))
    elements = list(canvas.walk())
    new_ids = {element.id: prefix + _base62(index) for index, element in enumerate(elements)}
    for element in elements:
        element.id = new_ids[element.id]
        element.parent = new_ids[element.parent] if element.parent != ROOT else ROOT
    return elements


def _base62(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
        if not number:
            return digits


def _element(identifier: str, content: object, report: ReportLeftOut) -> Element | None:
    """Return the element with this content, or None if the content is not an element."""
    fields = _fields(content)
    tag = _string(fields.get("tag"))
    parent = fields.get("parent")
    parent = ROOT if parent is None else _string(parent)
    if tag is None or parent is None:
        report(tag or "elements", WRONG_TYPE)
        return None
    stored_order = fields.get("order")
    if stored_order is not None and _string(stored_order) is None:
        report(f"{tag}.order", WRONG_TYPE)
    order = sort_key(_string(stored_order))
    if tag == TEXT:
        text = fields.get("text", "")
        text = number_text(text) if _is_number(text) else _string(text)
        if text is None:
            report(TEXT, WRONG_TYPE)
        return Element(identifier, tag, parent, order, text=text or "")
    attrs = fields.get("attrs")
    if not isinstance(attrs, Map | dict):
        if attrs is not None:
            report(f"{tag}@", WRONG_TYPE)  # no name after `@`: all attributes
        attrs = {}
    return Element(identifier, tag, parent, order, _strings(attrs, tag, report))


def _fields(content: object) -> dict[str, object]:
    """Return the fields of the element in a Y.Map or a plain object. Any other content has no fields."""
    if not isinstance(content, Map | dict):
        return {}
    names = set(content.keys())
    return {name: content[name] for name in _FIELDS if name in names}


def _string(value: object) -> str | None:
    """Return the characters of a string or a Y.Text, and None for any other value."""
    return value if isinstance(value, str) else str(value) if isinstance(value, Text) else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _strings(
    content: Map[object] | Mapping[str, object], tag: str, report: ReportLeftOut
) -> dict[str, str]:
    """Return the strings and finite numbers of a map as strings. Other values except null are reported."""
    strings: dict[str, str] = {}
    # Sort the names, so that exports of equal content are equal: the order of a pycrdt map differs from run to run.
    for name in sorted(content.keys()):
        value = content[name]
        text = _string(value)
        if text is not None:
            strings[name] = text
        elif _is_number(value):
            strings[name] = number_text(value)
        elif value is not None:
            report(f"{tag}@{name}", WRONG_TYPE)
    return strings
