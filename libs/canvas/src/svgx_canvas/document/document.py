"""The Yjs document of a canvas: reading its tree, whatever is in it, and replacing its content.

Two root maps. `canvas`: attributes of the root svg element. `elements`: id -> map of
- `tag`: an element's name, or "#text" for character data;
- `parent`: the id of the element it is in; "" (or nothing) for children of the root;
- `order`: fractional index among its siblings (see `order`);
- `attrs`: map of attribute name -> string, qualified names as `xlink:href`, `xml:space`;
- `text`: the character data of "#text", a string or a Y.Text.

Any client may write anything, so reading never fails on content: values of another type are as good as absent, except
that numbers become the strings JavaScript makes of them.
"""

import math
import secrets

from pycrdt import Doc, Map, Text, TransactionEvent, merge_updates

from svgx_canvas.document.order import DIGITS, sort_key
from svgx_canvas.document.update import encode_elements
from svgx_canvas.limits import SvgRefused
from svgx_canvas.tree import ROOT, TEXT, Canvas, Element, plant
from svgx_yjs.structure import read_state_vector

CANVAS = "canvas"
ELEMENTS = "elements"

_Content = Map[object]


def load(*updates: bytes) -> Doc[_Content]:
    """A document with these updates (Yjs v1) applied. Raises `SvgRefused` "malformed" when one is none."""
    doc: Doc[_Content] = Doc(client_id=secrets.randbits(32))
    try:
        for update in updates:
            doc.apply_update(update)
    except ValueError:
        raise SvgRefused("malformed", "state", detail="not a Yjs update (version 1)") from None
    return doc


def read(doc: Doc[_Content]) -> Canvas:
    """The document's tree as clients wrote it, not yet cleaned."""
    with doc.transaction():
        attrs = _strings(doc.get(CANVAS, type=Map))
        elements = doc.get(ELEMENTS, type=Map)
        found = [
            element
            for identifier in elements.keys()  # noqa: SIM118 - iterating a Y map itself copies it
            if (element := _element(identifier, elements[identifier])) is not None
        ]
    return plant(attrs, found)


def replace(current: bytes | None, canvas: Canvas) -> tuple[bytes, int]:
    """The update (Yjs v1) that makes `canvas` the content of the document with the state `current`, and the number of
    elements it adds, texts included. The elements get new ids, so that no edit of the old content meets the new.
    """
    removal, clients = _removal(current, canvas.attrs)
    elements = _renamed(canvas)
    client = secrets.randbits(32)
    while client in clients:
        client = secrets.randbits(32)
    addition = encode_elements(iter(elements), client, ELEMENTS)
    if removal is None:
        return addition, len(elements)
    return (merge_updates(removal, addition) if elements else removal), len(elements)


def _removal(current: bytes | None, attrs: dict[str, str]) -> tuple[bytes | None, set[int]]:
    """The update that empties the content and sets the root's attributes, if that takes any; and the clients known."""
    doc = load(*([current] if current else []))
    clients = {*read_state_vector(doc.get_state()), doc.client_id}
    # Getting a root of a type makes it one: outside of the transaction that is observed.
    root = doc.get(CANVAS, type=Map)
    elements = doc.get(ELEMENTS, type=Map)
    updates: list[bytes] = []

    def keep(event: TransactionEvent) -> None:
        updates.append(event.update)

    subscription = doc.observe(keep)
    with doc.transaction():
        for identifier in list(elements.keys()):
            del elements[identifier]
        for name in list(root.keys()):
            if name not in attrs:
                del root[name]
        for name, value in attrs.items():
            if name not in root or root[name] != value:
                root[name] = value
    doc.unobserve(subscription)
    return (updates[0] if updates else None), clients


def _renamed(canvas: Canvas) -> list[Element]:
    """All elements in document order with ids that are new to the world: six random digits and a count."""
    prefix = "".join(secrets.choice(DIGITS) for _ in range(6))
    elements = list(canvas.walk())
    names = {element.id: prefix + _base62(index) for index, element in enumerate(elements)}
    for element in elements:
        element.id = names[element.id]
        element.parent = names[element.parent] if element.parent != ROOT else ROOT
    return elements


def _base62(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
        if not number:
            return digits


def _element(identifier: str, content: object) -> Element | None:
    if not isinstance(content, Map):
        return None
    keys = set(content.keys())
    tag = content["tag"] if "tag" in keys else None
    parent = content["parent"] if "parent" in keys else ROOT
    if parent is None:
        parent = ROOT
    if not isinstance(tag, str) or not isinstance(parent, str):
        return None
    order = sort_key(content["order"] if "order" in keys else "")
    if tag == TEXT:
        text = content["text"] if "text" in keys else ""
        if isinstance(text, Text):
            text = str(text)
        return Element(identifier, tag, parent, order, text=text if isinstance(text, str) else "")
    attrs = content["attrs"] if "attrs" in keys else None
    return Element(
        identifier, tag, parent, order, _strings(attrs) if isinstance(attrs, Map) else {}
    )


def _strings(content: Map[object]) -> dict[str, str]:
    strings: dict[str, str] = {}
    # Yjs's maps have no order of their own and pycrdt's not twice the same: names in order make equal files equal.
    for name in sorted(content.keys()):
        value = content[name]
        if isinstance(value, str):
            strings[name] = value
        elif (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ):
            strings[name] = str(int(value)) if value == int(value) else repr(value)
    return strings
