"""The smallest edit that gives a document the content of another state.

Only the root maps `canvas` and `elements` are compared; other root types are left alone. An element that both states
have keeps its Y.Map, so a concurrent edit of another attribute of the element is not lost. Formats of a Y.Text and the
ids of sub-documents are not compared, because no reader of a canvas reads them.
"""

import json
from collections.abc import Iterable, Sequence

from pycrdt import Array, Doc, Map, Text

from svgx_canvas.document.element_tree import CANVAS, ELEMENTS, load
from svgx_canvas.document.recorded_edit import record_edit
from svgx_yjs.structure import EMPTY_UPDATE, read_state_vector

_Content = Map[object]
_Shared = Map[object] | Array[object] | Text
_Pair = tuple[_Shared, _Shared]
"""A shared type of the document and its counterpart in the wanted state. The first must become equal to the second."""


def replacement(current: bytes | None, wanted: bytes) -> bytes:
    """Return the update (Yjs v1) that makes a document's `canvas` and `elements` equal to those of a wanted state.

    `current` is the document's state; None stands for an empty document. `current` and `wanted` are Yjs v1 updates. XML
    types and sub-documents are not written, because no reader of a canvas reads them. Raises `SvgRefused` "malformed"
    if a state is not an update.
    """
    doc = load_with_new_client(current)
    source = load(wanted)
    roots = [(doc.get(name, type=Map), source.get(name, type=Map)) for name in (CANVAS, ELEMENTS)]
    with record_edit(doc) as edit, source.transaction():
        for current_root, wanted_root in roots:
            _make_equal(current_root, wanted_root)
    return edit.update or EMPTY_UPDATE


def load_with_new_client(state: bytes | None) -> Doc[_Content]:
    """Return a document with a client id that the state does not have."""
    doc = load(*([state] if state else []))
    if doc.client_id not in read_state_vector(doc.get_state()):
        return doc
    return load_with_new_client(state)


def _make_equal(current_root: _Content, wanted_root: _Content) -> None:
    """Make a root map equal to another one, without recursion, because clients may nest shared types deeply."""
    pairs = [*_change_map(current_root, wanted_root, is_root=True)]
    while pairs:
        current, wanted = pairs.pop()
        if isinstance(current, Map) and isinstance(wanted, Map):
            pairs += _change_map(current, wanted)
        elif isinstance(current, Array) and isinstance(wanted, Array):
            pairs += _change_array(current, wanted)
        elif isinstance(current, Text) and isinstance(wanted, Text):
            _change_text(current, wanted)


def _change_map(current: _Content, wanted: _Content, *, is_root: bool = False) -> Iterable[_Pair]:
    """Remove, add and set the entries that differ. Yield the shared types that have to be made equal.

    A shared type directly in a root map is first compared by its JSON, because reading the JSON is much faster than
    reading each value in the type. Deeper shared types are not compared by their JSON, because the time would grow with
    the square of the depth.
    """
    old, new = set(current.keys()), set(wanted.keys())
    for key in old - new:
        del current[key]
    # Sort the keys, so that equal content makes equal updates: the order of a pycrdt map differs from run to run.
    for key in sorted(new):
        value = wanted[key]
        if key in old:
            existing = current[key]
            shared = _both_shared(existing, value)
            if shared is not None:
                if not (is_root and _json_of(existing) == _json_of(value)):
                    yield shared
                continue
            if _is_plain(existing) and _is_plain(value) and _json_of(existing) == _json_of(value):
                continue
        empty = _new_empty(value)
        if empty is not None:
            current[key] = empty
            yield empty, value  # type: ignore[misc]  # `value` is a shared type
        elif _is_plain(value):
            current[key] = writable(value)
        elif key in old and _is_writable(current[key]):
            # No reader of a canvas reads the wanted value, so none may read a newer one in its place.
            del current[key]


def _change_array(current: Array[object], wanted: Array[object]) -> Iterable[_Pair]:
    """Replace all items, except equal items at the start and at the end.

    Yield the new shared types, which are empty.
    """
    length, start, end = len(current), 0, 0
    if length:
        start, end = _equal_ends([*map(_json_of, current)], [*map(_json_of, wanted)])
        del current[start : length - end]
    for index in range(start, len(wanted) - end):
        value = wanted[index]
        empty = _new_empty(value)
        if empty is not None:
            current.insert(index, empty)
            yield empty, value  # type: ignore[misc]  # `value` is a shared type
        else:
            # Insert null in place of a value that is not written, so that the next items get the wanted indexes.
            current.insert(index, writable(value) if _is_plain(value) else None)


def _change_text(current: Text, wanted: Text) -> None:
    """Replace all characters, except equal characters at the start and at the end.

    If one of the texts has formats or embedded values, replace everything.
    """
    old, new = current.diff(), wanted.diff()
    if str(current) == str(wanted):
        return
    if all(attributes is None and isinstance(chunk, str) for chunk, attributes in [*old, *new]):
        change_characters(current, str(wanted))
        return
    current.clear()
    for chunk, attributes in new:
        if isinstance(chunk, str):
            current.insert(len(current), chunk, attributes)
        elif _is_plain(chunk):
            current.insert_embed(len(current), writable(chunk), attributes)


def change_characters(current: Text, after: str) -> None:
    """Replace the characters of a text without formats, except equal characters at the start and at the end."""
    before = str(current)
    if before == after:
        return
    start, end = _equal_ends(before, after)
    # The indexes of pycrdt count bytes of UTF-8.
    first = len(before[:start].encode())
    del current[first : first + len(before[start : len(before) - end].encode())]
    current.insert(first, after[start : len(after) - end])


def _equal_ends(old: Sequence[object], new: Sequence[object]) -> tuple[int, int]:
    """Return the numbers of equal items at the start and at the end. No item is counted in both."""
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start] == new[start]:
        start += 1
    end = 0
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return start, end


def _json_of(value: object) -> str:
    """Return a value as JSON, and a Y.Text as its characters.

    No reader of a canvas can tell two values with the same result apart.
    """
    if _is_plain(value):
        return json.dumps(value, sort_keys=True, default=list)  # bytes become lists
    # The order of a pycrdt map differs from one map to the next.
    text = str(value)
    return json.dumps(json.loads(text), sort_keys=True) if isinstance(value, Map | Array) else text


def _both_shared(value: object, other: object) -> _Pair | None:
    """Return both values if they are shared types of the same kind, so that one can be made equal to the other."""
    if isinstance(value, Map) and isinstance(other, Map):
        return value, other
    if isinstance(value, Array) and isinstance(other, Array):
        return value, other
    return (value, other) if isinstance(value, Text) and isinstance(other, Text) else None


def _new_empty(value: object) -> _Shared | None:
    """Return an empty shared type of the kind of `value`, or None if `value` is not a Y.Map, Y.Array or Y.Text."""
    if isinstance(value, Map):
        return Map()
    if isinstance(value, Array):
        return Array()
    return Text() if isinstance(value, Text) else None


def _is_plain(value: object) -> bool:
    """Return whether a value is JSON or bytes, and not a shared type."""
    return value is None or isinstance(
        value, bool | int | float | str | bytes | bytearray | list | dict
    )


def _is_writable(value: object) -> bool:
    """Return whether a replacement can write a value: it is neither an XML type nor a sub-document."""
    return _is_plain(value) or isinstance(value, Map | Array | Text)


def writable(value: object) -> object:
    """Return a plain value in types that pycrdt can write. pycrdt reads bytes as `bytearray`, but cannot write it."""
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, list):
        return [writable(item) for item in value]
    if isinstance(value, dict):
        return {key: writable(item) for key, item in value.items()}
    return value
