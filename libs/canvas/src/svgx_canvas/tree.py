"""The tree of a canvas, and its construction from the flat elements of a document."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

TEXT = "#text"
ROOT = ""


@dataclass(slots=True)
class Element:
    """An element, or character data if its tag is `#text`."""

    id: str
    """The key in the document, unique in the canvas. The SVG attribute `id` is in `attrs`, independent of the key."""
    tag: str
    parent: str = ROOT
    """The id of the parent element, or "" for a child of the root."""
    order: str = ""
    """The fractional index among the siblings."""
    attrs: dict[str, str] = field(default_factory=dict)
    text: str = ""
    children: list["Element"] = field(default_factory=list)


@dataclass(slots=True)
class Canvas:
    """The root element: its attributes and its children in document order."""

    attrs: dict[str, str] = field(default_factory=dict)
    children: list[Element] = field(default_factory=list)
    moved_to_root: frozenset[str] = frozenset()
    """The ids of children that are stored with another parent, because the parents form a cycle (see `build_tree`)."""

    def walk(self) -> Iterator[Element]:
        """Yield all elements in document order, without recursion, because clients may nest elements deeply."""
        stack = list(reversed(self.children))
        while stack:
            element = stack.pop()
            yield element
            stack.extend(reversed(element.children))


def build_tree(attrs: dict[str, str], elements: Iterable[Element]) -> Canvas:
    """Return the tree built from flat elements, which have unique ids and no `children` yet.

    The tree does not depend on the order of `elements`, so all replicas show the same tree:

    - Siblings are sorted by `order`, and then by id (both by UTF-16 code units, as JavaScript compares strings).
    - Two concurrent moves can make a cycle of parents. The element with the smallest id then moves to the root.
    - An element is not part of the tree if its parent does not exist or is character data. The same is true of its
      descendants. Deleting a group therefore also removes elements that are drawn into the group at the same time.
      Undoing the deletion restores the group and these elements.
    """
    by_id = {element.id: element for element in elements}
    moved_to_root = _smallest_of_each_cycle(by_id)
    top: list[Element] = []
    for element in by_id.values():
        if element.parent == ROOT or element.id in moved_to_root:
            top.append(element)
        elif (parent := by_id.get(element.parent)) is not None and parent.tag != TEXT:
            parent.children.append(element)
    for element in by_id.values():
        element.children.sort(key=sibling_key)
    for identifier in moved_to_root:
        by_id[identifier].parent = ROOT
    top.sort(key=sibling_key)
    return Canvas(attrs, top, frozenset(moved_to_root))


def sibling_key(element: Element) -> tuple[str, bytes]:
    """Return the key by which the children of an element are sorted."""
    # `order` is ASCII (`order.sort_key`), but an id can be any string.
    return element.order, _code_units(element.id)


def _code_units(identifier: str) -> bytes:
    return identifier.encode("utf-16-be", "surrogatepass")


def _smallest_of_each_cycle(by_id: dict[str, Element]) -> set[str]:
    """Return the smallest id of each cycle of parents. Cycles share no element, because each element has one parent."""
    smallest: set[str] = set()
    seen: dict[str, int] = {}
    for walk_number, start in enumerate(by_id):
        path: list[str] = []
        current = start
        while current in by_id and current not in seen:
            seen[current] = walk_number
            path.append(current)
            current = by_id[current].parent
        if seen.get(current) == walk_number and current in by_id:
            smallest.add(min(path[path.index(current) :], key=_code_units))
    return smallest
