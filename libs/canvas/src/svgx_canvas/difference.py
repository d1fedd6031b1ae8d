"""The difference between two states of a document, as changes of its elements."""

import json

from svgx_canvas.document.element_tree import load, read
from svgx_canvas.limits import DEFAULT_LIMITS, Limits
from svgx_canvas.policy import Report, clean
from svgx_canvas.svg_reader import picture_cleaner
from svgx_canvas.tree import TEXT, Canvas, Element

MAX_TEXT_CHARACTERS = 1000
"""Largest length of a text in a difference, in characters. A longer text is cut."""

MAX_ATTRIBUTES = 50
"""Largest number of changed attributes that are listed for one element or the canvas. Further ones are only counted."""

MAX_PAGE_CHARACTERS = 1024 * 1024
"""Largest length of the changes on a page, in characters. A larger change has a page of its own."""

_Change = dict[str, object]


def difference(
    before: bytes, after: bytes, start: int, limit: int, limits: Limits = DEFAULT_LIMITS
) -> bytes:
    """Return a page of the changes from one state (Yjs v1 update) to another one, as JSON in UTF-8.

    Both states are first cleaned by the SVG policy, as in an export. The JSON is an object with:

    - "added", "removed", "changed" and "moved": the counts of all changes;
    - "canvas": the changed attributes of the canvas, as {name: pair};
    - "more_canvas": the number of changed attributes of the canvas that are left out;
    - "items": the changes of this page, sorted by the id of the element. Each is {"id", "change", "tag": pair,
      "parent": pair or null, "order": pair or null, "attrs": {name: pair}, "more_attrs": the number of changed
      attributes that are left out, "text": pair or null}. Null means no change;
    - "next": the start of the next page, or null.

    A pair is {"before", "after", "cut"}; "cut" is true if a text is cut at `MAX_TEXT_CHARACTERS`. The page has the
    changes from number `start` on: at most `limit`, and fewer if they are longer than `MAX_PAGE_CHARACTERS`. Raises
    `SvgRefused`.
    """
    old, new = _load_clean(before, limits), _load_clean(after, limits)
    old_elements = {element.id: element for element in old.walk()}
    new_elements = {element.id: element for element in new.walk()}
    counts = dict.fromkeys(("added", "removed", "changed", "moved"), 0)
    items: list[_Change] = []
    size = number = 0
    next_start: int | None = None
    for identifier in sorted(old_elements.keys() | new_elements.keys()):
        old_element, new_element = old_elements.get(identifier), new_elements.get(identifier)
        kind = _kind(old_element, new_element)
        if kind is None:
            continue
        counts[kind] += 1
        number += 1
        if number <= start or next_start is not None:
            continue
        item = _item(identifier, kind, old_element, new_element)
        size += len(json.dumps(item, ensure_ascii=False))
        if len(items) == limit or (items and size > MAX_PAGE_CHARACTERS):
            next_start = number - 1
            continue
        items.append(item)
    canvas, more = _changed_attributes(old.attrs, new.attrs)
    page = {
        **counts,
        "canvas": canvas,
        "more_canvas": more,
        "items": items,
        "next": next_start,
    }
    return json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode()


def _load_clean(state: bytes, limits: Limits) -> Canvas:
    report = Report()
    return clean(read(load(state)), limits, report, picture_cleaner(limits, report, strict=False))


def _kind(old: Element | None, new: Element | None) -> str | None:
    """Return the kind of a change, or None if the element is equal in both states."""
    if old is None or new is None:
        return "added" if old is None else "removed"
    if (old.tag, old.attrs, old.text) != (new.tag, new.attrs, new.text):
        return "changed"
    return "moved" if (old.parent, old.order) != (new.parent, new.order) else None


def _item(identifier: str, kind: str, old: Element | None, new: Element | None) -> _Change:
    attrs, more = _changed_attributes(old.attrs if old else {}, new.attrs if new else {})
    before, after = _fields(old), _fields(new)
    return {
        "id": identifier,
        "change": kind,
        "tag": _pair(before.get("tag"), after.get("tag")),
        **{
            name: _pair_if_changed(before.get(name), after.get(name))
            for name in ("parent", "order")
        },
        "attrs": attrs,
        "more_attrs": more,
        "text": _pair_if_changed(before.get("text"), after.get("text")),
    }


def _fields(element: Element | None) -> dict[str, str]:
    """Return the fields of an element by name, without its attributes. Only character data has the field `text`."""
    if element is None:
        return {}
    fields = {"tag": element.tag, "parent": element.parent, "order": element.order}
    return {**fields, "text": element.text} if element.tag == TEXT else fields


def _changed_attributes(old: dict[str, str], new: dict[str, str]) -> tuple[dict[str, _Change], int]:
    """Return the first `MAX_ATTRIBUTES` changed attributes, and the number of further ones."""
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    first = {name: _pair(old.get(name), new.get(name)) for name in names[:MAX_ATTRIBUTES]}
    return first, len(names) - len(first)


def _pair_if_changed(before: str | None, after: str | None) -> _Change | None:
    return _pair(before, after) if before != after else None


def _pair(before: str | None, after: str | None) -> _Change:
    return {
        "before": before if before is None else before[:MAX_TEXT_CHARACTERS],
        "after": after if after is None else after[:MAX_TEXT_CHARACTERS],
        "cut": max(len(before or ""), len(after or "")) > MAX_TEXT_CHARACTERS,
    }
