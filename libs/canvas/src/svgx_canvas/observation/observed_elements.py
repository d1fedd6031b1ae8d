"""The observation of a document's elements, for clients that follow the changes as JSON."""

import json
from typing import Any

from pycrdt import Doc

from svgx_canvas.observation.changed_elements import ElementObserver
from svgx_canvas.observation.element_operations import TooMuch, describe
from svgx_canvas.observation.known_elements import KnownElements

READING_SECONDS = 0.005
"""Processor time, in seconds, for reading elements of the document in one call."""

MAX_JSON_CHARACTERS = 256 * 1024
"""Limit of the characters of one description. Beyond it, clients load the export, so that no event is large."""

EVERYTHING = ""
"""Stands for the operations if too much has changed."""


class ObservedElements:
    """Notes the elements that the transactions of a document change, and describes their present state.

    A description needs the places of all elements (see `KnownElements`). They are read in several calls of `describe`,
    because a document may have many elements. If elements change meanwhile, everything counts as changed once.
    """

    def __init__(self, doc: Doc[Any]) -> None:
        self._doc = doc
        self._observer = ElementObserver(doc)
        self._known = KnownElements(doc)

    def attach(self) -> None:
        """Observe the transactions from now on. Called between two transactions."""
        if not self._observer.is_attached:
            self._observer.attach()

    def detach(self) -> None:
        """Stop observing. Everything counts as changed. Call `attach` after the present transaction."""
        self._observer.detach()

    def add_everything(self) -> None:
        """Count everything as changed."""
        self._observer.add_everything()

    @property
    def has_work(self) -> bool:
        """True if `describe` has to be called."""
        return self._observer.has_changes or not self._known.is_complete

    def describe(self) -> str | None:
        """Return the operations for the changes since the last description as JSON, or `EVERYTHING`.

        Return None if nothing has changed, or if more elements have to be read first. Called between two transactions.
        """
        observer, known = self._observer, self._known
        if observer.has_everything:
            observer.take()
            known.restart()
            known.read_on(READING_SECONDS)
            return EVERYTHING
        was_complete = known.is_complete
        if not was_complete:
            known.read_on(READING_SECONDS)
        if not observer.has_changes or not known.is_complete:
            return None
        try:
            operations = describe(self._doc, observer.take(), known)
        except TooMuch:
            return EVERYTHING
        text = json.dumps(operations, ensure_ascii=False, separators=(",", ":"))
        return text if was_complete and len(text) <= MAX_JSON_CHARACTERS else EVERYTHING
