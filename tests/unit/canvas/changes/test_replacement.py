"""A replacement makes `canvas` and `elements` equal to those of another state, with the smallest edit."""

import functools
import random
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, TransactionEvent, XmlElement, XmlFragment

from svgx_canvas import SvgRefused, export_json, import_svg, replacement
from svgx_yjs.short_edits import MAX_DEPTH
from svgx_yjs.structure import EMPTY_UPDATE
from tests.unit.canvas.client_documents import document
from tests.unit.canvas.histories import Document

ROOTS = ("canvas", "elements")


def load(*updates: bytes) -> Document:
    """Return the document of these updates."""
    doc: Document = Doc()
    for update in updates:
        doc.apply_update(update)
    return doc


def root_contents(doc: Document) -> dict[str, str]:
    """Return the content of both root maps."""
    return {name: repr(sorted_items(doc.get(name, type=Map).to_py())) for name in ROOTS}


def sorted_items(value: object) -> object:
    """Return a value with sorted dicts. Tests compare its text, because in Python `True == 1`."""
    if isinstance(value, dict):
        return {key: sorted_items(value[key]) for key in sorted(value)}
    return [sorted_items(item) for item in value] if isinstance(value, list) else value


PLAIN: tuple[object, ...] = (
    *("", "rect", "a\u00e4\U0001f600", 'quote"\n\u2028', "0"),
    *(0.0, 1.0, float("nan"), 1e21, 5.0, None, True, False),
    *({"x": 0.5, "y": [True, None]}, {}, [1.5, "a", {"b": None}], [], b"\x00", b"ab"),
)
"""Values that a client may write, without shared types."""


def random_value(rng: random.Random, depth: int = 0) -> object:
    """Return a value as any client may write it: plain, nested or shared."""
    kind = rng.choice(["plain", "map", "array", "text"] if depth < 3 else ["plain"])
    if kind == "map":
        keys = rng.sample("abcd", rng.randrange(4))
        return Map({key: random_value(rng, depth + 1) for key in keys})
    if kind == "array":
        return Array([random_value(rng, depth + 1) for _ in range(rng.randrange(4))])
    if kind == "text":
        return Text("".join(rng.choices("ab\u00e4\U0001f600", k=rng.randrange(8))))
    return rng.choice(PLAIN)


def edit(rng: random.Random, value: object) -> None:
    """Make a random change within a shared type."""
    if isinstance(value, Map):
        key = rng.choice("abcdefgh")
        nested = value.get(key)
        if isinstance(nested, Map | Array | Text) and rng.random() < 0.7:
            edit(rng, nested)
        elif nested is not None and rng.random() < 0.3:
            del value[key]
        else:
            value[key] = random_value(rng)
    elif isinstance(value, Array):
        if len(value) and rng.random() < 0.4:
            del value[rng.randrange(len(value))]
        else:
            value.insert(rng.randrange(len(value) + 1), random_value(rng, 2))
    elif isinstance(value, Text):
        if len(value) and rng.random() < 0.3:
            value.clear()
        else:
            value += rng.choice("xy\u00e4")


def edit_document(rng: random.Random, doc: Document, steps: int) -> None:
    """Make random changes in both root maps."""
    with doc.transaction():
        for _ in range(steps):
            edit(rng, doc.get(rng.choice(ROOTS), type=Map))


@pytest.mark.parametrize("seed", range(150))
def test_replacement_makes_any_content_equal(seed: int) -> None:
    """A past state, and the state of an unrelated document, are restored exactly. A second replacement is empty.

    Proves R-HIST-1.
    """
    rng = random.Random(seed)
    doc: Document = Doc()
    edit_document(rng, doc, 20)
    past = doc.get_update()
    edit_document(rng, doc, 20)
    other: Document = Doc()
    edit_document(rng, other, 20)
    for wanted in (past, other.get_update()):
        update = replacement(doc.get_update(), wanted)
        doc.apply_update(update)
        assert root_contents(doc) == root_contents(load(wanted))
        assert replacement(doc.get_update(), wanted) == EMPTY_UPDATE
    assert root_contents(load(replacement(None, past))) == root_contents(load(past))


@pytest.mark.parametrize("seed", range(40))
def test_replacement_merges_with_concurrent_edits(seed: int) -> None:
    """The holder and a client apply the same updates in different orders, and get equal documents. Proves R-HIST-2."""
    rng = random.Random(seed)
    holder: Document = Doc()
    edit_document(rng, holder, 15)
    past = holder.get_update()
    edit_document(rng, holder, 15)
    client = load(holder.get_update())
    update = replacement(holder.get_update(), past)
    before = client.get_state()
    edit_document(rng, client, 5)
    edits = client.get_update(before)
    holder.apply_update(update)
    holder.apply_update(edits)
    client.apply_update(update)
    assert root_contents(holder) == root_contents(client)
    # Another replacement, made after all edits have arrived, restores the past content completely.
    holder.apply_update(replacement(holder.get_update(), past))
    assert root_contents(holder) == root_contents(load(past))


def drawing() -> Document:
    """Return a document with two rectangles and a root attribute."""
    rect = {"tag": "rect", "parent": "", "order": "a0", "attrs": {"width": "5", "fill": "red"}}
    return load(document({"a": rect, "b": {**rect, "order": "a1"}}, {"viewBox": "0 0 9 9"}))


def changed_keys(doc: Document, update: bytes) -> list[str]:
    """Apply an update, and return the paths of the changed keys, sorted."""
    paths: list[str] = []

    def note(root: str, events: list[Any]) -> None:
        for event in events:
            paths.extend("/".join([root, *map(str, event.path), key]) for key in event.keys)

    subscriptions = [
        doc.get(name, type=Map).observe_deep(functools.partial(note, name)) for name in ROOTS
    ]
    doc.apply_update(update)
    assert len(subscriptions) == len(ROOTS)  # pycrdt ends a subscription that has no reference
    return sorted(paths)


def test_replacement_changes_only_the_attributes_that_differ() -> None:
    """An element keeps its identity: only its changed attributes are written. Proves R-HIST-2."""
    doc = drawing()
    past = doc.get_update()
    elements = doc.get("elements", type=Map)
    attrs = elements["a"]["attrs"]  # type: ignore[index]
    attrs["width"] = "7"
    attrs["stroke"] = "blue"
    del elements["b"]
    elements["c"] = Map({"tag": "circle"})
    doc.get("canvas", type=Map)["viewBox"] = "0 0 1 1"
    current = doc.get_update()
    # A client writes another attribute of the same element at the same time.
    client = load(current)
    client.get("elements", type=Map)["a"]["attrs"]["fill"] = "green"  # type: ignore[index]
    update = replacement(current, past)
    assert changed_keys(doc, update) == [
        "canvas/viewBox",
        "elements/a/attrs/stroke",
        "elements/a/attrs/width",
        "elements/b",
        "elements/c",
    ]
    assert root_contents(doc) == root_contents(load(past))
    client.apply_update(update)
    merged = client.get("elements", type=Map)["a"]["attrs"].to_py()  # type: ignore[index]
    assert merged == {"width": "5", "fill": "green"}


def test_replacement_of_a_text_writes_only_the_changed_characters() -> None:
    """Characters that a client types at the same time in another place are kept. Proves R-HIST-2."""
    doc = load(document({"t": {"tag": "#text"}}))
    text = Text("one \u00e4\U0001f600 two")
    doc.get("elements", type=Map)["t"]["text"] = text  # type: ignore[index]
    past = doc.get_update()
    text.insert(4, "new ")
    update = replacement(doc.get_update(), past)
    text += " three"
    doc.apply_update(update)
    assert str(text) == "one \u00e4\U0001f600 two three"


def test_replacement_leaves_other_root_types_alone() -> None:
    """Data that clients keep in other root types is neither removed nor restored. Proves R-HIST-2."""
    doc = drawing()
    notes = doc.get("notes", type=Map)
    notes["a"] = "old"
    past = doc.get_update()
    notes["a"] = "new"
    doc.get("elements", type=Map).clear()
    doc.apply_update(replacement(doc.get_update(), past))
    assert notes["a"] == "new"
    assert set(doc.get("elements", type=Map).keys()) == {"a", "b"}


def test_replacement_writes_no_xml_types() -> None:
    """An XML type, which no code reads from a canvas, is left out. Everything else is restored. Proves R-HIST-1."""
    doc = drawing()
    doc.get("elements", type=Map)["x"] = XmlFragment([XmlElement("p")])
    doc.get("elements", type=Map)["y"] = "kept"
    wanted = doc.get_update()
    restored = load(replacement(None, wanted))
    assert set(restored.get("elements", type=Map).keys()) == {"a", "b", "y"}


def test_replacement_removes_a_newer_value_where_the_wanted_state_has_an_xml_type() -> None:
    """An XML type that is there already stays. Proves R-HIST-1."""
    doc = drawing()
    elements: Map[Any] = doc.get("elements", type=Map)
    elements["x"] = XmlFragment([XmlElement("p")])
    elements["y"] = XmlFragment()
    elements["a"]["attrs"]["x"] = XmlFragment()
    wanted = doc.get_update()
    elements["x"] = "new"
    elements["a"]["attrs"]["x"] = "7"
    doc.apply_update(replacement(doc.get_update(), wanted))
    assert set(elements.keys()) == {"a", "b", "y"}
    assert "x" not in elements["a"]["attrs"]
    assert replacement(doc.get_update(), wanted) == EMPTY_UPDATE


def test_replacement_accepts_values_nested_as_deep_as_edits_may_be() -> None:
    """A deeply nested document does not crash a worker. Proves R-HIST-1."""
    doc: Document = Doc()
    elements = doc.get("elements", type=Map)
    inner: Map[object] = elements
    with doc.transaction():
        for _ in range(MAX_DEPTH - 1):
            deeper: Map[object] = Map()
            inner["m"] = deeper
            inner = deeper
        inner["end"] = "x"
    wanted = doc.get_update()
    update = replacement(None, wanted)
    assert str(load(update).get("elements", type=Map)) == str(elements)
    inner["end"] = "y"
    assert len(replacement(doc.get_update(), wanted)) < 60


def test_replacement_restores_content_that_an_import_removed() -> None:
    """The JSON export of the restored document equals that of the past state. Proves R-HIST-1."""
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9"><g><rect width="5"/>hi</g></svg>'
    past = import_svg(svg, None).update
    emptied = load(past, import_svg(b'<svg xmlns="http://www.w3.org/2000/svg"/>', past).update)
    assert not list(emptied.get("elements", type=Map).keys())
    emptied.apply_update(replacement(emptied.get_update(), past))
    assert export_json(emptied.get_update()) == export_json(past)


@pytest.mark.parametrize("broken", [b"", b"\x01", b"hello", b"\xff" * 20])
def test_malformed_wanted_state_is_refused(broken: bytes) -> None:
    """A wanted state that is not a Yjs update replaces nothing. Proves R-HIST-1."""
    with pytest.raises(SvgRefused) as refused:
        replacement(drawing().get_update(), broken)
    assert refused.value.code == "malformed"


def test_replacement_is_one_transaction() -> None:
    """Clients see the replacement as one change. Proves R-HIST-2."""
    doc = drawing()
    past = doc.get_update()
    doc.get("elements", type=Map).clear()
    doc.get("canvas", type=Map).clear()
    seen: list[TransactionEvent] = []
    doc.observe(seen.append)
    doc.apply_update(replacement(doc.get_update(), past))
    assert len(seen) == 1
