"""Small documents to append and compare."""

from collections.abc import Iterable

from pycrdt import Doc, Map, Text

from svgx_common.messaging.wire import Entry

Drawing = Doc[Map[str]]


class Pen:
    """A client that draws on its own copy of one canvas: each `draw` gives the update to commit."""

    def __init__(self, canvas_id: str, writer: str) -> None:
        self._canvas_id = canvas_id
        self._writer = writer
        self._doc = Drawing()
        self._sequence = 0
        self._map = self._doc.get("elements", type=Map)

    def draw(self, key: str, value: str = "x") -> Entry:
        """Set one element and return the entry that says so."""
        before = self._doc.get_state()
        self._map[key] = value
        self._sequence += 1
        update = self._doc.get_update(before)
        return Entry(self._canvas_id, self._writer, self._sequence, (self._writer,), update)


def elements(updates: Iterable[bytes]) -> dict[str, str]:
    """What is on the canvas that these updates make."""
    doc = Drawing()
    for update in updates:
        doc.apply_update(update)
    return dict(doc.get("elements", type=Map).to_py() or {})


def typed(characters: str) -> list[bytes]:
    """The updates of somebody who types, one a character: each builds on the one before."""
    doc = Doc[Text]()
    field = doc.get("text", type=Text)
    updates = []
    for character in characters:
        before = doc.get_state()
        field += character
        updates.append(doc.get_update(before))
    return updates


def text(updates: Iterable[bytes]) -> str:
    """The text that these updates make, as far as nothing is missing."""
    doc = Doc[Text]()
    for update in updates:
        doc.apply_update(update)
    return str(doc.get("text", type=Text))
