"""The places of all elements of an observed document.

A client that follows the changes lacks the elements inside an element that the document did not show before: one that
was deleted and comes back, one in a deleted element, or one that the policy refused. When such an element appears, the
elements in it have to be described too, although they have not changed.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pycrdt import Doc, Map, Transaction

from svgx_canvas import allow_list
from svgx_canvas.document.element_tree import ELEMENTS, read_element
from svgx_canvas.document.faults import PYCRDT_FAULTS
from svgx_canvas.limits import DEFAULT_LIMITS
from svgx_canvas.tree import ROOT, TEXT, Element

_IDS_PER_READING_OF_TIME = 64
"""Elements that are read between two readings of the processor time.

Reading an element that is a Y.Map of strings takes 3 to 4 µs, and reading the time takes 1 µs. Any other element can
take milliseconds, so the time is read after each.
"""


class Place(NamedTuple):
    """The tag of an element, and the id of its parent."""

    tag: str
    parent: str


class Surroundings(NamedTuple):
    """The properties of an element's ancestors that decide about the element."""

    parent: str
    """The tag of the parent; "" if there is no such element."""
    is_shown: bool
    """True if the ancestors lead to the root element, in at most `Limits.depth` steps."""
    in_text: bool
    """True if an ancestor is a text element."""


class KnownElements:
    """The places of a document's elements. Elements of a wrong type are not known."""

    def __init__(self, doc: Doc[Any]) -> None:
        self._doc = doc
        self._places: dict[str, Place] = {}
        self._children: Counter[str] = Counter()
        """The number of children of each id that has any."""
        self._unread: Iterable[str] | None = None
        self.is_complete = False
        """True when all elements have been read."""

    def restart(self) -> None:
        """Forget all elements. They have to be read again."""
        self._places.clear()
        self._children.clear()
        self._unread = None
        self.is_complete = False

    def read_on(self, seconds: float) -> None:
        """Read further elements, for about `seconds` of processor time. Raises `Fault`.

        Called between two transactions.
        """
        started = time.thread_time()
        with PYCRDT_FAULTS, self._doc.transaction() as transaction:
            elements = self._doc.get(ELEMENTS, type=Map)
            if self._unread is None:
                self._unread = iter(list(elements.keys()))
            unmeasured = 0
            for identifier in self._unread:
                unmeasured += 1
                place = _place_in_map(elements, identifier, transaction)
                if place is None:
                    element = read_element(elements, identifier)
                    place = Place(element.tag, element.parent) if element is not None else None
                    unmeasured = _IDS_PER_READING_OF_TIME
                self._set(identifier, place)
                if unmeasured >= _IDS_PER_READING_OF_TIME:
                    unmeasured = 0
                    if time.thread_time() - started >= seconds:
                        return
        self._unread = None
        self.is_complete = True

    def is_sheet(self, identifier: str) -> bool:
        """Return whether an element is character data of a style element."""
        place = self._places.get(identifier)
        if place is None or place.tag != TEXT:
            return False
        parent = self._places.get(place.parent)
        return parent is not None and parent.tag == "style"

    def surroundings(self, parent: str) -> Surroundings:
        """Return the surroundings of the children of an element. The children of the root have the parent `ROOT`."""
        if parent == ROOT:
            return Surroundings("svg", is_shown=True, in_text=False)
        place = self._places.get(parent)
        tag = place.tag if place is not None else ""
        in_text = False
        for _ in range(DEFAULT_LIMITS.depth):
            if place is None or place.tag == TEXT:
                break
            in_text = in_text or place.tag in allow_list.TEXT_ELEMENTS
            if place.parent == ROOT:
                return Surroundings(tag, is_shown=True, in_text=in_text)
            place = self._places.get(place.parent)
        return Surroundings(tag, is_shown=False, in_text=in_text)

    def update(self, elements: Mapping[str, Element | None]) -> set[str]:
        """Set the places of changed elements. None stands for an element that does not exist.

        Return the ids of those elements with children that must be described too, because the element was not shown
        before or is judged otherwise. Children in `elements` do not count, because they are described anyway.
        """
        parents = [identifier for identifier in elements if self._children[identifier] > 0]
        before = {identifier: self._judged_by(identifier) for identifier in parents}
        for identifier, element in elements.items():
            self._set(identifier, Place(element.tag, element.parent) if element else None)
        appeared = set()
        for identifier in parents:
            place = self._places.get(identifier)
            if place is None:
                continue
            # An animation may be refused because of an attribute.
            is_animation = place.tag in allow_list.ANIMATION_ELEMENTS
            if is_animation or self._judged_by(identifier) != before[identifier]:
                appeared.add(identifier)
        return appeared

    def descendants(self, ids: set[str]) -> set[str]:
        """Return the ids of all elements inside these elements."""
        children: dict[str, list[str]] = {}
        for identifier, place in self._places.items():
            children.setdefault(place.parent, []).append(identifier)
        found: set[str] = set()
        waiting = list(ids)
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child not in found:
                    found.add(child)
                    waiting.append(child)
        return found

    def _judged_by(self, identifier: str) -> tuple[str, Surroundings] | None:
        """Return the properties of an element that decide whether it is shown, and which children it may have."""
        place = self._places.get(identifier)
        if place is None:
            return None
        around = self.surroundings(place.parent)
        refuses = around.parent == "style" or around.parent in allow_list.DESCRIPTIVE_ELEMENTS
        return place.tag, around._replace(parent=around.parent if refuses else "")

    def _set(self, identifier: str, place: Place | None) -> None:
        before = self._places.pop(identifier, None)
        if before is not None:
            self._children[before.parent] -= 1
            if not self._children[before.parent]:
                del self._children[before.parent]
        if place is not None:
            self._places[identifier] = place
            self._children[place.parent] += 1


def _place_in_map(elements: Map[Any], identifier: str, transaction: Transaction) -> Place | None:
    """Return the place of an element that is a Y.Map of strings, as most elements are. Return None for any other one.

    The element is read with pycrdt's inner methods, which take a tenth of the time.
    """
    inner = transaction._txn  # noqa: SLF001
    if not elements.integrated.has(inner, identifier):
        return None
    content = elements.integrated.get(inner, identifier)
    try:
        if content.has(inner, "tag"):
            tag = content.get(inner, "tag")
            parent = content.get(inner, "parent") if content.has(inner, "parent") else ROOT
            if isinstance(tag, str) and isinstance(parent, str):
                return Place(tag, parent)
    except (AttributeError, TypeError):
        pass  # not a Y.Map
    return None
