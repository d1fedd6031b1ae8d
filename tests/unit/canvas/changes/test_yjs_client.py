"""The Yjs clients of changes: when an edit reuses one, and that no edit is lost."""

import json
import random
from typing import Any

import pytest
from pycrdt import Doc, Map, Text

from svgx_canvas import Changed, YjsClient, change_elements, export_json
from svgx_canvas.document.element_tree import load
from svgx_yjs.structure import EMPTY_UPDATE, read_state_vector


class Holder:
    """The document of a holder, which takes edits."""

    def __init__(self) -> None:
        self.doc: Doc[Any] = Doc(client_id=1)

    def compute(self, client: YjsClient | None, *operations: dict[str, Any]) -> Changed:
        """Compute an edit against the present content."""
        return change_elements(
            self.doc.get_update(), json.dumps(operations).encode(), client=client
        )

    def change(self, client: YjsClient | None, *operations: dict[str, Any]) -> Changed:
        """Compute an edit, and take it."""
        changed = self.compute(client, *operations)
        self.doc.apply_update(changed.update)
        return changed

    @property
    def clocks(self) -> dict[int, int]:
        return read_state_vector(self.doc.get_state())

    @property
    def ids(self) -> set[str]:
        """The ids of the elements."""
        return {each["id"] for each in json.loads(export_json(self.doc.get_update()))["elements"]}


def rect(identifier: str) -> dict[str, Any]:
    """Return an operation that creates a rect."""
    return {"op": "create", "id": identifier, "tag": "rect", "attrs": {"x": "1"}}


def test_change_reuses_the_client_with_the_clock_of_the_document() -> None:
    """The document has no further client, and the result has the next clock. Proves R-ELEMENT-8."""
    holder = Holder()
    first = holder.change(None, rect("a"))
    second = holder.change(first.client, rect("b"))
    deletion = holder.change(second.client, {"op": "delete", "id": "a"})
    third = holder.change(deletion.client, rect("c"))
    assert first.client.id == second.client.id == third.client.id
    assert first.client.clock < second.client.clock == deletion.client.clock < third.client.clock
    assert holder.clocks == {third.client.id: third.client.clock}
    assert holder.ids == {"b", "c"}


@pytest.mark.parametrize("difference", [-1, 1])
def test_change_has_a_new_client_if_the_clock_differs(difference: int) -> None:
    """An edit that the content lacks, or does not know to be its own, loses nothing. Proves R-ELEMENT-8."""
    holder = Holder()
    first = holder.change(None, rect("a")).client
    second = holder.change(YjsClient(first.id, first.clock + difference), rect("b")).client
    assert second.id != first.id
    assert holder.clocks == {first.id: first.clock, second.id: second.clock}
    assert holder.ids == {"a", "b"}


def test_change_without_effect_keeps_its_client() -> None:
    """A client that has written nothing can be used for the next edit. Proves R-ELEMENT-8."""
    holder = Holder()
    unused = holder.change(None, {"op": "update", "id": "", "attrs": {"viewBox": None}})
    assert (unused.update, unused.client.clock) == (EMPTY_UPDATE, 0)
    assert holder.change(unused.client, rect("a")).client.id == unused.client.id


@pytest.mark.parametrize("seed", range(20))
def test_reused_client_and_concurrent_edits_of_a_yjs_client_lose_nothing(seed: int) -> None:
    """Changes of one client end in the same document at the holder and at a Yjs client. Proves R-ELEMENT-8.

    The Yjs client edits while changes are computed, and gets and sends updates at random times.
    """
    rng = random.Random(seed)
    holder = Holder()
    doc: Doc[Any] = Doc(client_id=2)
    elements, words = doc.get("elements", type=Map), Text("")
    elements["label"] = Map({"tag": "text", "parent": "", "order": "a0"})
    elements["words"] = Map({"tag": "#text", "parent": "label", "order": "a0", "text": words})
    holder.doc.apply_update(doc.get_update())
    client: YjsClient | None = None
    expected = {"label", "words"}
    for step in range(60):
        if rng.random() < 0.3:
            expected.add(f"y{step}")
            elements[f"y{step}"] = Map({"tag": "rect", "parent": "", "order": "a1"})
            words.insert(0, "y")
        if rng.random() < 0.3:
            holder.doc.apply_update(doc.get_update(holder.doc.get_state()))
        if rng.random() < 0.3:
            doc.apply_update(holder.doc.get_update(doc.get_state()))
        removed = rng.choice(sorted(holder.ids))
        operation = rng.choice(
            [
                rect(f"j{step}"),
                {"op": "update", "id": "words", "text": f"{words} {step}"},
                {"op": "delete", "id": removed},
            ]
        )
        if operation["op"] == "delete" and removed in ("label", "words"):
            continue
        expected = {*expected, f"j{step}"} if operation["op"] == "create" else expected
        expected -= {removed} if operation["op"] == "delete" else set()
        changed = holder.compute(client, operation)
        if rng.random() < 0.3:
            holder.doc.apply_update(doc.get_update(holder.doc.get_state()))
        holder.doc.apply_update(changed.update)
        assert client is None or changed.client.id == client.id
        client = changed.client
    doc.apply_update(holder.doc.get_update(doc.get_state()))
    holder.doc.apply_update(doc.get_update(holder.doc.get_state()))
    assert client is not None
    assert holder.ids == expected
    assert holder.clocks == read_state_vector(doc.get_state())
    assert holder.clocks.keys() == {2, client.id}
    assert load(doc.get_update()).get("elements", type=Map).to_py() == elements.to_py()
    assert holder.doc.get("elements", type=Map).to_py() == elements.to_py()
