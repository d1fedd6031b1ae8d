"""A client that applies all events in order has the elements of the JSON export, after any edits of Yjs clients."""

import json
import random
from typing import Any

import pytest
from pycrdt import Doc, Map, Text, UndoManager

from svgx_canvas.document.element_tree import load, read
from svgx_canvas.document.shared_document import SharedDocument
from svgx_canvas.import_export import export_json
from svgx_yjs.structure import EMPTY_STATE_VECTOR

TAGS = ("g", "g", "g", "rect", "text", "tspan", "a", "title", "style", "script", "animate", "#text")
ATTRIBUTES = ("x", "fill", "onclick", "style", "attributeName", "href")
VALUES = ("1", "red", "#e1", "fill:blue", "background:url(http://x.org)", "opacity", "\x00")


class Author:
    """A Yjs client that edits at random."""

    def __init__(self, rng: random.Random, client_id: int) -> None:
        self._rng = rng
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.elements: Map[Any] = self.doc.get("elements", type=Map)
        self.root: Map[Any] = self.doc.get("canvas", type=Map)
        self.updates: list[bytes] = []
        self._subscription = self.doc.observe(lambda event: self.updates.append(event.update))
        self._undo = UndoManager(scopes=[self.elements, self.root], capture_timeout_millis=0)

    def edit(self) -> None:
        """Make one edit. Half of the edits only undo or redo an earlier one, or change an existing element."""
        rng = self._rng
        with self.doc.transaction():
            ids = sorted(self.elements.keys())
            action = rng.choice(
                ("create", "field", "attribute", "text", "delete", "root", "replace")
            )
            if action == "create" or not ids:
                self._create(f"e{rng.randrange(30)}")
            elif action == "delete":
                del self.elements[rng.choice(ids)]
            elif action == "root":
                self.root[rng.choice(("viewBox", "onload"))] = rng.choice(VALUES)
            elif action == "replace":
                self._create(rng.choice(ids))
            else:
                self._change(rng.choice(ids), action)

    def undo(self) -> None:
        """Undo or redo an edit of this client, if there is one."""
        if self._rng.random() < 0.7:
            self._undo.undo()
        else:
            self._undo.redo()

    def _create(self, identifier: str) -> None:
        rng = self._rng
        content = {
            "tag": rng.choice(TAGS),
            "parent": self._parent(identifier),
            "order": rng.choice(("a0", "a1", "b")),
        }
        attrs = {rng.choice(ATTRIBUTES): rng.choice(VALUES) for _ in range(2)}
        if rng.random() < 0.2:
            self.elements[identifier] = {**content, "attrs": attrs, "text": "plain"}
        elif rng.random() < 0.1:
            self.elements[identifier] = rng.choice((7, "text", {}, {"tag": 7}))
        else:
            values = {
                name: Text(value) if rng.random() < 0.3 else value for name, value in attrs.items()
            }
            text = rng.choice((Text("shared"), "plain", " "))
            self.elements[identifier] = Map({**content, "attrs": Map(values), "text": text})

    def _change(self, identifier: str, action: str) -> None:
        """Change an element that is a Y.Map."""
        rng, element = self._rng, self.elements[identifier]
        if not isinstance(element, Map):
            return
        if action == "attribute":
            name = rng.choice(ATTRIBUTES)
            attrs = element["attrs"]
            if name in attrs and isinstance(attrs[name], Text):
                attrs[name].insert(0, "a")
            elif name in attrs and rng.random() < 0.3:
                del attrs[name]
            else:
                attrs[name] = rng.choice(VALUES)
        elif action == "text" and isinstance(element["text"], Text):
            element["text"].insert(0, "more ")
        elif action == "field":
            name = rng.choice(("tag", "parent", "parent", "order"))
            value = {"tag": rng.choice(TAGS), "parent": self._parent(identifier), "order": "a2"}
            element[name] = value[name]

    def _parent(self, identifier: str) -> str:
        """Return the root, or an element with a smaller number. So the parents never form a cycle."""
        number = self._rng.randrange(-2, int(identifier[1:]))
        return f"e{number}" if number >= 0 else ""


class JsonClient:
    """A client that loads the JSON export, and then applies events."""

    def __init__(self, state: bytes) -> None:
        self.reloads = -1
        self.load(state)

    def load(self, state: bytes) -> None:
        """Load the JSON export."""
        self.reloads += 1
        self.canvas, self._elements = exported(state)

    def apply(self, operations: list[dict[str, Any]]) -> None:
        """Apply the operations of an event. A deletion also removes the elements in the deleted element."""
        for each in operations:
            operation = each.pop("op")
            if operation == "root":
                self.canvas = each["attrs"]
            elif operation == "put":
                self._elements[each["id"]] = each
            else:
                self._delete(each["id"])

    def shown(self) -> dict[str, Any]:
        """Return the elements with ancestors that lead to the root."""
        return {
            identifier: element
            for identifier, element in self._elements.items()
            if self._is_shown(element["parent"])
        }

    def _delete(self, identifier: str) -> None:
        self._elements.pop(identifier, None)
        children = [
            each for each, element in self._elements.items() if element["parent"] == identifier
        ]
        for child in children:
            self._delete(child)

    def _is_shown(self, parent: str) -> bool:
        while parent:
            if parent not in self._elements:
                return False
            parent = self._elements[parent]["parent"]
        return True


def exported(state: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the attributes of the root, and the elements by id, of the JSON export."""
    content = json.loads(export_json(state))
    return content["canvas"], {each["id"]: each for each in content["elements"]}


@pytest.mark.parametrize("seed", range(60))
def test_json_client_has_the_elements_of_the_export(seed: int) -> None:
    """The events are made at random times, and describe one or several transactions. Proves R-JSON-6."""
    rng = random.Random(seed)
    authors = [Author(rng, client_id) for client_id in (1, 2)]
    server = SharedDocument.load()
    client: JsonClient | None = None
    events = 0
    for step in range(200):
        author = rng.choice(authors)
        if rng.random() < 0.2:
            author.undo()
        else:
            author.edit()
        if rng.random() < 0.7:
            for update in author.updates:
                server.take(update)
            author.updates.clear()
        if rng.random() < 0.5:
            changes = server.flush()
            for change in changes:
                for each in authors:
                    known = len(each.updates)
                    each.doc.apply_update(change)
                    del each.updates[known:]
        if step == 30:
            server.flush()
            server.observe_elements()
            client = JsonClient(server.missing(EMPTY_STATE_VECTOR))
        if client is not None and rng.random() < 0.4:
            server.flush()
            text = server.describe_elements()
            state = server.missing(EMPTY_STATE_VECTOR)
            if text == "":
                client.load(state)
            elif text is not None:
                events += 1
                client.apply(json.loads(text))
            canvas, elements = exported(state)
            assert (client.canvas, client.shown()) == (canvas, elements), (
                f"seed {seed}, step {step}"
            )
            assert not read(load(state)).moved_to_root, "the parents form no cycle"
    assert events > 5
