"""A canvas as a tree, and how the flat elements of a document become one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

TEXT = "#text"
ROOT = ""


@dataclass(slots=True)
class Element:
    """An element, or character data when its tag is `#text`.

    id: the key in the document, unique in the canvas; not the SVG attribute, which is in `attrs`.
    parent: the id of the element it is in, or "" directly under the root. order: fractional index among siblings.
    """

    id: str
    tag: str
    parent: str = ROOT
    order: str = ""
    attrs: dict[str, str] = field(default_factory=dict)
    text: str = ""
    children: list["Element"] = field(default_factory=list)


@dataclass(slots=True)
class Canvas:
    """The root's attributes and what is in it, in document order."""

    attrs: dict[str, str] = field(default_factory=dict)
    children: list[Element] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        """Every element in document order, without recursion: the depth may be anyone's."""
        stack = list(reversed(self.children))
        while stack:
            element = stack.pop()
            yield element
            stack.extend(reversed(element.children))


def plant(attrs: dict[str, str], elements: Iterable[Element]) -> Canvas:
    """Make the tree of flat elements (ids unique, `children` empty): the same one everywhere, whatever their order.

    - Siblings are sorted by `order`, and by id where that ties (both by UTF-16 code units, as JavaScript compares).
    - In a cycle, which two concurrent moves can make, the element with the smallest id moves to the root.
    - An element whose parent does not exist, or is character data, is not part of the tree, nor is what it holds.
      Deleting a group while someone draws in it therefore deletes the drawing too; undoing brings both back.
    """
    by_id = {element.id: element for element in elements}
    cut = _cycle_breakers(by_id)
    roots: list[Element] = []
    for element in by_id.values():
        if element.parent == ROOT or element.id in cut:
            roots.append(element)
        elif (parent := by_id.get(element.parent)) is not None and parent.tag != TEXT:
            parent.children.append(element)
    for element in by_id.values():
        element.children.sort(key=_place)
    for identifier in cut:
        by_id[identifier].parent = ROOT
    roots.sort(key=_place)
    return Canvas(attrs, roots)


def _place(element: Element) -> tuple[str, bytes]:
    # `order` is ASCII by now (order.sort_key); an id can be any string.
    return element.order, _code_units(element.id)


def _code_units(identifier: str) -> bytes:
    return identifier.encode("utf-16-be", "surrogatepass")


def _cycle_breakers(by_id: dict[str, Element]) -> set[str]:
    """Of each cycle of parents, the smallest id. Each element has one parent, so cycles never share an element."""
    breakers: set[str] = set()
    seen: dict[str, int] = {}
    for walk, start in enumerate(by_id):
        path: list[str] = []
        current = start
        while current in by_id and current not in seen:
            seen[current] = walk
            path.append(current)
            current = by_id[current].parent
        if seen.get(current) == walk and current in by_id:
            breakers.add(min(path[path.index(current) :], key=_code_units))
    return breakers
