"""Small documents. Tests commit their updates, and compare their content."""

from collections.abc import Iterable

from pycrdt import Doc, Map, Text

from svgx_common.contract.state import Entry

Drawing = Doc[Map[str]]


class Pen:
    """A writer of one canvas, without the edits of other writers. Each `draw` returns the entry to commit."""

    def __init__(self, canvas_id: str, writer: str) -> None:
        self._canvas_id = canvas_id
        self._writer = writer
        self._doc = Drawing()
        self._sequence = 0
        self._map = self._doc.get("elements", type=Map)

    def draw(self, key: str, value: str = "x") -> Entry:
        """Set one element, and return the entry with the update."""
        before = self._doc.get_state()
        self._map[key] = value
        self._sequence += 1
        update = self._doc.get_update(before)
        return Entry(self._canvas_id, self._writer, self._sequence, (self._writer,), update)


def elements(updates: Iterable[bytes]) -> dict[str, str]:
    """Return the elements of a document made of these updates."""
    doc = Drawing()
    for update in updates:
        doc.apply_update(update)
    return dict(doc.get("elements", type=Map).to_py() or {})


def typed(characters: str) -> list[bytes]:
    """Return the updates of a user that types these characters. Each update builds on the one before."""
    doc = Doc[Text]()
    content = doc.get("text", type=Text)
    updates = []
    for character in characters:
        before = doc.get_state()
        content += character
        updates.append(doc.get_update(before))
    return updates


def text(updates: Iterable[bytes]) -> str:
    """Return the text of a document made of these updates, without characters that wait for a missing update."""
    doc = Doc[Text]()
    for update in updates:
        doc.apply_update(update)
    return str(doc.get("text", type=Text))
