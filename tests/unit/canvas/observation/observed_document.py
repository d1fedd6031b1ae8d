"""A document on the server with observed elements, and a Yjs client that edits the document."""

import json
from collections.abc import Mapping
from typing import Any

from pycrdt import Doc, Map

from svgx_canvas.document.shared_document import SharedDocument
from tests.unit.canvas.client_documents import document

Operations = list[dict[str, Any]]


class ObservedDocument:
    """A document with these elements, which are observed from now on. A dict becomes a Y map."""

    def __init__(self, elements: Mapping[str, object] | None = None) -> None:
        state = document(elements or {})
        self.server = SharedDocument.load([state])
        self.client: Doc[Any] = Doc()
        self.client.apply_update(state)
        self.elements: Map[Any] = self.client.get("elements", type=Map)
        self.root: Map[Any] = self.client.get("canvas", type=Map)
        self._updates: list[bytes] = []
        self._subscription = self.client.observe(lambda event: self._updates.append(event.update))
        self.server.observe_elements()

    def take(self) -> None:
        """Pass the client's edits to the server, which puts them into its queue."""
        for update in self._updates:
            self.server.take(update)
        self._updates.clear()

    def send(self) -> str | None:
        """Pass the client's edits to the server, integrate them, and return the description of the changes."""
        self.take()
        self.server.flush()
        return self.server.describe_elements()

    def operations(self) -> Operations:
        """Pass the client's edits to the server, and return the operations that describe the changes."""
        text = self.send()
        assert text, "the changes are described one by one"
        operations: Operations = json.loads(text)
        return operations


def element(
    tag: str = "rect", parent: str = "", text: object = None, **attrs: object
) -> dict[str, object]:
    """Return the stored content of an element."""
    content: dict[str, object] = {"tag": tag, "parent": parent, "order": "a0", "attrs": attrs}
    return content if text is None else {**content, "text": text}


def put(
    identifier: str, tag: str = "rect", parent: str = "", text: str | None = None, **attrs: str
) -> dict[str, object]:
    """Return the operation that describes an element."""
    operation: dict[str, object] = {
        "op": "put",
        "id": identifier,
        "tag": tag,
        "parent": parent,
        "order": "a0",
        "attrs": attrs,
    }
    return operation if text is None else {**operation, "text": text}


def delete(identifier: str) -> dict[str, object]:
    """Return the operation that describes an element that does not exist."""
    return {"op": "delete", "id": identifier}
