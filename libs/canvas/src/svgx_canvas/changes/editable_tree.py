"""An element tree that changes: elements are found by their ids, inserted and removed."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from svgx_canvas.document.order import between, is_key, keys_between
from svgx_canvas.tree import ROOT, Canvas, Element, sibling_key

LONG_KEY = 64
"""Characters of the longest new key. Beyond it, neighbors get new keys too, because each key at one place is longer."""

SHORT_KEY = 16
"""Characters of the longest key that stays when its neighbors get new keys."""


class EditableTree:
    """The elements of a canvas. `root` is the root element; its children are those of the canvas."""

    def __init__(self, canvas: Canvas) -> None:
        self.root = Element(ROOT, "svg", attrs=canvas.attrs, children=canvas.children)
        self._by_id = {element.id: element for element in canvas.walk()}
        self._by_id[ROOT] = self.root

    def find(self, identifier: str) -> Element | None:
        """Return the element with this id, or None. The id of the root is ""."""
        return self._by_id.get(identifier)

    def find_by_svg_id(self, svg_id: str) -> Element | None:
        """Return an element with this attribute `id`, or None. The time grows with the number of elements."""
        return next((each for each in self._by_id.values() if each.attrs.get("id") == svg_id), None)

    def parent_of(self, element: Element) -> Element:
        """Return the parent of an element that is not the root."""
        return self._by_id[element.parent]

    def with_ancestors(self, element: Element) -> Iterator[Element]:
        """Yield the element, its parent, and so on up to the root."""
        yield element
        while element is not self.root:
            element = self.parent_of(element)
            yield element

    def place_of(self, element: Element) -> int:
        """Return the number of siblings before an element."""
        return bisect_left(self.parent_of(element).children, sibling_key(element), key=sibling_key)

    def insert(self, element: Element, parent: Element) -> None:
        """Add an element to the children of `parent`, at the place of its fractional index."""
        element.parent = parent.id
        insort(parent.children, element, key=sibling_key)
        self._by_id[element.id] = element

    def insert_at(self, element: Element, parent: Element, place: int) -> list[tuple[Element, str]]:
        """Add an element to the children of `parent`, after the first `place` ones, with a new fractional index.

        Return the siblings that get a new fractional index too, each with its earlier index, because there is no short
        index at this place. The reason is that neighbors have equal indexes, which concurrent edits create, or indexes
        of another format, or that many elements were inserted at this place.
        """
        element.parent = parent.id
        self._by_id[element.id] = element
        siblings = parent.children
        siblings.insert(place, element)
        key = _key_at(siblings, place)
        if key is not None:
            element.order = key
            return []
        start, end = place, place + 1
        while start and not _is_short_key(siblings[start - 1].order):
            start -= 1
        low = siblings[start - 1].order if start else None
        while end < len(siblings) and not _is_above(siblings[end].order, low):
            end += 1
        high = siblings[end].order if end < len(siblings) else None
        others = [*siblings[start:place], *siblings[place + 1 : end]]
        earlier = [(each, each.order) for each in others]
        for each, key in zip(
            siblings[start:end], keys_between(low, high, end - start), strict=True
        ):
            each.order = key
        return earlier

    def detach(self, element: Element) -> None:
        """Remove an element from the children of its parent. Its descendants stay in the element."""
        del self.parent_of(element).children[self.place_of(element)]

    def remove(self, element: Element) -> list[Element]:
        """Remove an element and its descendants, and return them in document order."""
        self.detach(element)
        removed = list(Canvas(children=[element]).walk())
        for each in removed:
            del self._by_id[each.id]
        return removed


def _key_at(siblings: list[Element], place: int) -> str | None:
    """Return a key between those of the siblings before and after a place, or None without a short one."""
    low = siblings[place - 1].order if place else None
    high = siblings[place + 1].order if place + 1 < len(siblings) else None
    try:
        key = between(low, high)
    except ValueError:
        return None
    return key if len(key) <= LONG_KEY else None


def _is_short_key(order: str) -> bool:
    return len(order) <= SHORT_KEY and is_key(order)


def _is_above(order: str, low: str | None) -> bool:
    """Return whether a fractional index is a short key above `low`."""
    return _is_short_key(order) and (low is None or order > low)
