"""The operations that describe elements of a document for JSON clients.

The operations have the fields of `PutElement`, `RemoveElement` and `PutRoot` in the contract. Each element passes the
SVG policy by itself. The limits on the whole canvas, such as its depth, its number of elements and its costs, apply to
the export only. So does the breaking of cycles: an operation has the parent that is stored.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from pycrdt import Doc, Map

from svgx_canvas import allow_list, css
from svgx_canvas.document.element_tree import ELEMENTS, read_element, read_root
from svgx_canvas.document.faults import PYCRDT_FAULTS
from svgx_canvas.images.data_url import is_data_url
from svgx_canvas.limits import DEFAULT_LIMITS
from svgx_canvas.observation.changed_elements import MAX_CHANGED, ChangedElements
from svgx_canvas.observation.known_elements import KnownElements
from svgx_canvas.policy import Report, clean_attributes, clean_text, keeps_text, refusal_reason
from svgx_canvas.svg_reader import picture_cleaner
from svgx_canvas.tree import TEXT, Element

MAX_CHARACTERS = 16 * 1024
"""Limit of the characters in the strings of one described element, because cleaning a longer one may take long."""

MAX_SECONDS = 0.05
"""Processor time, in seconds, after which a description is given up. Usually, an element takes 0.05 to 0.1 ms."""

Operation = dict[str, object]


class TooMuch(Exception):
    """The changes cannot be described in a short time. Clients must load the export."""


def describe(doc: Doc[Any], changed: ChangedElements, known: KnownElements) -> list[Operation]:
    """Return the operations for changed elements: the root, the elements by id, and the deletions by id.

    An element that does not exist, or that the policy refuses in its place, is described as deleted. The deletions come
    last: a client that deletes an element also deletes the elements inside of it, and one of these may have moved out.
    `known` gets the places of the changed elements. Called between two transactions. Raises `TooMuch`.
    """
    description = _Description(doc, known)
    with doc.transaction():
        try:
            elements = description.read(changed.ids)
        except TooMuch:
            known.restart()  # it lacks the places of the changed elements
            raise
        sheets = [each for each in changed.ids if known.is_sheet(each)]
        appeared = known.update(elements)
        if sheets:
            raise TooMuch
        if appeared:
            others = known.descendants(appeared) - changed.ids
            if len(others) + len(elements) > MAX_CHANGED:
                raise TooMuch
            elements.update(description.read(others))
        root = [description.root()] if changed.root else []
        operations = [description.operation(each, elements[each]) for each in sorted(elements)]
        return root + sorted(operations, key=_is_deletion)


class _Description:
    """One description of elements. The methods raise `TooMuch`, and `Fault` if pycrdt fails."""

    def __init__(self, doc: Doc[Any], known: KnownElements) -> None:
        self._doc = doc
        self._known = known
        self._report = Report()
        self._pictures = picture_cleaner(DEFAULT_LIMITS, self._report, strict=False)
        self._started = time.thread_time()

    def read(self, ids: Iterable[str]) -> dict[str, Element | None]:
        """Return the stored elements with these ids. None stands for an element that does not exist."""
        with PYCRDT_FAULTS:
            elements = self._doc.get(ELEMENTS, type=Map)
            read: dict[str, Element | None] = {}
            for identifier in ids:
                read[identifier] = read_element(elements, identifier)
                self._check_time()
            return read

    def root(self) -> Operation:
        """Return the operation for the root element."""
        with PYCRDT_FAULTS:
            attrs = read_root(self._doc)
        return {"op": "root", "attrs": self._clean("svg", attrs)}

    def operation(self, identifier: str, element: Element | None) -> Operation:
        """Return the operation for an element."""
        self._check_time()
        if element is None:
            return _delete(identifier)
        around = self._known.surroundings(element.parent)
        common: Operation = {
            "op": "put",
            "id": identifier,
            "tag": element.tag,
            "parent": element.parent,
            "order": element.order,
        }
        if element.tag == TEXT:
            if self._known.is_sheet(identifier):
                raise TooMuch
            if not keeps_text(around.parent, in_text=around.in_text):
                return _delete(identifier)
            if len(element.text) > MAX_CHARACTERS:
                raise TooMuch
            return {**common, "attrs": {}, "text": clean_text(element.text)}
        if around.parent == TEXT or refusal_reason(element.tag, around.parent, element.attrs):
            return _delete(identifier)
        return {**common, "attrs": self._clean(element.tag, element.attrs)}

    def _check_time(self) -> None:
        if time.thread_time() - self._started > MAX_SECONDS:
            raise TooMuch

    def _clean(self, tag: str, attrs: Mapping[str, str]) -> dict[str, str]:
        """Return the cleaned attributes of an element."""
        if sum(map(len, attrs)) + sum(map(len, attrs.values())) > MAX_CHARACTERS:
            raise TooMuch
        if tag in allow_list.IMAGE_ELEMENTS and any(
            is_data_url(attrs.get(name, "")) for name in allow_list.REFERENCES
        ):
            raise TooMuch
        cleaned = clean_attributes(tag, attrs, DEFAULT_LIMITS, self._report, self._pictures)
        if _depends_on_others(cleaned):
            raise TooMuch
        return cleaned


def _depends_on_others(attrs: Mapping[str, str]) -> bool:
    """Return whether an element with these attributes can only be judged together with all others.

    See `svgx_canvas.variables`: it has a custom property with a reference, or a picture that may come from one.
    """
    style = attrs.get("style", "")
    if css.style_has_fragment_in_custom_property(style):
        return True
    if "(" in style and css.without_variable_pictures(style, _ignore, sheet=False) != style:
        return True
    return any(
        css.picture_is_variable(name, value) for name, value in attrs.items() if name != "style"
    )


def _ignore(_what: str, _reason: str) -> None:
    """Ignore a report about left-out content."""


def _is_deletion(operation: Operation) -> bool:
    return operation["op"] == "delete"


def _delete(identifier: str) -> Operation:
    return {"op": "delete", "id": identifier}
